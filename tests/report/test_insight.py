"""What pictures of a report say is so: attention, patches in colours, and where an image is on the sheet."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from selfsup import build_encoder
from selfsup.data import ImageArray
from selfsup.encoder import Encoder
from selfsup.report.insight import _colours, attention, insight
from selfsup.report.pictures import _RAMP, coloured, over, sheet


def transformer(**more: object) -> Encoder:
    args = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, **more}
    return build_encoder("vit_tiny_patch16_224", 32, args, seed=0).eval()


@torch.no_grad()
def weights_of_the_last_block(encoder: Encoder, inputs: torch.Tensor) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) of every image, head and token, one after the other: ``(N, heads, T, T)``."""
    last, seen = encoder.model.blocks[-1], []
    hook = last.norm1.register_forward_hook(lambda module, given, normed: seen.append(normed))
    encoder(inputs)
    hook.remove()
    (normed,) = seen
    count, length, width = normed.shape
    heads, depth = last.attn.num_heads, width // last.attn.num_heads
    query, key, _ = (normed @ last.attn.qkv.weight.T + last.attn.qkv.bias).chunk(3, dim=-1)
    found = torch.empty(count, heads, length, length)
    for n in range(count):
        for head in range(heads):
            part = slice(head * depth, (head + 1) * depth)
            scores = query[n][:, part] @ key[n][:, part].T / depth**0.5
            found[n, head] = scores.softmax(dim=-1)
    return found


@pytest.mark.parametrize("class_token", [True, False])
def test_attention_is_the_last_blocks(class_token: bool) -> None:
    more = {} if class_token else {"class_token": False, "global_pool": "avg"}
    encoder, inputs = transformer(**more), torch.randn(3, 3, 32, 32)
    fused = encoder.model.blocks[-1].attn.fused_attn
    with torch.no_grad():
        found = attention(encoder, inputs)
    weights = weights_of_the_last_block(encoder, inputs).mean(dim=1)
    expected = weights[:, 0, 1:] if class_token else weights.mean(dim=1)
    torch.testing.assert_close(found, expected.view(3, 4, 4), atol=1e-5, rtol=1e-4)
    assert encoder.model.blocks[-1].attn.fused_attn == fused


def test_rows_of_a_transformer_and_none_of_what_has_no_tokens() -> None:
    images = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8)
    rows = insight(transformer(), ImageArray(images))["rows"]
    starts = ("The image", "The class token looks here", "Its patches")
    assert [row["title"].startswith(start) for row, start in zip(rows, starts, strict=True)] == [True] * 3
    assert {len(row["figures"]) for row in rows} == {6}
    assert all(figure["alt"] for row in rows for figure in row["figures"])
    assert insight(build_encoder("resnet10t", 32).eval(), ImageArray(images)) is None


def test_patches_that_are_alike_have_one_colour() -> None:
    kinds = torch.tensor([[0, 0, 1, 2], [2, 1, 0, 1]])
    colours = _colours(torch.randn(3, 16)[kinds])
    for one in range(3):
        assert len(colours[kinds == one].unique(dim=0)) == 1
    assert len(colours.view(-1, 3).unique(dim=0)) == 3


def test_a_ramp_goes_from_dark_to_light() -> None:
    shown = coloured(torch.tensor([[0.0, 1.0], [float("nan"), 2.0]]), 0, 1)
    assert shown[:, 0, 0].tolist() == list(_RAMP[0])
    assert shown[:, 0, 1].tolist() == shown[:, 1, 1].tolist() == list(_RAMP[-1])
    assert shown[:, 1, 0].tolist() == [255] * 3
    brightness = coloured(torch.linspace(0, 1, 50)[None], 0, 1).float().mean(dim=0)[0]
    assert (brightness.diff() > 0).all()


def test_heat_lies_over_the_image() -> None:
    images = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
    lit = over(images, torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])).float()
    assert (lit[1, 0] > lit[0, 0]).all()  # yellow has red, dark blue none
    assert (lit[1, 0] > lit[1, 2]).all()
    assert (lit[0, 2] > lit[0, 0]).all()


def test_a_tile_is_where_the_page_looks_for_it() -> None:
    tiles = torch.arange(7, dtype=torch.uint8).mul(30).view(7, 1, 1, 1).expand(7, 3, 4, 4)
    made = sheet(tiles)
    with Image.open(io.BytesIO(base64.b64decode(made["src"].partition(",")[2]))) as picture:
        whole = np.asarray(picture)
    for i in range(7):
        row, column = divmod(i, made["columns"])
        assert (whole[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] == 30 * i).all()

"""A student learns what a frozen teacher makes of the same images, whatever the two networks are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from selfsup import UsageError, build_encoder, save_encoder
from selfsup.commands import main
from selfsup.methods.distill import Distill
from selfsup.objectives import distill_layer, distill_relations, distill_tokens
from tests.methods.building import batch_of, build

VIT = {"embed_dim": 48, "depth": 3, "num_heads": 2, "patch_size": 8, "img_size": 24}
MEAN, STD = (0.2, 0.3, 0.4), (0.3, 0.2, 0.1)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    encoder = build_encoder("vit_tiny_patch16_224", 24, VIT, mean=MEAN, std=STD, seed=7)
    return str(save_encoder(encoder, tmp_path_factory.mktemp("teacher") / "encoder"))


def distilled(*settings: str) -> Any:
    method = build("method=distill", "method.mixup=false", "batch_size=8", "method.queue=8", *settings)
    assert isinstance(method, Distill)
    return method.eval()


def test_the_loss_is_that_of_the_formulas(teacher: str) -> None:
    method = distilled(f"method.teacher={teacher}", "method.places=0.5", "method.layers=[1,3]")
    batch = batch_of(method)
    images, student, taught = batch.views[0], method.encoder, method.taught
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (student.mean, student.std))
    own_mean, own_std = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))
    seen = (images * std + mean - own_mean) / own_std
    method.centre.value.normal_()
    told = taught(seen) - method.centre.value
    rows = torch.cat([told, method.queue.rows - method.centre.value])
    expected = distill_relations(method.projector(student(images)), told, rows, 0.07)
    # The student has 6 x 6 patches, the teacher 3 x 3.
    grid = student.tokens(images).transpose(1, 2).unflatten(2, (6, 6))
    pooled = torch.nn.functional.interpolate(grid, (3, 3), mode="bilinear", antialias=True)
    mine = pooled.flatten(2).transpose(1, 2)
    places = [tokens - tokens.mean(dim=1, keepdim=True) for tokens in (mine, taught.tokens(seen))]
    expected = expected + 0.5 * distill_tokens(*places, 0.07)
    blocks: list[torch.Tensor] = []
    for block in taught.model.blocks:
        block.register_forward_hook(lambda _, __, output: blocks.append(output))
    last = taught.sequence(seen)
    layers = [distill_layer(method.heads[0](mine), blocks[0][:, taught.prefix :])]
    layers.append(distill_layer(method.heads[1](mine), last[:, taught.prefix :]))
    expected = expected + torch.stack(layers).mean()
    torch.testing.assert_close(method.loss(batch).loss, expected)


def test_it_trains_in_bfloat16_whatever_the_grids(teacher: str) -> None:
    method = distilled(f"method.teacher={teacher}", "method.layers=[2]").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method(batch_of(method)).loss
    loss.backward()
    assert all(p.grad.isfinite().all() for p in method.encoder.parameters() if p.requires_grad)


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    method = distilled()
    method.taught.load_state_dict(method.encoder.state_dict())
    torch.nn.init.eye_(method.projector.weight)
    torch.nn.init.zeros_(method.projector.bias)
    assert float(method.loss(batch_of(method)).loss) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("backbone", ["vit_mini", "resnet10"])
def test_any_student_of_any_teacher(backbone: str, teacher: str) -> None:
    small = [] if backbone == "resnet10" else ["backbone.model_args.depth=1"]
    method = distilled(
        f"backbone={backbone}", *small, f"method.teacher={teacher}", "method.layers=[2]"
    ).train()
    before = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    method.loss(batch_of(method)).loss.backward()
    method.after_step(0, 10)
    assert all(p.grad is not None for p in method.encoder.parameters() if p.requires_grad)
    assert all(p.grad is None for p in method.teacher.parameters())
    assert not any(module.training for module in method.teacher.modules())
    assert all(torch.equal(value, before[name]) for name, value in method.teacher.state_dict().items())


def test_the_batch_joins_the_queue_after_the_step(teacher: str) -> None:
    method = distilled(f"method.teacher={teacher}")
    rows = method.queue.rows.clone()
    batch = batch_of(method)
    first, again = method.loss(batch).loss, method.loss(batch).loss
    assert torch.equal(first, again)
    assert torch.equal(method.queue.rows, rows)
    method.forget()
    method.loss(batch)
    method.after_step(0, 10)
    assert not torch.equal(method.queue.rows, rows)
    seen = method._as_teacher_sees(batch.views[0])
    torch.testing.assert_close(method.centre.value, 0.1 * method.taught(seen).mean(dim=0))


def test_a_mean_that_all_features_have_in_common_does_not_hide_what_differs(teacher: str) -> None:
    apart = [distilled(f"method.teacher={teacher}", "method.places=0") for _ in range(2)]
    apart[1].load_state_dict(apart[0].state_dict())
    for method, mean in zip(apart, (0.0, 1000.0), strict=True):
        method.taught.model.norm.bias.data += mean
        method.queue.rows += mean
        method.centre.value += method.taught(method._as_teacher_sees(batch_of(method).views[0])).mean(dim=0)
    values = [float(method.loss(batch_of(method)).loss) for method in apart]
    assert values[1] == pytest.approx(values[0], rel=1e-2)


def test_the_teacher_sees_images_of_its_own_size_or_of_the_one_asked_for(teacher: str) -> None:
    sizes = []
    for more in ([], ["method.teacher_size=32"]):
        method = distilled(f"method.teacher={teacher}", "data.image_size=40", *more)
        sizes.append(method._as_teacher_sees(batch_of(method).views[0]).shape[-1])
    assert sizes == [24, 32]


def test_mixed_images_lie_between_two(teacher: str) -> None:
    method = build("method=distill", f"method.teacher={teacher}")
    batch = batch_of(method)
    assert isinstance(method, Distill)
    mixed, images = method._mixed(batch), batch.views[0]
    low, high = torch.minimum(images, images.flip(0)), torch.maximum(images, images.flip(0))
    assert ((mixed >= low - 1e-6) & (mixed <= high + 1e-6)).all()
    assert not torch.allclose(mixed, images)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["method.layers=[4]"], r"method\.layers=\[4\] are not all of the teacher's 3 blocks"),
        (["method.layers=[0]"], r"method\.layers=\[0\] are not all of the teacher's 3 blocks"),
        (["method.teacher=nowhere"], "there is no encoder 'nowhere'"),
        (["method.queue=0"], "queue"),
    ],
)
def test_bad_settings_are_a_sentence(settings: list[str], words: str, teacher: str) -> None:
    with pytest.raises(UsageError, match=words):
        distilled(f"method.teacher={teacher}", *settings)


def test_a_teacher_without_places_or_blocks(tmp_path: Path) -> None:
    folder = save_encoder(build_encoder("resnet10_small", 24), tmp_path / "encoder")
    with pytest.raises(UsageError, match="has no patch tokens"):
        distilled(f"method.teacher={folder}", "method.layers=[1]")
    swin = {"img_size": 56, "embed_dim": 24, "depths": (1, 1), "num_heads": (2, 2)}
    folder = save_encoder(build_encoder("swin_tiny_patch4_window7_224", 56, swin), tmp_path / "swin")
    with pytest.raises(UsageError, match=r"has no features of places; add method\.places=0"):
        distilled(f"method.teacher={folder}")
    distilled(f"method.teacher={folder}", "method.places=0")


def test_the_teacher_may_be_a_run(teacher: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "encoder").symlink_to(teacher)
    given = ["method=distill", f"method.teacher={tmp_path / 'run'}", f"out={tmp_path}", "name=one"]
    given += ["trainer.max_steps=1", "evaluate=false", "report=false", "online=none"]
    assert main(["train", *given]) == 0
    assert f"teacher: {tmp_path / 'run' / 'encoder'}" in (tmp_path / "one" / "config.yaml").read_text()


def test_the_teacher_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "method=distill"]) == 2
    assert "learns from a teacher; add method.teacher=" in capsys.readouterr().err

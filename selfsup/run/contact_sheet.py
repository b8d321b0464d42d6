"""A contact sheet: images and a method's views of them, to check before a long run."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from selfsup.data.batches import Batches, make_order
from selfsup.methods.base import Method
from selfsup.report.pictures import false_colours, visible
from selfsup.run.lettering import lettered
from selfsup.sides import in_words
from selfsup.text import shown

CELL = 192  # pixels a side to which smaller views are enlarged
GAP, LINE, TEXT = 10, 18, 14
# The report's colours, which are colour-blind safe.
COLOURS = ("#0072b2", "#fe400a", "#640059", "#ac20ff", "#200c07", "#a43a2d", "#958887", "#040390")
HIDDEN = (128, 128, 128)


def contact_sheet(
    method: Method, source: Any, names: Sequence[str], batch_size: int, world: int, rows: int, title: str
) -> tuple[Image.Image, list[tuple[str, str]]]:
    """The first images of the first batch, and their views and masks as they are in the first step.

    Args:
        names: of the plan's views.
        batch_size: of a process.
        world: processes that share a batch; the views of the first are shown.

    Returns:
        The picture, and (name, reason) of the images that could not be read.

    Raises:
        UsageError: the data is smaller than a batch, or cannot be read.
    """
    plan = method.views
    order = make_order(source, batch_size, plan.seed, world)
    indices = order.indices(0, torch.tensor([0]))[0].tolist()[:rows]
    raw = Batches(source, plan)[0, indices]
    if isinstance(raw, Exception):
        raise raw
    index, batch = raw["index"], method.batch(raw)
    views = [_pixels(view, plan.mean, plan.std) for view in batch.views]
    # Masks are drawn for a whole batch, whose other images need not be read.
    padded = [view[:1].expand(batch_size, -1, -1, -1) for view in batch.views]
    regions = method.regions(replace(batch, views=padded, index=index[:1].expand(batch_size)))

    height, width = max(plan.sizes)
    factor = max(1, CELL // max(height, width))
    cell = factor * max(height, width)
    columns = [[_picture(source[i], cell) for i in index.tolist()]]
    heads = [("image", "where views lie")]
    for number, (view, name, size) in enumerate(zip(views, names, plan.sizes, strict=True)):
        columns.append([_enlarged(image, factor) for image in view])
        heads.append((name, f"{in_words(size)}{', a partner' if plan.of_pair[number] else ''}"))
        if not plan.of_pair[number]:
            _draw_boxes(columns[0], source, index, plan, number)
        if regions:
            first = number * batch_size
            masks = {key: mask[first : first + len(index)] for key, mask in regions.items()}
            columns.append(_with_regions(view, masks, method.encoder.patch_size, factor))
            heads.append((", ".join(_short(masks)), "as the method splits it"))
    labels = [_end_of(source.name(i)) for i in index.tolist()]
    colours = ["black"] + [
        COLOURS[number % len(COLOURS)] for number in range(len(plan)) for _ in range(1 + bool(regions))
    ]
    beneath = false_colours(plan.channels)
    return _sheet(columns, heads, labels, colours, title, beneath), raw["skipped"]


def _pixels(view: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 (N, H, W, 3) of normalised views."""
    mean_, std_ = (torch.tensor(values).view(1, -1, 1, 1) for values in (mean, std))
    return visible(((view.float() * std_ + mean_) * 255).round().clamp(0, 255).byte()).permute(0, 2, 3, 1)


def _picture(image: Tensor, cell: int) -> Image.Image:
    """The whole image (C, H, W), as large as fits into a cell."""
    picture = Image.fromarray(visible(image).permute(1, 2, 0).contiguous().numpy())
    by = cell / max(picture.size)
    width, height = (max(1, round(side * by)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.NEAREST if by > 1 else Image.Resampling.LANCZOS)


def _enlarged(image: Tensor, factor: int) -> Image.Image:
    picture = Image.fromarray(image.contiguous().numpy())
    return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)


def _draw_boxes(pictures: Sequence[Image.Image], source: Any, index: Tensor, plan: Any, number: int) -> None:
    for picture, i in zip(pictures, index.tolist(), strict=True):
        height, width = source[i].shape[1:]
        box, _ = plan.where(number, torch.tensor([i]), 0, height, width)
        top, left, tall, wide = box[0].tolist()
        x, y = picture.width / width, picture.height / height
        corners = (left * x, top * y, (left + wide) * x - 1, (top + tall) * y - 1)
        draw = ImageDraw.Draw(picture)
        draw.rectangle(corners, outline="white", width=4)  # so that a dark frame shows on a dark image
        draw.rectangle(corners, outline=COLOURS[number % len(COLOURS)], width=3)


def _with_regions(view: Tensor, masks: Mapping[str, Tensor], patch: int, factor: int) -> list[Image.Image]:
    """Hidden patches are covered; patches that are neither context nor target are dark; targets are
    tinted."""
    pictures = []
    for row, image in enumerate(view):
        rows, pixels = image.shape[0] // patch, image.float()
        grids = {key: mask[row].view(rows, -1) for key, mask in masks.items()}
        large = {key: _per_pixel(grid, patch) for key, grid in grids.items()}
        if "hidden" in large:
            pixels = torch.where(large["hidden"], torch.tensor(HIDDEN, dtype=torch.float32), pixels)
        if "context" in large:
            pixels = torch.where(large["context"], pixels, 0.25 * pixels)
        tints = _tints(grids)
        for key, colour in tints.items():
            tinted = 0.55 * image.float() + 0.45 * torch.tensor(ImageColor.getrgb(colour)).float()
            pixels = torch.where(large[key], tinted, pixels)
        picture = _enlarged(pixels.byte(), factor)
        for key, colour in tints.items():
            _outline(picture, grids[key], patch * factor, colour)
        pictures.append(picture)
    return pictures


def _tints(regions: Mapping[str, Any]) -> dict[str, str]:
    others = [key for key in regions if key not in ("hidden", "context")]
    return dict(zip(others, itertools.cycle(COLOURS), strict=False))


def _per_pixel(grid: Tensor, patch: int) -> Tensor:
    return grid.repeat_interleave(patch, 0).repeat_interleave(patch, 1).unsqueeze(2)


def _outline(picture: Image.Image, grid: Tensor, step: int, colour: str) -> None:
    """Lines between the region's patches and neighbours outside it."""
    draw = ImageDraw.Draw(picture)
    inside = {tuple(place) for place in grid.nonzero().tolist()}
    for y, x in inside:
        for dy, dx, ends in (
            (-1, 0, (0, 0, 1, 0)),
            (1, 0, (0, 1, 1, 1)),
            (0, -1, (0, 0, 0, 1)),
            (0, 1, (1, 0, 1, 1)),
        ):
            if (y + dy, x + dx) not in inside:
                a, b, c, d = ends
                corners = ((x + a) * step, (y + b) * step, (x + c) * step, (y + d) * step)
                draw.line([min(corner, picture.width - 1) for corner in corners], fill=colour, width=2)


def _short(masks: Mapping[str, Any]) -> list[str]:
    """``target 1, target 2`` merged."""
    return list(dict.fromkeys(key.rstrip(" 0123456789") + "s" * key[-1].isdigit() for key in masks))


def _end_of(name: str, most: int = 26) -> str:
    end = shown(" ".join(name.rpartition("/")[2].split(" ")))
    return end if len(end) <= most else "…" + end[1 - most :]


def _sheet(
    columns: Sequence[Sequence[Image.Image]],
    heads: Sequence[tuple[str, str]],
    labels: Sequence[str],
    colours: Sequence[str],
    title: str,
    beneath: str,
) -> Image.Image:
    titled, said, heads_, labels_ = (
        lettered(title, TEXT + 3),
        lettered(beneath, TEXT),
        [[lettered(line, TEXT) for line in head] for head in heads],
        [lettered(label, TEXT) for label in labels],
    )
    widths = [max(picture.width for picture in column) for column in columns]
    widths = [
        int(max(width, *(line.length for line in head))) + GAP
        for width, head in zip(widths, heads_, strict=True)
    ]
    widths[0] = max(widths[0], int(max(label.length for label in labels_)) + GAP)
    tallest = max(picture.height for column in columns for picture in column)
    top, step = 2 * GAP + 4 * LINE, tallest + LINE + GAP
    width = max(GAP + sum(widths), int(titled.length) + 2 * GAP, int(said.length) + 2 * GAP)
    bottom = top + step * len(labels)
    sheet = Image.new("RGB", (width, bottom + (LINE + GAP if beneath else 0)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), titled.text, fill="black", font=titled.font)
    x = GAP
    for column, head, wide, colour in zip(columns, heads_, widths, colours, strict=True):
        draw.text((x, GAP + 2 * LINE - 6), head[0].text, fill=colour, font=head[0].font)
        draw.text((x, GAP + 3 * LINE - 6), head[1].text, fill="#606060", font=head[1].font)
        for row, picture in enumerate(column):
            sheet.paste(picture, (x, top + row * step))
        x += wide
    for row, label in enumerate(labels_):
        draw.text((GAP, top + row * step + tallest), label.text, fill="#606060", font=label.font)
    draw.text((GAP, bottom), said.text, fill="#606060", font=said.font)
    return sheet

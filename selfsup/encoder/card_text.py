"""The encoder's ``README.md``: a model card in the Hugging Face Hub's format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from selfsup.backbones import mlp_stem, small_stem
from selfsup.encoder.files import read_card, read_config
from selfsup.encoder.values import noted_range
from selfsup.files import write_text

_TEXT = """{front}
# {title}

An image encoder{origin}, saved by `selfsup`. It maps {images} of
{size} pixels to {dim} features.

## Use

```python
import timm{registers}

encoder = timm.create_model("hf-hub:USER/NAME", pretrained=True).eval()  # or "local-dir:FOLDER"
{transform}
```

With selfsup: `selfsup.load_encoder(FOLDER)`.

{values}{training}{scores}## Limits

{limits}
`selfsup evaluate` judges it on other images.
Whoever publishes the weights chooses their licence: `license:` at the top of this file.
"""

_OF_COLOURS = """\
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(encoder), is_training=False)
features = encoder(transform(image).unsqueeze(0))  # (1, {dim})"""
_OF_CHANNELS = """\
import torch

mean, std = (torch.tensor(encoder.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
features = encoder((images / 255 - mean) / std)  # images (N, {channels}, {height}, {width}): (N, {dim})"""

_VALUES = """## Values

Stored values from {black} to {white} become 0 to 255; values outside are clipped, and NaN becomes 0.
`selfsup` does so by itself. Elsewhere, {before}:

```python
stored = numpy.asarray(PIL.Image.open(FILE)).astype("float64")
eight = numpy.rint(255 * ((stored - {low}) / ({high} - {low})).clip(0, 1)).astype("uint8")
{image}```

"""


_TRAINED_HERE = "It was trained {labels}, on the images named above and no others."
_TRAINED_ELSEWHERE = "See its source for who trained it, and on what."


def write_model_card(folder: str | Path) -> Path:
    """Write ``README.md`` into an encoder's folder, from its ``config.json`` and ``card.json``.

    The Hub reads the front matter: library, task, tags and results. An existing file is replaced.

    Returns:
        The file.
    """
    folder = Path(folder)
    path = folder / "README.md"
    write_text(path, model_card(read_config(folder), read_card(folder)))
    return path


def model_card(config: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    """The card's text, of an encoder's ``config.json`` and ``card.json``."""
    method, data = card.get("method"), card.get("data")
    used = card.get("from_labels")
    supervised = [str(each) for each in used] if isinstance(used, list) else []
    labels = (
        f"with labels ({', '.join(f'`{each}`' for each in supervised)})" if supervised else "without labels"
    )
    architecture = str(config["architecture"])
    title = "-".join(str(part) for part in (method, architecture, data) if part)
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=str(data),
            dataset_name=str(data),
            metric_type="accuracy",
            metric_name=f"{score.get('title') or name} accuracy",
            metric_value=round(score["value"], 4),
        )
        for name, score in _accuracies(card)
    ]
    front = ModelCardData(
        library_name="timm",
        pipeline_tag="image-feature-extraction",
        tags=[
            *("timm", "selfsup"),
            *([] if supervised else ["self-supervised-learning"]),
            *([str(method)] if method else []),
        ],
        model_name=title if results else None,
        eval_results=results or None,
    )
    return _TEXT.format(
        front=f"---\n{front.to_yaml()}\n---",
        title=title,
        origin=f" trained {labels} by `{method}` on `{data}`" if method else "",
        **_input(config),
        dim=config["num_features"],
        registers="\nimport selfsup.backbones  # has its architecture" if _is_ours(architecture) else "",
        values=_values(config),
        training=_training(card),
        scores=_scores(card),
        limits=_TRAINED_HERE.format(labels=labels) if method else _TRAINED_ELSEWHERE,
    )


def _input(config: Mapping[str, Any]) -> dict[str, str]:
    """What the encoder takes, in words and in code."""
    channels, height, width = config["pretrained_cfg"]["input_size"]
    images = {1: "grey images", 3: "RGB images"}.get(channels, f"images of {channels} channels")
    text = _OF_COLOURS if channels == 3 else _OF_CHANNELS
    transform = text.format(dim=config["num_features"], channels=channels, height=height, width=width)
    return {"images": images, "size": f"{height} x {width}", "transform": transform}


def _is_ours(architecture: str) -> bool:
    return architecture.partition(".")[0] in {**small_stem.default_cfgs, **mlp_stem.default_cfgs}


def _accuracies(card: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    scores = card.get("scores")
    return [
        (name, score)
        for name, score in (scores.items() if isinstance(scores, Mapping) else ())
        if isinstance(score, Mapping)  # it may be untrusted
        and score.get("accuracy")
        and score.get("shown", True)
        and isinstance(score.get("value"), int | float)
    ]


def _values(config: Mapping[str, Any]) -> str:
    range = noted_range(config, "the encoder")
    if range is None:
        return ""
    colours = config["pretrained_cfg"]["input_size"][0] == 3
    ends = (
        list(range) if isinstance(range[0], int | float) else [list(end) for end in zip(*range, strict=True)]
    )
    low, high = (f"numpy.array({end})" if isinstance(end, list) else end for end in ends)
    image = 'image = PIL.Image.fromarray(eight).convert("RGB")\n' if colours else ""
    before = "before `transform`" if colours else "of pictures (height, width, channels)"
    return _VALUES.format(black=ends[0], white=ends[1], low=low, high=high, image=image, before=before)


def _training(card: Mapping[str, Any]) -> str:
    facts = {
        name: card[name] for name in ("method", "data", "steps", "minutes", "revision") if card.get(name)
    }
    if not facts:
        return ""
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return f"## Training\n\n| | |\n| --- | --- |\n{lines}\n\nAll settings but paths are in `card.json`.\n\n"


def _scores(card: Mapping[str, Any]) -> str:
    rows = []
    for name, score in _accuracies(card):
        bounds = _bounds(score.get("interval"))
        rows.append(f"| {score.get('title') or name} | {100 * score['value']:.1f} | {bounds} |")
    if not rows:
        return ""
    head = "| protocol | accuracy, % | 95 % interval |\n| --- | ---: | --- |\n"
    return "## Scores on test images, of frozen features\n\n" + head + "\n".join(rows) + "\n\n"


def _bounds(interval: Any) -> str:
    numbers = isinstance(interval, list | tuple) and all(isinstance(end, int | float) for end in interval)
    return " to ".join(f"{100 * end:.1f}" for end in interval) if numbers else ""

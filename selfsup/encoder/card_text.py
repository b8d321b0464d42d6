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

An image encoder{origin}, saved by `selfsup`. It maps RGB images of
{size} x {size} pixels to {dim} features.

## Use

```python
import timm{registers}

encoder = timm.create_model("hf-hub:USER/NAME", pretrained=True).eval()  # or "local-dir:FOLDER"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(encoder), is_training=False)
features = encoder(transform(image).unsqueeze(0))  # (1, {dim})
```

With selfsup: `selfsup.load_encoder(FOLDER)`.

{values}{training}{scores}## Limits

{limits}
`selfsup evaluate` judges it on other images.
Whoever publishes the weights chooses their licence: `license:` at the top of this file.
"""

_VALUES = """## Values

Stored values from {low} to {high} become 0 to 255; values outside are clipped, and NaN becomes 0.
`selfsup` does so by itself. Elsewhere, before `transform`:

```python
stored = numpy.asarray(PIL.Image.open(FILE)).astype("float64")
eight = numpy.rint(255 * ((stored - {low}) / ({high} - {low})).clip(0, 1)).astype("uint8")
image = PIL.Image.fromarray(eight).convert("RGB")
```

"""


_TRAINED_HERE = "It was trained without labels, on the images named above and no others."


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
        tags=["timm", "selfsup", "self-supervised-learning", *([str(method)] if method else [])],
        model_name=title if results else None,
        eval_results=results or None,
    )
    return _TEXT.format(
        front=f"---\n{front.to_yaml()}\n---",
        title=title,
        origin=f" trained without labels by `{method}` on `{data}`" if method else "",
        size=config["pretrained_cfg"]["input_size"][-1],
        dim=config["num_features"],
        registers="\nimport selfsup.backbones  # has its architecture" if _is_ours(architecture) else "",
        values=_values(config),
        training=_training(card),
        scores=_scores(card),
        limits=_TRAINED_HERE if method else "See its source for who trained it, and on what.",
    )


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
    return "" if range is None else _VALUES.format(low=range[0], high=range[1])


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

"""The cost of a run."""

from collections.abc import Mapping
from typing import Any

from selfsup.report.folder import Run
from selfsup.sides import in_words

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


def cost(run: Run, gflops: float | None, of_training: float | None = None) -> list[tuple[str, str]]:
    """Names and amounts, as far as known.

    Args:
        gflops: of encoding one image (:func:`selfsup.report.gallery.gflops_an_image`).
        of_training: of one image in a step (:func:`selfsup.report.learner.gflops_of_training`).
    """
    found: list[tuple[str, str]] = []
    last = run.metrics[-1] if run.metrics else {}
    steps, batch = last.get("step"), _batch(run.config)
    if run.card.get("minutes") is not None:
        found.append(("training", _time(60 * run.card["minutes"])))
    elif "seconds" in last:
        found.append(("training, up to the last logged step", _time(last["seconds"])))
    if steps:
        found.append(("optimizer steps", f"{steps:,.0f}"))
        if batch:
            found.append(("images seen", f"{steps * batch:,.0f} ({batch} a step)"))
            if of_training:
                found.append(("operations of training", _flops(1e9 * of_training * steps * batch)))
    if last.get("images_per_second"):
        found.append(("throughput", f"{last['images_per_second']:,.0f} images a second"))
    if memory := max((row.get("memory_gib", 0.0) for row in run.metrics), default=0.0):
        found.append(("memory, at most", f"{memory:.2f} GiB"))
    if gflops:
        found.append(("encoding an image", _flops(1e9 * gflops)))
    recipe = run.card.get("recipe", {})
    if recipe:
        name = (run.config.get("backbone") or {}).get("called") or recipe.get("name")
        size = in_words(recipe["image_size"]) if recipe.get("image_size") else "of an unknown size"
        channels = f", {recipe['channels']} channels" if recipe.get("channels") else ""
        found.append(("encoder", f"{name}, {size}{channels}"))
    return found


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def _flops(count: float) -> str:
    unit, prefix = next((u, p) for u, p in _PREFIXES if count >= u or p == "M")
    return f"{count / unit:.3g} {prefix}FLOPs"


def _batch(config: Mapping[str, Any]) -> int | None:
    """Images a step; automatically chosen devices ("auto") count as one."""
    trainer = config.get("trainer", {})
    try:
        devices = trainer["devices"] if isinstance(trainer["devices"], int) and trainer["devices"] > 0 else 1
        return int(config["batch_size"] * devices * trainer["num_nodes"] * trainer["accumulate_grad_batches"])
    except (KeyError, TypeError):
        return None

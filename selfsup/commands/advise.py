"""``selfsup advise data=NAME``: what to set for these images, each setting with its reason."""

from collections.abc import Mapping
from typing import Any

from selfsup.data.settings import require_paths, require_reading
from selfsup.errors import UsageError
from selfsup.evidence import BEST
from selfsup.terminal import typed
from selfsup.text import shown


def run(config: Mapping[str, Any]) -> None:
    """Print advice for ``config["data"]``, and the commands that follow it.

    Args:
        config: of ``configs/advise.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is read, if the configuration is wrong.
    """
    if config["by"] not in ("linear", "knn"):
        raise UsageError(f"by='{config['by']}' is no way in which methods were judged; take linear or knn")
    require_reading(config["data"])
    require_paths(config["data"])

    import torch

    from selfsup.callbacks.online_settings import choice
    from selfsup.commands.images import tell
    from selfsup.data import load_data
    from selfsup.run.advice import advise
    from selfsup.runtime import quiet

    quiet()
    source, _ = load_data(config["data"], measure=True)
    tell(source)
    data = [each for each in config["overrides"] if each.startswith(("data=", "data."))]
    settings = {key: config[key] for key in ("by", "minutes", "images", "seed")}
    advice = advise(source, data, gpu=torch.cuda.is_available(), **settings)
    labels = source.labels is not None
    kept, why = choice("auto", BEST, advice.method, labels)
    if labels:
        why = "the images have labels: kNN on training images chooses the encoder that is kept"
    advice.add(str(why), what=f"online.best={'null' if kept is None else kept}, by itself")
    width = max(len(what) for what, _ in advice.lines)
    for what, reason in advice.lines:
        print(f"{shown(what):{width}}  {shown(reason)}")
    search = [each for each in advice.settings if not each.startswith("trainer.")]
    print(f"\nTrain:   {typed('train', *data, *advice.settings)}")
    print(f"Search:  {typed('tune', *data, *search)}")
    print(f"Look on: {typed('inspect', *data)}")

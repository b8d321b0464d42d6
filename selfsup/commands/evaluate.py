"""``selfsup evaluate encoder=PATH data=NAME``: judge a saved encoder, ours or timm's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup.backbones.names import require_timm_name
from selfsup.config import require_paths, require_workers
from selfsup.errors import UsageError


def run(config: Mapping[str, Any]) -> None:
    """Evaluate ``config["encoder"]`` on ``config["data"]``, print the table and write the results.

    Args:
        config: of ``configs/evaluate.yaml``, composed, resolved and checked for unknown keys.

    Raises:
        UsageError: before any image is encoded, if something in the configuration cannot be.
    """
    out, name = config["out"], str(config["encoder"])
    require_encoder(name)
    require_paths(config["data"])
    require_workers(config["data"])
    if out is not None and Path(out).exists():
        raise UsageError(f"'{out}' exists and is not overwritten; name another file with out=")

    from selfsup.commands.devices import find_device

    device = find_device(config["device"])

    from selfsup.data import load_data
    from selfsup.encoder import load_encoder
    from selfsup.evaluation import SETTINGS, evaluate, print_table, write_results

    encoder = load_encoder(name)
    train, test = load_data(config["data"])
    settings = {key: value for key, value in config.items() if key in SETTINGS}
    results = evaluate(encoder, train, test, config["data"], **settings, device=device, progress=True)
    print_table(results)
    print(f"Results are in {write_results(results, out, name)}")


def require_encoder(name: str) -> None:
    """Raise a UsageError unless ``name`` is a folder that looks like an encoder, or a timm model's name."""
    if name.startswith("timm:"):
        require_timm_name(name.removeprefix("timm:"))
        return
    folder = Path(name)
    if not folder.is_dir():
        raise UsageError(f"there is no encoder '{name}'; a run leaves one in runs/<name>/encoder")
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise UsageError(f"'{name}' is no encoder: it has no {file}; copy the encoder's whole folder")

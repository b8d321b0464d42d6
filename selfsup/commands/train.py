"""``selfsup train``: learn an encoder, save it, judge it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfsup.callbacks.online_settings import check_held_out, check_online
from selfsup.commands.encoders import with_encoders
from selfsup.config import options
from selfsup.data.settings import colours_of, require_paths, require_reading
from selfsup.errors import UsageError
from selfsup.hints import near
from selfsup.precision import require_precision
from selfsup.processes import launched
from selfsup.run.branch import annealed
from selfsup.run.folder import taken
from selfsup.run.resume import in_one_measure, repeated, resumed


def run(config: dict[str, Any]) -> None:
    """Train as the resolved configuration says.

    Raises:
        UsageError: before anything is written, where the configuration cannot work.
    """
    if sum(bool(config[key]) for key in ("resume", "from", "anneal")) > 1:
        raise UsageError("resume= continues a run, from= repeats it, anneal= branches off it; give only one")
    if config["resume"]:
        config = resumed(config)
    elif config["from"]:
        config = repeated(config)
    elif config["anneal"]:
        config = annealed(config)
    else:
        config = with_encoders(in_one_measure(config, config["overrides"]))
    check(config)
    from selfsup.run.train import train

    train(config)


def check(config: dict[str, Any]) -> None:
    """Refuse what is wrong without importing torch."""
    method, trainer = config["method"], config["trainer"]
    require_paths(config["data"])
    require_reading(config["data"], config["overrides"])
    colours_of(config["data"])
    if trainer["max_steps"] < 1 and trainer["max_epochs"] < 1:
        raise UsageError("set trainer.max_epochs or trainer.max_steps above 0")
    for group, name in (("optimizer", "name"), ("schedule", "schedule")):
        if (chosen := method["optimizer"][name]) not in options(group):
            raise UsageError(f"no {group} '{chosen}'{near(chosen, options(group))}")
    rate = method["optimizer"]
    if rate["schedule"] == "infinite" and rate["warmup_steps"] > rate["cooldown_steps"]:
        raise UsageError(
            f"method.optimizer.warmup_steps={rate['warmup_steps']} has to be at most cooldown_steps="
            f"{rate['cooldown_steps']}, the step from which the rate is constant"
        )
    require_precision("evaluate_precision", config["evaluate_precision"])
    check_online(config)
    check_held_out(config)
    require_precision("curation.precision", config["curation"]["precision"])
    backbone = config["backbone"]
    keeping = [key for key, on in (("frozen", backbone["frozen"]), ("lora", backbone["lora"]["rank"])) if on]
    if keeping and backbone["weights"] is None and not backbone["pretrained"]:
        raise UsageError(
            f"there are no weights to go on from, and backbone.{keeping[0]} would keep random ones; add "
            "backbone.weights=, such as a run, a file or timm:NAME"
        )
    if config["logger"]["name"] == "tensorboard" and not any(map(find_spec, ("tensorboard", "tensorboardX"))):
        raise UsageError("logger=tensorboard needs one more package: pip install 'selfsup[tensorboard]'")
    if config["backbone"]["tokens"] is False and any("tokens" in need for need in method["requires"]):
        raise UsageError(
            f"method={method['name']} needs patch tokens, which {config['backbone']['name']} does not have; "
            "take backbone=vit_mini, vit_tiny, vit_small or vit_base"
        )
    losses = {f"method={method['name']}": method}
    losses |= {f"auxiliary={name}": settings for name, settings in config["auxiliary"].items()}
    for name, settings in losses.items():
        if "whole_batch" in settings["requires"] and trainer["accumulate_grad_batches"] > 1:
            raise UsageError(
                f"the loss of {name}, as it is set, compares all images of a batch, so accumulating batches "
                "would change it; raise batch_size instead of trainer.accumulate_grad_batches"
            )
        if "whole_batch" in settings["requires"] and config["batch_size"] < 2:
            raise UsageError(f"the loss of {name} compares the images of a batch; take batch_size=2 or more")
    if str(trainer["strategy"]).startswith(("fsdp", "model_parallel", "deepspeed")):
        raise UsageError(
            f"trainer.strategy={trainer['strategy']} leaves each process a part of every weight, which "
            "teachers, the check of gradients and the saved encoder need whole; take trainer.strategy=ddp"
        )
    _check_combining(config)
    if method.get("teacher", "") is None:
        raise UsageError(
            f"method={method['name']} learns from a teacher; add method.teacher=, such as a run, a file or "
            "timm:NAME, or method.teacher=untrained for a control"
        )
    # Only the first process makes the folder; the others may find it made.
    named = config["resume"] is None and config["name"] is not None
    if launched().rank == 0 and named and (why := taken(Path(str(config["out"])) / str(config["name"]))):
        raise UsageError(why)


def _check_combining(config: dict[str, Any]) -> None:
    """Refuse to combine losses by their gradients where there is one loss, or where gradients are others."""
    trainer, how = config["trainer"], config.get("combine", "fixed")
    if how not in ("fixed", "mgda"):
        raise UsageError(f"combine is fixed or mgda, not '{how}'")
    if how == "fixed":
        return
    if not config["auxiliary"]:
        raise UsageError("combine=mgda weighs losses against each other; add one, such as auxiliary=[lorot]")
    typed = [each.partition("=")[0] for each in config["overrides"]]
    if given := [
        f"auxiliary.{name}.weight" for name in config["auxiliary"] if f"auxiliary.{name}.weight" in typed
    ]:
        raise UsageError(f"combine=mgda finds the weights itself and would not use {given[0]}; leave one out")
    if trainer["accumulate_grad_batches"] > 1:
        raise UsageError(
            "combine=mgda weighs losses by the gradients of a whole step; raise batch_size instead of "
            "trainer.accumulate_grad_batches"
        )
    if str(trainer["precision"]).startswith("16"):
        raise UsageError(
            f"combine=mgda compares gradients that trainer.precision={trainer['precision']} would round to "
            "0; take bf16-mixed or 32-true"
        )

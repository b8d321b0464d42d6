"""From a configuration to an encoder and a method."""

from collections.abc import Mapping
from copy import deepcopy
from functools import partial, reduce
from operator import getitem
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import nn

from selfsup.auxiliary.requirements import require_turns
from selfsup.data import Source
from selfsup.data.settings import colours_of, labels_file, positives_of, range_of, repeat_of
from selfsup.encoder import Encoder, add_adapters, build_encoder, start_from
from selfsup.encoder.blocks import recompute_blocks
from selfsup.encoder.trials import require_ability
from selfsup.errors import UsageError
from selfsup.methods.base import Method
from selfsup.methods.queries import QueryBlock
from selfsup.methods.rehearsal import rehearse
from selfsup.sides import in_words, sides
from selfsup.targets import load_target
from selfsup.text import shown
from selfsup.views import ViewPlan, view_kinds
from selfsup.views.image.native import cxx

PATCH_SIZES, FEWEST_PATCHES = (16, 8, 4, 2), 6
LARGEST_FOR_SMALL_STEM = 64
STEMS = {
    "linear": "patch16_224",
    "mlp": "mlp_stem",
}  # how a patch becomes a token, and the end of timm's name
_NOT_ARGUMENTS = ("_target_", "name", "requires", "class_token", "pool")


def make_encoder(config: Mapping[str, Any]) -> Encoder:
    """The backbone of a configuration or of its weights, with patches or a stem that fit the image size."""
    backbone, data = config["backbone"], config["data"]
    name, args, size = backbone["name"], dict(backbone["model_args"]), data["image_size"]
    both, channels = sides(size), data.get("channels", 3)
    if backbone["small"] and min(both) <= LARGEST_FOR_SMALL_STEM:
        name = backbone["small"]
    if (stem := backbone.get("stem", "linear")) not in STEMS:
        raise UsageError(f"backbone.stem is '{stem}'; it has to be {' or '.join(STEMS)}")
    name = name.replace("patch16_224", STEMS[stem])
    if "patch_size" in args and args["patch_size"] is None:
        whole = [p for p in PATCH_SIZES if not any(side % p for side in both)]
        fitting = [p for p in whole if min(both) // p >= FEWEST_PATCHES]
        if not fitting:
            raise UsageError(
                f"no patch size fits images of {in_words(size)}; set data.image_size to a multiple of 4"
            )
        args["patch_size"] = fitting[0]
    values = range_of(data.get("range"), channels=data.get("channels", 3))
    if backbone["weights"] is not None:
        encoder = start_from(
            backbone["weights"],
            size,
            args,
            range=values,
            channels=channels,
            mean=data["mean"],
            std=data["std"],
        )
    else:
        encoder = build_encoder(
            name,
            size,
            args,
            backbone["positions"],
            data["mean"],
            data["std"],
            pretrained=backbone["pretrained"],
            seed=config["seed"],
            range=values,
            channels=channels,
        )
    for need in config["method"]["requires"]:
        require_ability(encoder, need)
    if rank := backbone["lora"]["rank"]:
        add_adapters(encoder, rank, backbone["lora"]["alpha"], config["seed"])
    if backbone["checkpointing"]:
        recompute_blocks(encoder.model, str(encoder.recipe["name"]))
    return encoder


def make_method(
    config: Mapping[str, Any], encoder: Encoder, devices: int, relation: nn.Module | None = None
) -> Method:
    """The Lightning module of a configuration.

    What a method requires to know of the training samples, :func:`count_samples` and :func:`count_classes`
    tell first; without them, to look at a method without its data, there are as many as in a batch.

    Args:
        relation: of the samples (:func:`selfsup.data.relations.make_relation`), for its loss to use.
    """
    settings = {
        key: _bound(value, f"method.{key}")
        for key, value in config["method"].items()
        if key not in _NOT_ARGUMENTS
    }
    for count in {"samples", "classes"} & set(config["method"]["requires"]):
        settings.setdefault(count, max(2, effective_batch(config, devices)))
    views = ViewPlan(
        config["views"],
        config["data"]["image_size"],
        encoder.mean,
        encoder.std,
        seed=config["seed"],
        multiple=encoder.patch_size if encoder.has_tokens else 1,
        native=config["native_views"],
        colours=colours_of(config["data"]),
    )
    whole = sides(config["data"]["image_size"])
    kinds = [kind for kind, view in view_kinds(config["views"]).items() for _ in range(view["count"])]
    smaller = [kind for kind, size in zip(kinds, views.sizes, strict=True) if size != whole]
    without = " ".join(f"views.{kind}.count=0" for kind in dict.fromkeys(smaller))
    for size in sorted(set(views.sizes)):
        encoder.require_size(size, without if size != whole and whole in views.sizes else "")
    kind = load_target(config["method"]["_target_"], "method", "method._target_")
    losses = [config["method"], *config["auxiliary"].values()]
    told = positives_of(config) != "none" or repeat_of(config) > 1
    method: Method = kind(
        encoder=encoder,
        views=views,
        batch_size=effective_batch(config, devices),
        seed=config["seed"],
        labelled=any("labels" in each["requires"] for each in losses),
        frozen=config["backbone"]["frozen"],
        auxiliary=make_auxiliary(config, encoder, views, devices),
        combine=config.get("combine", "fixed"),
        relation=deepcopy(relation) if told else None,
        **settings,
    )
    if not method.related:
        method.relation = None
        _require_no_relation(config, any(views.of_pair))
    method.untrained = rehearse(method, config["method"]["name"], alone=config["batch_size"] == 1)
    return method


def _require_no_relation(config: Mapping[str, Any], of_pair: bool) -> None:
    """Raise a UsageError where a method that knows of no relation would have to."""
    name, positives, repeat = config["method"]["name"], positives_of(config), repeat_of(config)
    if positives != "none" and not of_pair:
        raise UsageError(
            f"method={name} does not compare images, so positives={positives} would change nothing; take "
            "method=simclr, barlow, vicreg, spectral or triplet, or draw a view from an image's partner "
            "(views=byol views.second.of=pair)"
        )
    if repeat > 1 and "whole_batch" in config["method"]["requires"]:
        raise UsageError(
            f"method={name} compares the rows of a batch, and with views.repeat={repeat} would not know "
            "which are of one image; raise the count of its views instead, or take method=simclr or barlow"
        )


def count_samples(config: Mapping[str, Any], samples: int) -> None:
    """Write into a method's settings how many training samples there are, if it requires that.

    Raises:
        UsageError: there are fewer samples than the method needs, such as one a prototype.
    """
    for need in config["method"]["requires"]:
        if need == "samples":
            config["method"]["samples"] = samples
        elif need.startswith("samples >= "):
            setting = need.removeprefix("samples >= ")
            if samples < (least := reduce(getitem, setting.split("."), config["method"])):
                name = config["method"]["name"]
                raise UsageError(
                    f"{name} shares {samples:,} training images out among {least:,} prototypes, which may be "
                    f"no more than the images; take method.{setting}={max(2, samples // 4)} or fewer"
                )


def count_classes(config: Mapping[str, Any], source: Source) -> None:
    """Write into the settings of each loss that requires ``classes`` how many the training samples have.

    Raises:
        UsageError: a loss requires labels, and the training samples have none.
    """
    losses = {f"method={config['method']['name']}": config["method"]}
    losses |= {f"auxiliary={name}": settings for name, settings in config["auxiliary"].items()}
    for name, settings in losses.items():
        if not {"labels", "classes"} & set(settings["requires"]):
            continue
        if source.labels is None:
            why = "the training images have none"
            if (file := labels_file(config["data"])) is not None:
                why = f"those in '{shown(file)}' (data.labels) are for judging alone"
            raise UsageError(
                f"{name} learns from labels, and {why}; take images whose labels come with them, such as a "
                "folder of each class, or a method without labels, such as method=simclr"
            )
        if "classes" in settings["requires"]:
            settings["classes"] = int(source.labels.max()) + 1


def _bound(value: Any, setting: str) -> Any:
    """A group of settings that names a function as that function, with the other settings bound."""
    if not isinstance(value, Mapping) or "_target_" not in value:
        return value
    function = load_target(value["_target_"], "method", f"{setting}._target_")
    return partial(function, **{key: each for key, each in value.items() if key != "_target_"})


def make_auxiliary(
    config: Mapping[str, Any], encoder: Encoder, views: ViewPlan, devices: int
) -> dict[str, tuple[float, nn.Module]]:
    """The losses beside the method's, each with its weight, for the features of an encoder.

    Raises:
        UsageError: the views are not turned as one of them requires.
    """
    found = {}
    for name, settings in config["auxiliary"].items():
        arguments = {
            key: value for key, value in settings.items() if key not in ("_target_", "requires", "weight")
        }
        for need in settings["requires"]:
            if need == "views":
                arguments["views"] = views
            elif need == "classes":
                arguments.setdefault("classes", max(2, effective_batch(config, devices)))
            elif need.startswith("turn="):
                arguments["turn"] = need.removeprefix("turn=")
                require_turns(name, arguments["turn"], config)
        kind = load_target(settings["_target_"], "auxiliary", f"auxiliary.{name}._target_")
        found[name] = settings["weight"], kind(encoder=encoder, **arguments)
    return found


def compile_passes(method: Method, on_gpu: bool) -> None:
    """Have torch compile the training passes of a method's encoders, teacher and predictor.

    On a GPU the colours of its views are compiled as well; a CPU's are in any case.

    Raises:
        UsageError: there is no C++ compiler, which it takes on a CPU.
    """
    if not on_gpu and not cxx():
        raise UsageError(
            "compile=true needs a C++ compiler on a CPU; install one, such as g++, or leave it out"
        )
    encoders = [module for module in method.modules() if isinstance(module, Encoder)]
    theirs = {part for encoder in encoders for part in encoder.modules()}
    for encoder in encoders:
        encoder.compile_training()
    for module in method.modules():
        if isinstance(module, (Block, QueryBlock)) and module not in theirs:
            module.compile(dynamic=False)
    method.views.compiled = on_gpu


def effective_batch(config: Mapping[str, Any], devices: int) -> int:
    """Images an optimizer step, over devices, nodes and accumulated batches."""
    nodes, accumulated = config["trainer"]["num_nodes"], config["trainer"]["accumulate_grad_batches"]
    return int(config["batch_size"] * devices * nodes * accumulated)


def count_steps(config: Mapping[str, Any], batches: int) -> int:
    """Optimizer steps of the whole run, of ``batches`` an epoch."""
    settings, an_epoch = config["trainer"], steps_an_epoch(config, batches)
    return int(settings["max_steps"] if settings["max_steps"] > 0 else settings["max_epochs"] * an_epoch)


def steps_an_epoch(config: Mapping[str, Any], batches: int) -> int:
    """Optimizer steps of an epoch of ``batches``."""
    return -(-batches // int(config["trainer"]["accumulate_grad_batches"]))


def count_devices(settings: Mapping[str, Any], on_gpu: bool) -> int:
    """Processes a node, as Lightning will start them."""
    devices = settings["devices"]
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1):
        return torch.cuda.device_count() if on_gpu else 1
    return int(devices)

"""``--help``: a command's settings, read off the configuration files."""

from selfsup.commands import config_name
from selfsup.config import config_root, options, summary, written
from selfsup.from_labels import learns_from_labels
from selfsup.ranges import BLOCK

_EXAMPLES = {
    "inspect": [
        "selfsup inspect data=folder data.root=my/images",
        "selfsup inspect data=folder data.root=my/images encoder=runs/latest/encoder out=again",
    ],
    "train": [
        "selfsup train method=barlow",
        "selfsup train method=dino data=folder data.root=my/images backbone=vit_small",
        "selfsup train method=simclr data=cifar10 data.download=true trainer.max_epochs=100",
        "selfsup train resume=runs/latest",
    ],
    "tune": [
        "selfsup tune method=simclr data=folder data.root=my/images trials=30 minutes=120",
        "selfsup tune method=simclr space.method.temperature=[0.1,0.5,log] space.batch_size=[32,64,128]",
        "selfsup tune method=mae space=none space.method.mask_ratio=[0.5,0.9] out=runs/tune-mask",
    ],
    "views": [
        "selfsup views method=dino data=folder data.root=my/images",
        "selfsup views method=mae images=16 out=mae.png",
    ],
    "evaluate": [
        "selfsup evaluate encoder=runs/latest/encoder",
        "selfsup evaluate encoder=[runs/a/encoder,timm:resnet18] data=folder data.root=my/images",
        "selfsup evaluate encoder=runs/latest/encoder protocols=[knn,logistic] protocols.knn.k=[10]",
        "selfsup evaluate encoder=timm:resnet18 data=folder data.root=mine banks.a.root=a banks.b.root=b",
        "selfsup evaluate encoder=[runs/a/encoder,timm:resnet18] data=[digits,folder:my/images]",
    ],
    "curate": [
        "selfsup curate mode=copies data=folder data.root=my/images",
        "selfsup curate mode=balanced share=0.5 encoder=runs/latest/encoder data=folder data.root=my/images",
        "selfsup curate mode=scores scores=inspection.parquet column=kept above=0.5 data=folder data.root=x",
        "selfsup curate mode=label count=50 encoder=runs/latest/encoder data=folder data.root=my/images",
        "selfsup curate mode=pairs count=200 encoder=runs/latest/encoder data=folder data.root=my/images",
    ],
    "embed": [
        "selfsup embed encoder=runs/latest/encoder data=folder data.root=my/images out=features.parquet",
    ],
    "search": [
        "selfsup search encoder=runs/latest/encoder data=folder data.root=my/images query=photo.jpg",
        "selfsup search encoder=runs/latest/encoder features=features.parquet query=photo.jpg k=20",
    ],
    "export": [
        "selfsup export encoder=runs/latest/encoder format=onnx",
        "selfsup export encoder=timm:resnet18.a1_in1k format=pt2 out=resnet18.pt2",
    ],
    "advise": [
        "selfsup advise data=folder data.root=my/images",
        "selfsup advise data=folder data.root=my/images by=knn minutes=30",
    ],
    "runs": [
        "selfsup runs",
        "selfsup runs my/runs sort=knn",
    ],
    "board": [
        "selfsup board runs",
        "selfsup board runs others/results.json out=compared.html",
    ],
    "report": [
        "selfsup report runs/latest",
        "selfsup report runs/one runs/another out=compared.html",
    ],
}
_GROUPS = {
    "inspect": ["data"],
    "advise": ["data"],
    "train": [
        "method",
        "optimizer",
        "schedule",
        "auxiliary",
        "backbone",
        "data",
        "views",
        "trainer",
        "logger",
        "online",
        "curation",
        "positives",
        "experiment",
    ],
    "views": ["method", "backbone", "data", "views", "experiment"],
    "evaluate": ["data", "protocols"],
    "curate": ["data"],
    "embed": ["data"],
    "search": ["data"],
    "export": [],
    "runs": [],
    "board": [],
    "report": [],
}
_GROUPS["tune"] = [*_GROUPS["train"], "space"]


def choices(command: str) -> str:
    """The text of ``selfsup COMMAND --list``: the options of a command's groups, a line each."""
    parts = []
    for group in _GROUPS[command]:
        names = options(group)
        width = max(map(len, names))
        marks = {name: " (labels)" if learns_from_labels(group, name) else "" for name in names}
        lines = [f"  {name:{width}}  {summary(group, name)}{marks[name]}" for name in names]
        if group == "backbone":
            lines.append("  and any name that timm knows")
        parts.append("\n".join([f"{group}=", *lines]))
    return "\n\n".join(parts) or f"{command} has no groups to choose from; --help lists its settings"


def words() -> dict[str, list[str]]:
    """What can be typed after each command: its groups with their options, and the names of its settings."""
    found = {}
    for command, groups in _GROUPS.items():
        chosen = [f"{group}={name}" for group in groups for name in options(group)]
        lines = (config_root() / f"{config_name(command)}.yaml").read_text(encoding="utf-8").splitlines()
        settings = [line.partition(":")[0] for line in lines if line[:1].isalpha() and ":" in line]
        keys = [f"{key}=" for key in settings if key not in ("defaults", BLOCK, *groups)]
        found[command] = ["--help", "--list", *chosen, *keys]
    return found


def describe(command: str, overrides: list[str]) -> str:
    """The text of ``selfsup COMMAND [key=value ...] --help``; with choices, also all their settings."""
    parts = [f"usage: selfsup {command} [key=value ...]", "", "examples:"]
    parts += [f"  {example}" for example in _EXAMPLES[command]]
    if _GROUPS[command]:
        parts += ["", choices(command)]
    parts += ["", "settings:"]
    unlisted = False  # what composes the configuration, and what limits it
    for line in (config_root() / f"{config_name(command)}.yaml").read_text(encoding="utf-8").splitlines():
        unlisted = line in ("defaults:", f"{BLOCK}:") or (unlisted and line.startswith("  "))
        if line and not unlisted and not line.startswith("#"):
            parts.append(f"  {line}")
    if command == "train":
        parts += [
            "",
            "method.*, backbone.*, data.*, views.* and trainer.* are set the same way, for instance",
        ]
        parts += ["trainer.max_epochs=100 or method.optimizer.lr=5e-4; a misspelled name is reported."]
        parts += ["'selfsup train method=mae data=folder --help' lists those of these choices."]
    if command == "views":
        parts += [
            "",
            "and all settings of 'selfsup train': replace train by views in its command. All",
            "are checked as in training; those that do not concern the first batch change nothing.",
        ]
    if command == "tune":
        parts += ["", "and all settings of 'selfsup train', which the trials share."]
    if overrides:
        parts += ["", f"all settings with {' '.join(overrides)}:", ""]
        parts += [f"  {line}" for line in written(config_name(command), overrides).splitlines()]
    return "\n".join(parts)

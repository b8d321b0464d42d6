"""A mistake in a command is a sentence that says what would be right, told before torch is imported."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfsup import __version__
from selfsup.backbone_names import backbone_name, require_timm_name, timm_names
from selfsup.commands import main
from selfsup.commands.train import check
from selfsup.config import config_root, load_config, options, require_types
from selfsup.errors import REQUEUE, RunStopped, UsageError
from selfsup.run.folder import new_folder, point_latest
from selfsup.run.resume import resumed
from selfsup.views import view_kinds


def refused(*overrides: str, command: str = "train") -> str:
    with pytest.raises(UsageError) as caught:
        check(load_config(command, overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("method=barlw", "no method 'barlw'; did you mean 'barlow'?"),
        ("method=xyz", "no method 'xyz'; there are barlow, byol"),
        ("method=simclr,barlow", "no method 'simclr,barlow'; did you mean 'simclr'?"),
        ("method=null", "no method 'null'; there are barlow"),
        ("logger=null", "no logger 'null'"),
        ("data=cifar", "no data 'cifar'; did you mean 'cifar10'?"),
        ("experiment=null", "no experiment 'null'"),
        ("backbone=resnet81", "is called 'resnet81'; did you mean .*'resnet18'"),
        ("backbone=null", "neither a backbone .* nor a timm model is called 'null'"),
        ("batchsize=3", "no setting 'batchsize' .*did you mean 'batch_size'?"),
        ("lr=3", "no setting 'lr' .*did you mean 'method.optimizer.lr'?"),
        ("method.optimiser.lr=1", "did you mean 'method.optimizer.lr'?"),
        ("data.root=here", "no setting 'data.root' .*data=cifar10, .*folder.* have it, data=digits does not"),
        ("nonsense=1", "no setting 'nonsense' .*there are"),
        ("method.temperature=1", "moco.* have it, method=barlow does not"),
        ("method.lr=1", "did you mean 'method.optimizer.lr'?"),
        ("method.head.out=9", "method=dino, ibot have it, method=barlow does not"),
        ("views.small.count=2", "dino.* have it"),
        ("logger.project=x", "logger=wandb has it, logger=none does not"),
        ("epochs=9", "did you mean 'trainer.max_epochs' or 'online.every_epochs' or"),
        ("trainer.epochs=9", "did you mean 'trainer.max_epochs'?"),
        ("batch=9", "did you mean 'batch_size' or"),
        ("learning_rate=1", "did you mean 'method.optimizer.lr'?"),
        ("backbone.depth=9", "did you mean 'backbone.model_args.depth'?"),
        ("protocols.knn.k=[9]", "'selfsup train' has no protocols"),
        ("data=my/images", "data=folder data.root=my/images"),
        ("data=list.csv", "data=files data.files=list.csv"),
        ("data=imagefolder", "no data 'imagefolder'; did you mean 'folder'?"),
        ("--batch-size=9", "'--batch-size=9' is not a setting; write key=value, such as batch_size=9"),
        ("foo", "'foo' is not a setting; write key=value"),
        ("+batch_size=3", "'+batch_size=3' is not a setting; write key=value"),
        ("--batch_size=3", "'--batch_size=3' is not a setting; write key=value"),
        ("batch_size=abc", "batch_size is a whole number, not 'abc'"),
        ("batch_size=1.5", "batch_size is a whole number, not '1.5'"),
        ("batch_size=", "batch_size is a whole number, not ''"),
        ("batch_size=null", "batch_size is a whole number, not 'null'"),
        ("trainer.max_epochs=null", "trainer.max_epochs is a whole number, not 'null'"),
        ("seed=true", "seed is a whole number, not 'True'"),
        ("evaluate=1", "evaluate is true or false, not '1'"),
        ("method.optimizer.lr=fast", "method.optimizer.lr is a number, not 'fast'"),
        ("views.first.scale=0.3", "views.first.scale is a list such as"),
        ("method.optimizer=3", "method.optimizer is a group of settings; set one of them as key.name=value"),
        ("backbone.model_args.depth=x", "backbone.model_args.depth is a whole number"),
        ("name=${foo}", "refers to another that does not exist: .*'foo'"),
        ("data=folder", "data.root has to be given: add data.root=..."),
        ("data=parquet", "data.train has to be given"),
        ("backbone=timm", "backbone.name has to be given"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(override: str, words: str) -> None:
    assert re.search(words.replace("?", r"\?").replace("+", r"\+"), refused(override))


def test_an_encoder_has_to_be_given_to_the_evaluation() -> None:
    assert refused(command="evaluate") == "encoder has to be given: add encoder=... to the command"
    assert "did you mean 'protocols.nshot.shots'?" in refused("encoder=x", "shots=3", command="evaluate")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--epochs", "10"], "'--epochs' is not a setting; write key=value, such as trainer.max_epochs=10"),
        (["--lr", "0.1"], "such as method.optimizer.lr=0.1"),
        (["method", "dino"], "'method' is not a setting; write key=value, such as method=dino"),
        (["--gpus", "2"], "such as trainer.devices=2"),
    ],
)
def test_arguments_in_the_way_of_other_programs(overrides: list[str], words: str) -> None:
    assert refused(*overrides).endswith(words)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("protocols.knn.k=20", "protocols.knn.k is a list such as protocols.knn.k=[20,10,100,200], not '20'"),
        ("protocols.k=[20]", "did you mean 'protocols.knn.k'?"),
        ("protocols.ridge.labels=true", "protocols=ridge has it, protocols=[knn,linear,nshot,spectra] does"),
        ("method=simclr", "'selfsup evaluate' has no method"),
        ("trainer.max_epochs=9", "'selfsup evaluate' has no trainer"),
    ],
)
def test_how_settings_of_an_evaluation_are_meant(override: str, words: str) -> None:
    assert words in refused("encoder=x", override, command="evaluate")


def test_defaults_are_those_of_the_files() -> None:
    config = load_config("train", [])
    assert (config["method"]["name"], config["data"]["name"], list(view_kinds(config["views"]))) == (
        "barlow",
        "digits",
        ["first", "second"],
    )
    assert json.loads(json.dumps(config)) == config
    assert (config["batch_size"], config["method"]["optimizer"]["lr"]) == (128, 1e-3)
    assert config["overrides"] == []


def test_settings_reach_their_place() -> None:
    overrides = ["method=simclr", "batch_size=8", "method.optimizer.lr=5e-4", "views.each.scale=[0.3,0.9]"]
    config = load_config("train", overrides)
    assert config["method"]["_target_"] == "selfsup.methods.simclr.SimCLR"
    assert list(view_kinds(config["views"])) == ["each"]  # the views follow the method
    assert (config["batch_size"], config["method"]["optimizer"]["lr"]) == (8, 5e-4)
    assert config["views"]["each"]["scale"] == [0.3, 0.9]
    assert config["overrides"] == overrides
    assert load_config("train", ["views=dino"])["method"]["name"] == "barlow"
    assert (
        load_config("train", ["method=dino", "method.optimizer.clip=null"])["method"]["optimizer"]["clip"]
        is None
    )
    assert load_config("train", ["method.optimizer.lr=1"])["method"]["optimizer"]["lr"] == 1  # a number, too


def read_data(name: str) -> dict[str, Any]:
    return yaml.safe_load((config_root() / "data" / f"{name}.yaml").read_text())


# Each of both has its turn: settings of methods do not meet those of data sets.
PAIRS = list(zip(options("method") * 2, options("data") * 2, strict=False))


@pytest.mark.parametrize(("method", "data"), PAIRS)
def test_every_method_and_data_set_compose(method: str, data: str) -> None:
    given = [f"data.{key}=." for key, value in read_data(data).items() if value == "???"]
    config = load_config("train", [f"method={method}", f"data={data}", *given])
    named = "." if read_data(data)["name"] == "???" else data
    assert (config["method"]["name"], config["data"]["name"]) == (method, named)
    require_types("train", config)
    for view in view_kinds(config["views"]).values():
        assert all(isinstance(end, float | int) for end in view["scale"])


def test_the_settings_of_a_run_with_a_backbone_of_timm_are_those_of_a_run() -> None:
    """Which a run that is resumed reads again."""
    require_types("train", load_config("train", ["backbone=resnet10t"]))


@pytest.mark.parametrize("name", [each for each in options("experiment") if each])
def test_every_experiments_settings_are_of_their_defaults_types(name: str) -> None:
    files = (
        [] if name.startswith("digits") else ["data=parquet", "data.train=a.parquet", "data.test=b.parquet"]
    )
    require_types("train", load_config("train", [f"experiment={name}", *files]))


@pytest.mark.parametrize(
    "path", ["with space", "a,b", "it's", "a(b)", "x=y", "täg: 1", r"c:\images", "end\\", r"a\'b", "~/x"]
)
def test_any_path_can_be_given(path: str) -> None:
    config = load_config("train", ["data=folder", f"data.root={path}"])
    assert config["data"]["root"] == config["data"]["source"]["root"] == path


def test_arguments_of_a_backbone_are_free() -> None:
    overrides = [
        "backbone=convnext_atto",
        "backbone.model_args.ls_init_value=0.1",
        "backbone.model_args.patch.a=2",
    ]
    backbone = load_config("train", overrides)["backbone"]
    assert (backbone["name"], backbone["small"]) == ("convnext_atto", None)
    assert backbone["model_args"] == {"ls_init_value": 0.1, "patch": {"a": 2}}
    assert (
        load_config("train", ["backbone.model_args.qk_norm=true"])["backbone"]["model_args"]["qk_norm"]
        is True
    )
    assert "no setting 'backbone.arguments'" in refused("backbone.arguments=1")


def test_any_timm_name_is_a_backbone() -> None:
    for name in ("resnet18d", "vit_small_patch16_224.augreg_in21k", "resnet18_small"):
        assert load_config("train", [f"backbone={name}"])["backbone"]["name"] == name
    for name in options("backbone"):
        chosen = [] if name != "timm" else ["backbone.name=resnet18"]
        require_timm_name(load_config("train", [f"backbone={name}", *chosen])["backbone"]["name"])


def test_names_read_off_timms_sources_are_timms() -> None:
    import timm

    from selfsup.backbones import small_stem

    assert timm_names() == set(timm.list_models())
    assert set(small_stem.default_cfgs) <= timm_names()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["batch_size=0"], "batch_size is 0; it has to be a whole number from 1"),
        (["method.optimizer.lr=-1"], "method.optimizer.lr is -1; it has to be above 0"),
        (["trainer.accumulate_grad_batches=0"], "a whole number from 1"),
        (
            ["method.optimizer.layer_decay=0"],
            "method.optimizer.layer_decay is 0; it has to be above 0 and at",
        ),
        (["method.optimizer.layer_decay=1.5"], "layer_decay is 1.5; it has to be above 0 and at most 1"),
        (["trainer.max_epochs=-1"], "set trainer.max_epochs or trainer.max_steps"),
        (["trainer.max_epochs=0"], "set trainer.max_epochs or trainer.max_steps above 0"),
        (["method.optimizer.name=adam"], "no optimizer 'adam'; did you mean 'adamw'?"),
        (
            ["method=mae", "backbone=resnet18"],
            "method=mae needs patch tokens, which resnet18 does not have; take backbone=",
        ),
        (["method=jepa", "backbone=resnet10"], "method=jepa needs patch tokens"),
        (["trainer.strategy=fsdp"], "take trainer.strategy=ddp"),
        (["method=barlow", "trainer.accumulate_grad_batches=2"], "raise batch_size"),
        (["method=barlow", "batch_size=1"], "take batch_size=2 or more"),
        (["method=simclr", "batch_size=1"], "take batch_size=2 or more"),
        (["method=simclr", "trainer.accumulate_grad_batches=2"], "raise batch_size"),
        (["data=folder", "data.root=no/such/folder"], "data.root: there is no 'no/such/folder'"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], words: str) -> None:
    assert words in refused(*overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.max_epochs=-1", "trainer.max_steps=5"],
        ["method=mae", "trainer.accumulate_grad_batches=2"],
        ["method=dino", "backbone=resnet18"],
        ["method=mae", "backbone=deit_tiny_patch16_224"],
        ["data=parquet", "data.train=no/train-*.parquet"],
        ["data=cifar10", "data.root=no/such/folder", "data.download=true"],
    ],
)
def test_what_goes_together_is_not_refused(overrides: list[str]) -> None:
    check(load_config("train", overrides))


def test_a_near_miss_of_a_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    said = refused("data=folder", f"data.root={tmp_path / 'flower'}")
    assert f"did you mean '{tmp_path / 'flowers'}'?" in said


LIGHT = """
import contextlib, io, json, sys
HEAVY = ("torch", "timm", "wandb", "sklearn", "lightly", "pytorch_lightning", "torchvision")

def heavy():
    return [name for name in HEAVY if name in sys.modules]

import selfsup
seen = [["import selfsup", 0, "", heavy()]]
from selfsup.commands import main
for arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(arguments)
    seen.append([" ".join(arguments), status, out.getvalue(), heavy()])
print(json.dumps(seen))
"""


def test_mistakes_and_help_are_told_before_torch_is_imported() -> None:
    good = [[], ["--help"], ["train", "--help"], ["evaluate", "-h"], ["views", "method=dino", "--help"]]
    wrong = [
        ["trian"],
        ["train", "method=barlw"],
        ["train", "backbone=resnet81"],
        ["train", "batchsize=3"],
        ["train", "batch_size=0"],
        ["train", "method=mae", "backbone=resnet18"],
        ["train", "data=folder", "data.root=no/such/folder"],
        ["train", "resume=no/such/run"],
        ["views", "images=0"],
        ["evaluate"],
        ["evaluate", "encoder=x", "kk=3"],
    ]
    versions = [["--version"], ["train", "--version"], ["train", "method=dino", "--version"]]
    command = [sys.executable, "-c", LIGHT, json.dumps(good + wrong + versions)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (imported, *answers) = json.loads(done.stdout)
    assert imported[-1] == []
    assert [heavy for *_, heavy in answers if heavy] == []
    for name, status, said, _ in answers[: len(good)]:
        assert status == 0, name
        assert "usage: selfsup" in said
    for name, status, said, _ in answers[len(good) + len(wrong) :]:
        assert status == 0, name
        assert said.startswith(f"selfsup {__version__}\nPython ")
        assert f"\ntimm {metadata.version('timm')}\n" in said
    for name, status, said, _ in answers[len(good) : len(good) + len(wrong)]:
        assert status == 2, name
        assert said.startswith(f"selfsup {name.split()[0]}: ")
        assert said.count("\n") == 1, said
    assert "did you mean 'train'?" in answers[len(good)][2]


def test_help_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    for group in ("method", "backbone", "data", "logger", "experiment"):
        assert f"\n{group}=\n" in said
        for option in options(group):
            assert re.search(rf"^  {option} +\S", said, re.MULTILINE), option
    for setting in ("batch_size: 128", "resume: null", "evaluate: true"):
        assert setting in said
    assert "defaults:" not in said


def test_traceback_on_demand() -> None:
    with pytest.raises(UsageError):
        main(["train", "batch_size=0", "traceback=true"])


def test_exit_status_says_whose_mistake_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = (UsageError("a"), RunStopped("b"), RunStopped("c", REQUEUE), KeyboardInterrupt())
    for error, status in zip(errors, (2, 1, 75, 130), strict=True):

        def fail(config: dict[str, Any], error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("selfsup.commands.train.run", fail)
        assert main(["train"]) == status
    assert capsys.readouterr().err == "".join(
        f"selfsup train: {word}\n" for word in ("a", "b", "c", "interrupted")
    )


def config_of(out: Path, *overrides: str) -> dict[str, Any]:
    return load_config("train", [f"out={out}", *overrides])


@pytest.mark.parametrize("name", [*options("backbone"), "vit_medium_patch16_gap_240"])
def test_a_run_is_called_by_the_backbone_as_it_was_typed(name: str, tmp_path: Path) -> None:
    if name != "timm":  # whose own name is any of timm's
        folder = new_folder(config_of(tmp_path, f"backbone={name}"))
        assert folder.name.startswith(f"barlow-digits-{name}-2")


@pytest.mark.parametrize("name", ["[red]run", "{a", "[1,2", "a b", "x=y"])
def test_a_name_that_is_half_a_list_is_a_name(name: str) -> None:
    assert load_config("train", [f"name={name}"])["name"] == name


def test_a_run_of_an_older_version_has_a_backbone_by_its_name_only() -> None:
    assert backbone_name({"name": "resnet50"}) == "resnet50"


def test_a_folder_is_new_and_latest_is_the_run_that_was_last_begun(tmp_path: Path) -> None:
    config, out = config_of(tmp_path / "runs"), tmp_path / "runs"
    folders = [new_folder(config) for _ in range(3)]  # within a second, so of one automatic name
    assert len(set(folders)) == 3
    assert all(folder.parent == tmp_path / "runs" for folder in folders)
    assert folders[0].name.startswith("barlow-digits-vit_mini-")
    assert [path.name for path in folders[0].iterdir()] == ["config.yaml"]
    latest = tmp_path / "runs" / "latest"
    assert not latest.exists()
    assert point_latest(folders[2], out) is None
    assert latest.resolve() == folders[2].resolve()
    assert not latest.readlink().is_absolute()  # the folder of runs can be moved
    named = new_folder(config_of(tmp_path / "runs", "name=mine"))
    assert named == tmp_path / "runs" / "mine"
    assert point_latest(named, out) is None
    assert latest.resolve() == named.resolve()


def test_a_named_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("x")
    config = config_of(tmp_path, "name=mine")
    for refuse in (check, new_folder):
        with pytest.raises(
            UsageError, match=r"mine' exists and is not a run's folder .*; choose another name$"
        ):
            refuse(config)
    (tmp_path / "mine" / "config.yaml").touch()
    for refuse in (check, new_folder):
        with pytest.raises(UsageError, match=r"mine' exists; choose another name, or .*resume="):
            refuse(config)
    assert (tmp_path / "mine" / "precious").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_was_made_and_not_filled_is_taken(tmp_path: Path) -> None:
    """A start that was killed between the two left it."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".config.yaml.17.part").write_text("half")
    config = config_of(tmp_path, "name=mine")
    check(config)
    assert [path.name for path in new_folder(config).iterdir()] == ["config.yaml"]


def test_a_file_system_without_links_has_no_latest_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    folder = new_folder(config_of(tmp_path, "name=mine"))
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert "no link can be made there (Operation not permitted)" in str(point_latest(folder, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_latest_that_is_no_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    assert point_latest(new_folder(config_of(tmp_path, "name=mine")), tmp_path) is None
    assert not (tmp_path / "latest").is_symlink()


def test_names_that_are_numbers_or_paths(tmp_path: Path) -> None:
    assert new_folder(config_of(tmp_path, "name=5")) == tmp_path / "5"
    nested = new_folder(config_of(tmp_path, "name=sweep/a"))
    assert point_latest(nested, tmp_path) is None
    assert (tmp_path / "latest").resolve() == nested.resolve()
    assert new_folder(config_of(tmp_path, "name=0")).name == "0"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        check(load_config("train", ["out=2024", "name=a"]))
        assert new_folder(load_config("train", ["out=2024", "name=a"])) == Path("2024/a")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot make the run's folder .*set out="):
        new_folder(config_of(tmp_path / "file"))


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    config = config_of(tmp_path, "name=run", "method=dino", "trainer.max_epochs=7", "evaluate=false")
    folder = new_folder(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_resumed_run_keeps_its_configuration(interrupted: Path) -> None:
    before = yaml.safe_load((interrupted / "config.yaml").read_text())
    after = resumed(load_config("train", [f"resume={interrupted}", "traceback=true"]))
    assert after == before | {"resume": str(interrupted.resolve()), "traceback": True}
    check(after)


def test_the_trainer_and_the_logger_of_a_resumed_run_can_change(interrupted: Path) -> None:
    # 40 epochs is also the default: what was given counts, not what differs from the defaults.
    default = load_config("train", [])["trainer"]["max_epochs"]
    given = [
        f"trainer.max_epochs={default}",
        "trainer.max_steps=9",
        "logger=wandb",
        "logger.project=p",
        "evaluate=true",
    ]
    after = resumed(load_config("train", [f"resume={interrupted}", *given]))
    assert (after["trainer"]["max_epochs"], after["trainer"]["max_steps"]) == (default, 9)
    assert (after["logger"]["name"], after["logger"]["project"]) == ("wandb", "p")
    assert after["evaluate"] is True
    assert after["method"]["name"] == "dino"


@pytest.mark.parametrize(
    "given",
    [
        "batch_size=64",
        "method=mae",
        "seed=1",
        "data.image_size=48",
        "experiment=digits_dino",
        "trainer.accumulate_grad_batches=2",
    ],
)
def test_nothing_else_of_a_resumed_run_can_change(given: str, interrupted: Path) -> None:
    with pytest.raises(UsageError, match=rf"{given.partition('=')[0]} cannot change .*start a new run"):
        resumed(load_config("train", [f"resume={interrupted}", given]))


def test_there_has_to_be_a_run_to_resume(interrupted: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run's folder \(it has no config.yaml\)"):
        resumed(load_config("train", [f"resume={interrupted.parent}"]))

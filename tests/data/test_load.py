from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from selfsup.config import defaults
from selfsup.data import ImageArray, load_data
from selfsup.data.readers.decode import Picture
from selfsup.errors import UsageError

from .images import encoded, noise, write, write_parquet

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))


def config(name, *settings):
    """`configs/data/<name>.yaml` as Hydra composes it, with settings such as "data.root=x"."""
    files = [*sorted((CONFIGS[0].parent / "common").glob("*.yaml")), CONFIGS[0].with_name(f"{name}.yaml")]
    keys = {key: value for file in files for key, value in yaml.safe_load(file.read_text()).items()}
    whole = OmegaConf.create({"data": {key: value for key, value in keys.items() if key != "defaults"}})
    whole.merge_with_dotlist(list(settings))
    return OmegaConf.to_container(whole, resolve=True)["data"]


def images(root, good, bad=0):
    """Images of many sizes, so that they are decoded when asked for, the bad ones spread evenly."""
    for i in range(good):
        write(root / f"{i:03}.png", i, height=8 + i % 50)
    for i in range(bad):
        (root / f"{i * good // bad:03}x.png").write_bytes(b"bad")
    return root


def test_every_configuration_says_what_it_is_and_has_the_same_keys():
    common = {"source", "image_size", "mean", "std", "mirror", "workers", "max_unreadable"}
    for file in CONFIGS:
        assert file.read_text().startswith("# ")
        content = defaults("train", [f"data={file.stem}"])["data"]
        assert common <= set(content)
        assert content["name"] in (file.stem, "???")  # what to load has a name of its own on the hub
        assert content["source"]["_target_"] == f"selfsup.data.{file.stem}"
        assert len(content["mean"]) == len(content["std"]) == 3


def test_every_configuration_names_arguments_that_its_source_has():
    import inspect

    import selfsup.data

    for file in CONFIGS:
        source = yaml.safe_load(file.read_text())["source"]
        function = getattr(selfsup.data, source.pop("_target_").rsplit(".", 1)[1])
        assert set(source) == set(inspect.signature(function).parameters)


def test_digits_load():
    train, test = load_data(config("digits"))
    assert isinstance(train, ImageArray)
    assert (len(train), len(test)) == (1297, 500)


def test_settings_reach_the_source(tmp_path):
    for name in ("a", "b"):
        images(tmp_path / "tree" / name, 5)
    train, _ = load_data(config("folder", f"data.root={tmp_path / 'tree'}"))
    assert train.classes == ["a", "b"]
    train, _ = load_data(config("folder", f"data.root={tmp_path / 'tree'}", "data.labels=false"))
    assert train.labels is None
    file = write_parquet(tmp_path / "a.parquet", [encoded(noise(i)) for i in range(8)], [0, 1] * 4)
    held = write_parquet(tmp_path / "b.parquet", [encoded(noise(9))], [1])
    train, test = load_data(config("parquet", f"data.train={file}", f"data.test={held}"))
    assert (len(train), len(test)) == (8, 1)
    train, test = load_data(config("parquet", f"data.train={file}", "data.labels=false"))
    assert (len(train), len(test), train.labels) == (6, 2, None)


@pytest.mark.parametrize(("name", "key"), [("folder", "root"), ("parquet", "train")])
def test_a_path_that_was_not_given(name, key):
    for missing in ("???", "null"):
        with pytest.raises(UsageError, match=rf"needs data\.{key}="):
            load_data(config(name, f"data.source.{key}={missing}"))


def test_a_source_that_is_none(tmp_path):
    wrong = config("digits")
    with pytest.raises(UsageError, match="unexpected keyword argument 'root'"):
        load_data({**wrong, "source": {**wrong["source"], "root": "x"}})
    for target in ("selfsup.data.digit", "no_such_package.source"):
        with pytest.raises(UsageError, match=target):
            load_data({**wrong, "source": {"_target_": target}})


def test_one_broken_image_of_a_few_is_borne(tmp_path):
    train, test = load_data(config("folder", f"data.root={images(tmp_path, 19, 1)}"))
    assert len(train) + len(test) == 20


def test_many_broken_images_stop_before_the_start_and_the_remedy_works(tmp_path):
    root = images(tmp_path, 40, 20)
    with pytest.raises(UsageError, match=r"x\.png': it is not an image") as caught:
        load_data(config("folder", f"data.root={root}"))
    remedy = str(caught.value).split("data.max_unreadable=")[1]
    load_data(config("folder", f"data.root={root}", f"data.max_unreadable={remedy}"))


def test_broken_images_in_memory_count_too(tmp_path):
    good = [encoded(noise(i)) for i in range(10)]
    file = write_parquet(tmp_path / "a.parquet", [*good, b"bad", b"bad"])
    held = write_parquet(tmp_path / "b.parquet", good[:2])
    settings = f"data.train={file}", f"data.test={held}"
    with pytest.raises(UsageError, match=r"2 of 12 training .*a\.parquet row 10"):
        load_data(config("parquet", *settings))
    train, _ = load_data(config("parquet", *settings, "data.max_unreadable=0.2"))
    assert len(train) == 10
    with pytest.raises(UsageError, match="none of the test images"):
        load_data(
            config(
                "parquet",
                settings[0].replace("a.parquet", "b.parquet"),
                f"data.test={write_parquet(tmp_path / 'c.parquet', [b'bad'])}",
            )
        )


def test_large_images_are_tried_without_being_decoded_in_full(tmp_path, monkeypatch):
    made = []
    pixels = Picture.pixels

    def recorded(picture, shrink=1):
        made.append(pixels(picture, shrink))
        return made[-1]

    for i in range(6):
        noise(i, 400, 480).save(tmp_path / f"{i}.jpg")
    monkeypatch.setattr(Picture, "pixels", recorded)
    load_data(config("folder", f"data.root={tmp_path}"))
    assert {image.shape for image in made} == {(3, 50, 60)}


def test_too_little_is_left(tmp_path):
    for i in range(5):
        write(tmp_path / "bad" / f"{i}.png").write_bytes(b"bad")
    with pytest.raises(UsageError, match="none of the training images can be read"):
        load_data(config("folder", f"data.root={tmp_path / 'bad'}"))
    with pytest.raises(UsageError, match="only 1 image is left"):
        load_data(config("folder", f"data.root={images(tmp_path / 'two', 2)}"))


def test_one_label_for_all(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", [encoded(noise(i)) for i in range(8)], [3] * 8)
    with pytest.raises(UsageError, match=r"same label.*data\.labels=false"):
        load_data(config("parquet", f"data.train={file}"))
    load_data(config("parquet", f"data.train={file}", "data.labels=false"))

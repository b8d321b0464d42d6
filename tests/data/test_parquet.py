import os
import pickle
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfsup.data import ImageFiles, UnreadableImage, load_data, parquet
from selfsup.data.readers import parquet_files as files_module
from selfsup.data.source import in_memory
from selfsup.data.sources.parquet import ParquetImages
from selfsup.errors import UsageError

from .images import NAMES, encoded, noise, pixels, write_parquet
from .test_load import config

REAL = Path(os.environ.get("SELFSUP_DATA", Path(__file__).parents[3] / "shared" / "data"))


def same(count, first=0):
    return [encoded(noise(first + i)) for i in range(count)]


def mixed(count):
    return [encoded(noise(i, 8, 8 + i)) for i in range(count)]


def test_the_hugging_face_layout(tmp_path):
    train_file = write_parquet(tmp_path / "train.parquet", same(10), [i % 3 for i in range(10)], NAMES)
    test_file = write_parquet(tmp_path / "test.parquet", same(4, 90), [2, 0, 0, 1], NAMES)
    train, test = parquet(str(train_file), str(test_file), test_fraction=0.2)
    for i in range(10):
        assert (train[i].numpy() == pixels(noise(i))).all()
    assert train.labels.tolist() == [i % 3 for i in range(10)]
    assert test.labels.tolist() == [2, 0, 0, 1]
    assert train.classes == test.classes == NAMES
    assert train.name(7) == f"{train_file} row 7"


def test_mixed_sizes_are_read_when_asked_for_in_any_order_and_process(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", mixed(11), group=3)
    train, test = parquet(str(file), str(write_parquet(tmp_path / "b.parquet", mixed(2))), test_fraction=0.2)
    assert isinstance(train, ImageFiles)
    assert train.labels is None
    assert train.classes is None
    for source in (train, pickle.loads(pickle.dumps(train))):
        for i in (10, 0, 5, 2, 3, 9):
            assert (source[i].numpy() == pixels(noise(i, 8, 8 + i))).all()
        assert source.name(10) == f"{file} row 10"
    assert len(test) == 2


def test_rows_are_held_out_where_there_is_no_test_file(tmp_path):
    labels = [i % 2 for i in range(20)]
    for folder in ("here", "there"):
        write_parquet(tmp_path / folder / "all.parquet", same(20), labels)
    splits = []
    for folder in ("here", "there"):
        train, test = parquet(str(tmp_path / folder / "all.parquet"), test_fraction=0.3)
        rows = [[int(part.name(i).split()[-1]) for i in range(len(part))] for part in (train, test)]
        assert sorted(rows[0] + rows[1]) == list(range(20))
        assert test.labels.bincount().tolist() == [3, 3]
        assert test.labels.tolist() == [labels[row] for row in rows[1]]
        assert (test[0].numpy() == pixels(noise(rows[1][0]))).all()
        splits.append(rows)
    assert splits[0] == splits[1]


def test_slices_of_one_file_part_it(tmp_path):
    file = write_parquet(tmp_path / "all.parquet", same(20), [i % 2 for i in range(20)])
    link = tmp_path / "link.parquet"
    link.symlink_to(file)

    def chosen(train, test):
        return load_data(config("parquet", "data.image_size=8", f"data.train={train}", f"data.test={test}"))

    for other in (file, link):
        learn, held = chosen(f"{file}[:70%]", f"{other}[70%:]")
        assert (len(learn), len(held)) == (14, 6)
        assert len({source.name(i) for source in (learn, held) for i in range(len(source))}) == 20
    for train, test in ((f"{file}[:70%]", f"{file}[60%:]"), (file, file), (f"{file}[:5]", file)):
        with pytest.raises(UsageError, match=r"share \d+ images .*apart.*\[:90%\]"):
            chosen(train, test)


def test_several_files_by_folder_and_by_pattern(tmp_path):
    for i in range(3):
        write_parquet(tmp_path / "d" / f"train-{i}.parquet", same(2 + i, 10 * i), group=1)
    write_parquet(tmp_path / "t.parquet", same(2))
    for where in (tmp_path / "d", tmp_path / "d" / "train-*.parquet"):
        train, _ = parquet(str(where), str(tmp_path / "t.parquet"), test_fraction=0.2)
        assert len(train) == 9
        assert [train.name(i)[-15:] for i in (0, 2, 8)] == [
            "0.parquet row 0",
            "1.parquet row 0",
            "2.parquet row 3",
        ]
        assert (train[8].numpy() == pixels(noise(23))).all()
    write_parquet(tmp_path / "d" / "test-0.parquet", same(2))
    with pytest.raises(UsageError, match=r"several splits \(train, test\).*train\*\.parquet"):
        parquet(str(tmp_path / "d"), test_fraction=0.2)


def test_text_labels_numbers_with_gaps_and_names_in_use(tmp_path):
    test_file = str(write_parquet(tmp_path / "none.parquet", same(1)))

    def labels(values, names=None):
        train, _ = parquet(
            str(write_parquet(tmp_path / "x.parquet", same(4), values, names)),
            str(
                write_parquet(
                    tmp_path / "y.parquet", same(1, 9), values[:1] if isinstance(values, list) else None
                )
            ),
            test_fraction=0.2,
        )
        return train.labels.tolist(), train.classes

    assert labels(["owl", "ant", "owl", "bee"]) == ([2, 0, 2, 1], ["ant", "bee", "owl"])
    assert labels([7, 3, 7, 7]) == ([1, 0, 1, 1], ["3", "7"])
    assert labels([2, 0, 2, 0], NAMES) == ([1, 0, 1, 0], ["cat", "eel"])
    assert labels([True, False, False, True]) == ([1, 0, 0, 1], ["0", "1"])
    file = str(write_parquet(tmp_path / "d.parquet", same(2), pa.array(["b", "a"]).dictionary_encode()))
    train, _ = parquet(file, str(write_parquet(tmp_path / "e.parquet", same(1), ["a"])), test_fraction=0.2)
    assert train.labels.tolist() == [1, 0]
    train, _ = parquet(file, test_file, labels=False, test_fraction=0.2)
    assert train.labels is None


def test_unreadable_rows_are_left_out_and_named(tmp_path):
    images = same(6)
    images[1], images[4] = b"not an image", None
    file = write_parquet(tmp_path / "a.parquet", images, list("abcdef"))
    train, _ = parquet(
        str(file), str(write_parquet(tmp_path / "b.parquet", same(1), ["a"])), test_fraction=0.2
    )
    train = in_memory(train)
    assert [name for name, _ in train.skipped] == [f"{file} row 1", f"{file} row 4"]
    assert [train.classes[label] for label in train.labels] == ["a", "c", "d", "f"]
    assert (train[3].numpy() == pixels(noise(5))).all()


def test_plain_bytes_and_other_column_names(tmp_path):
    pq.write_table(pa.table({"img": same(4), "fine": [0, 1, 0, 1]}), tmp_path / "a.parquet")
    train, test = parquet(
        str(tmp_path / "a.parquet"), test_fraction=0.5, image_column="img", label_column="fine"
    )
    assert len(train) + len(test) == 4
    assert train.labels is not None


def test_a_damaged_row_group_makes_its_images_unreadable(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", mixed(8), group=4)
    images = ImageFiles(ParquetImages([file], "image"), names=[f"row {i}" for i in range(8)])
    start = pq.ParquetFile(file).metadata.row_group(1).column(0).dictionary_page_offset
    start = start or pq.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(file.read_bytes())
    content[start : start + 12] = b"\xff" * 12
    file.write_bytes(bytes(content))
    assert images[3].shape == (3, 8, 11)
    with pytest.raises(UnreadableImage, match=r"cannot read image 'row 4': row group 1 of .* is damaged"):
        images[4]


def test_few_row_groups_are_kept(tmp_path, monkeypatch):
    file = write_parquet(tmp_path / "a.parquet", mixed(12), group=2)
    monkeypatch.setattr(sys.modules[ParquetImages.__module__], "CACHE", 1)
    images = ParquetImages([file], "image")
    for _ in range(2):
        for i in range(12):
            assert images[i] == mixed(12)[i]
    assert images._read.cache_info().currsize == 1
    assert images._read.cache_info().misses == 12


def test_mistakes_are_told_in_a_sentence(tmp_path):
    good = str(write_parquet(tmp_path / "good.parquet", same(4), [0, 1, 0, 1], NAMES))

    def sentence(train, test=None, labels="auto", **options):
        with pytest.raises(UsageError) as caught:
            parquet(
                train if train is None else str(train),
                test and str(test),
                labels=labels,
                **{"test_fraction": 0.3, **options},
            )
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def write(name, *args, **kwargs):
        return write_parquet(tmp_path / f"{name}.parquet", *args, **kwargs)

    assert "data.train=FILE" in sentence(None)
    assert f"did you mean {good!r}" in sentence(tmp_path / "god.parquet")
    assert "(data.test)" in sentence(good, tmp_path / "nothing-*.parquet")
    (tmp_path / "bare").mkdir()
    assert "no .parquet files" in sentence(tmp_path / "bare")
    (tmp_path / "text.parquet").write_text("hello")
    assert "cannot be read as a parquet file" in sentence(tmp_path / "text.parquet")
    (tmp_path / "half.parquet").write_bytes(Path(good).read_bytes()[:300])
    assert "cannot be read as a parquet file" in sentence(tmp_path / "half.parquet")
    both = str(tmp_path / "g*.parquet")
    write("gone", same(2), [0, 1], NAMES)
    assert "must be apart" in sentence(both, good)
    assert "image_column=NAME, one of: image, label" in sentence(good, image_column="img")
    assert "not encoded images" in sentence(good, image_column="label")
    assert "no rows" in sentence(write("none", []))
    assert "only one image" in sentence(write("one", same(1)))
    assert "label_column=NAME" in sentence(write("bare", same(3)), labels=True)
    assert "row 1 of" in sentence(write("gap", same(3), [0, None, 1]))
    assert "row 2 of" in sentence(write("minus", same(3), [0, 1, -1]))
    assert "list" in sentence(write("many", same(2), [[0, 1], [1]]))
    assert "double" in sentence(write("real", same(2), [0.5, 1.0]))
    assert "label 3 has no name" in sentence(write("nameless", same(3), [0, 1, 3], NAMES))
    assert "label 2 that no training image has" in sentence(good, write("new", same(2), [0, 2], NAMES))
    assert "name their classes differently" in sentence(good, write("other", same(2), [0, 1], NAMES[::-1]))
    assert "label_column=NAME" in sentence(good, write("unlabelled", same(2)))
    assert "single image" in sentence(write("singles", same(2), [0, 1]))
    assert "labels must be" in sentence(good, labels="maybe")


def test_strange_metadata_is_no_trouble():
    from selfsup.data.readers.parquet_labels import _class_names

    for metadata in (
        None,
        b"",
        b"{",
        b"[]",
        b'{"info": 1}',
        b'{"info": {"features": {"label": {}}}}',
        b"\xff",
    ):
        assert _class_names(metadata, "label") is None
    assert files_module.one_line(OSError("two\n  lines.")) == "two lines"


def real(name):
    file = REAL / name
    if not file.exists():
        pytest.skip(f"{name} is not at hand (SELFSUP_DATA names the folder it is looked for in)")
    return str(file)


def test_flowers():
    train, test = parquet(real("flowers-train.parquet"), real("flowers-val.parquet"), test_fraction=0.2)
    assert (len(train), len(test)) == (400, 120)
    assert in_memory(train) is train
    assert train.classes == ["daisy", "dandelion", "roses", "sunflowers", "tulips"]
    table = pq.read_table(real("flowers-train.parquet"))
    for i in (0, 399):
        path = table["image"][i].as_py()["path"]
        assert path.startswith(train.classes[train.labels[i]])
        assert train[i].shape[0] == 3


def test_tiny_imagenet_with_its_grey_images_fits_in_memory():
    train, test = parquet(real("tinyimagenet50-val.parquet"), test_fraction=0.2)
    train = in_memory(train)
    assert train.images.shape == (2000, 3, 64, 64)
    assert test.labels.bincount().tolist() == [10] * 50
    assert train.skipped == []


def test_a_column_of_labels_is_known_by_its_values(tmp_path):
    def decided(**columns):
        pq.write_table(pa.table({"image": same(12), **columns}), tmp_path / "a.parquet")
        train, _ = parquet(str(tmp_path / "a.parquet"), test_fraction=0.25)
        return train.classes, train.decisions.labels

    kinds = [i % 3 for i in range(12)]
    assert decided(labels=kinds)[0] == ["0", "1", "2"]
    assert decided(espèce=[f"{k}" for k in kinds], id=list(range(12)))[0] == ["0", "1", "2"]
    assert decided(labels=[float(10 * k) for k in kinds], text=["x"] * 12)[0] == ["0", "10", "20"]
    assert decided(label=[str(9 + k) for k in kinds], other=kinds)[0] == ["9", "10", "11"]
    assert decided(id=list(range(12)), ratio=[i / 7 for i in range(12)]) == (
        None,
        "no labels: no column has repeating values, as labels have",
    )
    classes, said = decided(fine=kinds, coarse=[i % 2 for i in range(12)])
    assert classes is None
    assert "'fine' and 'coarse' may all be labels; choose with data.source.label_column=NAME" in said
    with pytest.raises(UsageError, match=r"'fine' and 'coarse' may all be labels"):
        parquet(str(tmp_path / "a.parquet"), labels=True, test_fraction=0.25)

"""Tables of pairs: formats, what follows from them, and what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from selfsup.data import ImageArray
from selfsup.data.pairs import read_pairs, transitive
from selfsup.errors import UsageError


def images(n: int, prefix: str) -> ImageArray:
    names = [f"{prefix}/{i:02}.png" for i in range(n)]
    return ImageArray(torch.zeros(n, 3, 8, 8, dtype=torch.uint8), names=names)


TRAIN, TEST = images(10, "train"), images(3, "test")


def csv(folder: Path, *lines: str) -> str:
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "pairs.csv")


def test_names_ends_of_names_and_positions_mean_the_same(tmp_path: Path) -> None:
    expected = [[3, 1], [0, 9]]
    for lines in (
        ("a,b", "train/03.png,train/01.png", "train/00.png,train/09.png"),
        ("a;b", "train/03.png;train/01.png", "train/00.png;train/09.png"),
        ("b,patient,a", "1,x,3", "9,y,0"),
    ):
        assert read_pairs(csv(tmp_path, *lines), TRAIN, TEST).edges().tolist() == expected


def test_parquet_and_arrays_hold_pairs_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["03.png", "05.png"], "b": ["01.png", "04.png"]}), tmp_path / "p.parquet")
    train = images(10, "elsewhere")
    assert read_pairs(str(tmp_path / "p.parquet"), train, images(0, "t")).edges().tolist() == [[3, 1], [5, 4]]
    np.savez(tmp_path / "e.npz", edges=np.array([[3, 1], [5, 4]]))
    np.savez(tmp_path / "ab.npz", a=np.array([3, 5]), b=np.array([1, 4]))
    for name in ("e.npz", "ab.npz"):
        assert read_pairs(str(tmp_path / name), TRAIN, TEST).edges().tolist() == [[3, 1], [5, 4]]


def test_only_answers_of_yes_are_edges(tmp_path: Path) -> None:
    file = csv(tmp_path, "a,b,same", "1,2,yes", "2,3,no", "3,4,", "4,5,TRUE", "6,6,yes")
    found = read_pairs(file, TRAIN, TEST)
    assert found.edges().tolist() == [[1, 2], [4, 5]]
    assert found.same.tolist() == [1, 0, -1, 1]  # an image with itself says nothing


def test_pairs_with_test_images_are_left_out_and_counted(tmp_path: Path) -> None:
    file = csv(tmp_path, "a,b", "train/01.png,test/02.png", "train/01.png,train/02.png")
    found = read_pairs(file, TRAIN, TEST)
    assert (found.edges().tolist(), found.elsewhere) == ([[1, 2]], 1)


def test_what_follows_from_instances_is_what_the_paper_draws(tmp_path: Path) -> None:
    inter = [[0, 4], [4, 8], [8, 0], [1, 5], [2, 6]]
    intra = [[0, 1], [4, 5], [8, 9], [2, 3], [6, 7]]
    found = {tuple(pair) for pair in transitive(torch.tensor(inter), torch.tensor(intra)).tolist()}
    new = ["0-5", "0-9", "1-4", "1-8", "1-9", "2-7", "3-6", "3-7", "4-9", "5-8", "5-9"]
    given = {(min(pair), max(pair)) for pair in inter + intra}
    assert found - given == {(int(pair[0]), int(pair[2])) for pair in new}
    assert given <= found
    rows = [f"{b},{a},inter" for a, b in inter] + [f"{a},{b},intra" for a, b in intra]
    read = read_pairs(csv(tmp_path, "a,b,kind", *reversed(rows)), TRAIN, TEST)
    assert {tuple(pair) for pair in read.edges().tolist()} == found


def test_likeness_is_not_carried_on_without_instances(tmp_path: Path) -> None:
    assert transitive(torch.tensor([[0, 1], [1, 2]]), torch.empty(0, 2).long()).tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("a,b", "1,10"), "has image 10, but there are 0 to 9"),
        (("a,b", "1,-1"), "means no image of this data"),
        (("a,b", "train/01.png,cat.png"), r"'cat.png' in .* means no image of this data"),
        (("a,b", "train/01.png,"), "row 1 names no image"),
        (("a,c", "1,2"), "needs the columns a and b, and has a, c"),
        (("a,b",), "lists no pairs"),
        (("a,b,same", "1,2,perhaps"), "same is yes, no or empty, not 'perhaps'"),
        (("a,b,kind", "1,2,other"), "kind is intra or inter, not 'other'"),
        (("a,b,same", "1,2,yes", "2,1,no"), "both yes and no of 'train/01.png' and 'train/02.png'"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        read_pairs(csv(tmp_path, *lines), TRAIN, TEST)
    assert "\n" not in str(caught.value)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for name, content in (("p.json", b"[]"), ("p.npz", b"nothing"), ("p.parquet", b"nothing")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=r"data\.pairs"):
            read_pairs(str(tmp_path / name), TRAIN, TEST)
    np.savez(tmp_path / "uneven.npz", a=np.arange(3), b=np.arange(2))
    with pytest.raises(UsageError, match="not of one length"):
        read_pairs(str(tmp_path / "uneven.npz"), TRAIN, TEST)
    np.savez(tmp_path / "code.npz", a=np.array([{}], dtype=object), b=np.arange(1))
    with pytest.raises(UsageError, match="cannot be read"):
        read_pairs(str(tmp_path / "code.npz"), TRAIN, TEST)

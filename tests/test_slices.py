import subprocess
import sys

import pytest

from selfsup.data.slices import Slice, looks_like_splits, parse_splits, path_and_slice
from selfsup.errors import UsageError


@pytest.mark.parametrize(
    ("text", "start", "stop"),
    [
        ("train", 0, 1001),
        ("train[:]", 0, 1001),
        ("train[10:20]", 10, 20),
        ("train[-10:]", 991, 1001),
        ("train[:-1]", 0, 1000),
        ("train[:50%]", 0, 501),
        ("train[50%:]", 501, 1001),
        ("train[0.1%:1%]", 1, 10),
        ("train[990:5000]", 990, 1001),
        ("train[20:10]", 20, 20),
        (" train [ 3 : 4 ] ", 3, 4),
    ],
)
def test_bounds(text, start, stop):
    assert parse_splits(text)[0].bounds(1001) == (start, stop)


def test_bounds_are_those_of_pythons_slices():
    for n in (1, 2, 7):
        for a in range(-9, 10):
            for b in range(-9, 10):
                start, stop = Slice("x", str(a), str(b)).bounds(n)
                assert list(range(n))[a:b] == list(range(n))[start:stop]


@pytest.mark.parametrize("n", [1, 3, 10, 15, 999])
def test_percentages_part_a_split_at_one_place(n):
    ends = [Slice("x", f"{p}%", f"{p + 10}%").bounds(n) for p in range(0, 100, 10)]
    assert [i for start, stop in ends for i in range(start, stop)] == list(range(n))


def test_parts_are_joined():
    assert parse_splits("train[:5]+test + extra-1") == [
        Slice("train", "", "5"),
        Slice("test"),
        Slice("extra-1"),
    ]


@pytest.mark.parametrize(
    "text", ["", "+", "train+", "[:3]", "train[3]", "train[1:2:3]", "train[a:b]", "train[:101%]", "train[:3"]
)
def test_other_text_is_told(text):
    with pytest.raises(UsageError, match=r"data\.test") as caught:
        parse_splits(text, "data.test")
    assert "\n" not in str(caught.value)


def test_paths_are_no_splits():
    for path in ("a/b", "a.parquet", "train-*.parquet", "~/x", r"c:\x"):
        assert not looks_like_splits(path)
        assert path_and_slice(path) == (path, "")
        assert path_and_slice(f"{path}[10:]") == (path, "[10:]")
    assert path_and_slice("train[:3]") == ("train[:3]", "")


def test_the_grammar_needs_no_torch():
    code = "import sys, selfsup.data.slices, selfsup.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

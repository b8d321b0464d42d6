"""Labels mean the same in every table format."""

import pytest

from selfsup.data.readers.labels import class_order, label_text, one_hot


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (-1, "-1"),
        (2.0, "2"),
        ("2.0", "2"),
        ("-2.00", "-2"),
        (False, "0"),
        ("007", "007"),
        ("--5", "--5"),
        ("1.0.0", "1.0.0"),
        ("  tabby\t", "tabby"),
        (b"4\n", "4"),
        ("9" * 5000, "9" * 5000),
        ("", None),
        ("  ", None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        ("NaN", None),
        (0.25, None),
        ([1, 2], None),
        ({"a": 1}, None),
    ],
)
def test_what_a_label_is(value: object, text: str | None) -> None:
    assert label_text(value) == text


def test_numbers_are_ordered_by_value_and_text_by_letters() -> None:
    assert class_order(["10", "2", "-3", "2"]) == ["-3", "2", "10"]
    assert class_order(["0.5", "10", "2"]) == ["0.5", "2", "10"]
    assert class_order(["10", "2", "--5"]) == ["--5", "10", "2"]
    assert class_order(["9" * 5000, "2"]) == ["2", "9" * 5000]
    assert class_order([]) == []


def test_one_hot_columns() -> None:
    assert one_hot([["1.0", "0"], [0, True]]) == [0, 1]
    assert one_hot([[1, 0], [1, 1]]) is None
    assert one_hot([[2, 0], [0, 1]]) is None

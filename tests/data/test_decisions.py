"""What was decided about data, as sentences and as a file."""

import json

import pytest
import torch

from selfsup.data.decisions import Decisions, decisions_of
from selfsup.data.source import ImageArray, in_memory, subset

DECIDED = Decisions("train/ and test/ are the splits", "labels are folders", {"a": 3}, {"no reader\n": 2})


def test_a_file_gives_back_what_was_written():
    assert decisions_of(json.loads(json.dumps(DECIDED.as_json()))) == DECIDED


@pytest.mark.parametrize("damage", [{"classes": []}, {"left_out": {"a": "b"}}, {"splits": 3}])
def test_another_type_is_a_value_error(damage):
    with pytest.raises(ValueError, match=next(iter(damage))):
        decisions_of({**DECIDED.as_json(), **damage})


def test_every_line_is_one_printable_line():
    assert all(line.isprintable() for line in DECIDED.lines())
    assert len(DECIDED.lines()) == 3


def test_a_part_of_a_source_keeps_them():
    source = ImageArray(torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    source.decisions = DECIDED
    assert in_memory(subset(source, torch.tensor([2]))).decisions is DECIDED

"""Names as text: bytes, line breaks, escape sequences, markup."""

import io
import os

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsup.terminal import make_console, say
from selfsup.text import as_text, file_name, shown


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=20))
def test_any_bytes_are_valid_text_and_one_printable_line(name):
    decoded = os.fsdecode(name)
    assert as_text(name) == as_text(decoded)
    assert pa.array([as_text(decoded)], pa.string()).to_pylist() == [as_text(decoded)]
    assert shown(decoded).isprintable()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_valid_unicode_is_left_as_it_is(name):
    assert as_text(name) == name
    assert shown(name) == name or not name.isprintable()


@given(st.text(), st.integers(min_value=3, max_value=12))
def test_a_short_form_keeps_both_ends(name, most):
    whole, short = shown(name), shown(name, most)
    assert len(short) == min(len(whole), most)
    if len(whole) > most:
        assert whole.startswith(short.partition("…")[0])
        assert whole.endswith(short.rpartition("…")[2])


NAMES = ["[red]x[/]", "[/]", ":smile:", "a=b", "tab\there", "\x1b]0;title\x07", "e\u202ecod"]


@pytest.mark.parametrize("name", NAMES)
def test_a_console_prints_names_and_no_markup(name):
    out = io.StringIO()
    console = make_console(file=out, force_terminal=True, color_system=None)
    say(console, f"run folder {name}")
    assert out.getvalue() == f"run folder {shown(name)}\n"
    assert "\x1b" not in out.getvalue()


def test_the_last_part_of_a_path_is_bytes():
    assert file_name(os.fsdecode(b"a/caf\xe9.png")) == b"caf\xe9.png"

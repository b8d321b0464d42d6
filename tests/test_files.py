"""Writing whole files and reading strangers': what links, pipes, sizes and failures do."""

import os

import pytest

from selfsup import files
from selfsup.files import NotPlain, appended, read_bytes, read_json, write_text, written_whole


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    outside, link = tmp_path / "outside.txt", tmp_path / "run" / "table.csv"
    outside.write_text("theirs")
    link.parent.mkdir()
    link.symlink_to(outside)
    write_text(link, "ours")
    assert outside.read_text() == "theirs"
    assert not link.is_symlink()
    assert link.read_text() == "ours"


def test_a_link_in_place_of_the_part_is_not_written_through(tmp_path):
    outside, path = tmp_path / "outside.txt", tmp_path / "a.txt"
    outside.write_text("theirs")
    files.part_of(path).symlink_to(outside)
    write_text(path, "ours")
    assert (outside.read_text(), path.read_text()) == ("theirs", "ours")


def test_what_was_there_stays_if_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(BufferError), written_whole(path) as file:
        _fail_halfway(file)
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_text() == "before"


def _fail_halfway(file):
    file.write(b"half")
    raise BufferError


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path, monkeypatch, links):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    if not links:  # a file system that has none
        monkeypatch.setattr(os, "link", refuse)
    write_text(tmp_path / "new.txt", "one", overwrite=False)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "new.txt", "two", overwrite=False)
    assert (tmp_path / "new.txt").read_text() == "one"
    assert os.listdir(tmp_path) == ["new.txt"]


def test_rows_are_added_to_a_file_and_through_no_link(tmp_path):
    outside, path = tmp_path / "outside.csv", tmp_path / "a.csv"
    outside.write_text("theirs\n")
    for row in ("one", "two"):
        with appended(path) as file:
            file.write(row + "\n")
    assert path.read_text() == "one\ntwo\n"
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(NotPlain, match="is a link"), appended(path) as file:
        file.write("ours\n")
    assert outside.read_text() == "theirs\n"


def test_only_plain_files_of_a_fitting_size_are_read(tmp_path):
    (tmp_path / "plain").write_bytes(b"12345")
    assert read_bytes(tmp_path / "plain", largest=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bytes(tmp_path / "plain", largest=4)
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    for name, kind in (("link", "a link"), ("pipe", "not a plain file"), ("", "a folder")):
        with pytest.raises(NotPlain, match=kind):
            read_bytes(tmp_path / name)


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '{"a": 1' + "0" * 5000 + "}", "\xff"])
def test_damaged_json_is_a_value_error(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")

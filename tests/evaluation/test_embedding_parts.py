"""Features in a folder of parts: the same bytes by any number of processes, killed or not."""

from pathlib import Path

import pytest
import torch

from selfsup import build_encoder
from selfsup.commands import main
from selfsup.encoder import Encoder, save_encoder
from selfsup.errors import UsageError
from selfsup.evaluation.features import embedding_parts
from selfsup.evaluation.features.embedding_parts import parts_of, write_parts
from selfsup.evaluation.features.embeddings import embed, read_embeddings
from tests.evaluation.toys import coloured

SOURCES = {"train": coloured(22), "test": coloured(9, seed=1)}


def small(seed: int = 0) -> Encoder:
    args = {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    return build_encoder("vit_tiny_patch16_224", 16, args, seed=seed)


def write(folder: Path, encoder: Encoder, **settings: int) -> int:
    return write_parts(folder, encoder, SOURCES, rows=8, **{"batch_size": 5, **settings})


def content(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_parts_cover_each_image_once() -> None:
    parts = parts_of({"train": 22, "test": 9}, rows=8)
    rows = [(part.split, i) for part in parts for i in range(part.start, part.stop)]
    assert rows == [("train", i) for i in range(22)] + [("test", i) for i in range(9)]
    assert [part.file for part in parts] == sorted({part.file for part in parts})


def test_three_processes_write_the_bytes_of_one(tmp_path: Path) -> None:
    encoder = small()
    assert write(tmp_path / "one", encoder) == 31
    assert sum(write(tmp_path / "three", encoder, rank=rank, world=3) for rank in (2, 0, 1)) == 31
    assert content(tmp_path / "one") == content(tmp_path / "three")
    names, x = read_embeddings(tmp_path / "three", encoder)
    blocks = list(embed(encoder, SOURCES))
    assert names == [name for block in blocks for name in block["names"]]
    torch.testing.assert_close(x, torch.cat([block["x"] for block in blocks]), rtol=0, atol=1e-6)


def test_killed_in_the_middle_of_a_part_a_second_start_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, calls = small(), []

    def dying(*arguments, **settings):
        for number, block in enumerate(embed(*arguments, **settings)):
            if len(calls) == 3 and number == 1:
                raise KeyboardInterrupt
            yield block
        calls.append(arguments)

    with monkeypatch.context() as patch:
        patch.setattr(embedding_parts, "embed", dying)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "killed", encoder)
    with pytest.raises(UsageError, match="3 of 5 parts, not 'part-00003-of-00005"):
        read_embeddings(tmp_path / "killed", encoder)
    assert write(tmp_path / "killed", encoder) == 9  # the images of the test split
    write(tmp_path / "whole", encoder)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_parts_of_other_features_are_not_mixed(tmp_path: Path) -> None:
    encoder = small()
    write(tmp_path / "features", encoder, rank=0, world=2)
    with pytest.raises(UsageError, match="differ from these in encoder;"):
        write(tmp_path / "features", small(seed=1))
    with pytest.raises(UsageError, match="differ from these in images, data;"):
        write_parts(tmp_path / "features", encoder, {"train": coloured(5)}, rows=8, batch_size=5)
    with pytest.raises(UsageError, match="differ from these in batch_size;"):
        write(tmp_path / "features", encoder, batch_size=6)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("text")
    with pytest.raises(UsageError, match="thesis' is not a folder of features"):
        write(tmp_path / "thesis", encoder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty' holds no features"):
        read_embeddings(tmp_path / "empty", encoder)


def test_processes_of_a_launcher_share_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = save_encoder(small(), tmp_path / "encoder")
    typed = ["embed", f"encoder={encoder}", "data=digits"]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    for key, value in where.items():
        monkeypatch.setenv(key, value)
    counts = []
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert main([*typed, f"out={tmp_path / 'features'}"]) == 0
        counts.append(capsys.readouterr().out.split()[-2])
    assert counts == ["500", "1297"]
    assert main([*typed, f"out={tmp_path / 'features.parquet'}"]) == 2
    assert "2 processes cannot write the file" in capsys.readouterr().err
    assert len(read_embeddings(tmp_path / "features", small())[1]) == 1797

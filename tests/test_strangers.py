"""Files from strangers: whatever is in them is read or refused in a sentence, and nothing in them is run."""

import io
import json
import os
import pickle
import re
import signal
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from data.images import encoded, noise, write_parquet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from selfsup import load_encoder
from selfsup.callbacks.checkpoint_files import checkpoint_path, damage, read_checkpoint
from selfsup.data.readers.decode import Picture, UnreadableImage
from selfsup.data.sources.arrays import arrays
from selfsup.data.sources.parquet import parquet
from selfsup.data.sources.shards import shards
from selfsup.encoder import build_encoder, save_encoder
from selfsup.errors import UsageError

MOST = 2 * 2**30  # bytes
SECONDS = 120  # after which a file counts as one that hangs; none needs one
EXAMPLES = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
RUNS_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen")
RUNS_CODE += ("socket.connect", "pickle.find_class")
watching: list[str] | None = None


def hook(event: str, arguments: Any) -> None:
    if watching is not None and event in RUNS_CODE:
        watching.append(f"{event} {arguments}")


sys.addaudithook(hook)  # for as long as Python runs, so it does nothing most of the time


class Evil:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(autouse=True)
def _watched() -> Iterator[None]:
    """No code is run, nothing hangs, and memory stays within bounds."""
    global watching
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # the peak is counted from now on
    before = memory(status)

    def hangs(*_: Any) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    old = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    watching = []
    try:
        yield
    finally:
        ran, watching = watching, None
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert ran == []
    assert memory(status) - before < MOST


def memory(status: Path) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return 1024 * int(found[1]) if found else 0


@contextmanager
def read_or_refused(*kinds: type[Exception]) -> Iterator[None]:
    """Nothing is raised but these, in one line."""
    try:
        yield
    except kinds as error:
        if "\n" in str(error):
            raise AssertionError(f"more than a sentence: {error}") from error


SPLICES = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 12),
        st.one_of(st.binary(max_size=12), st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])),
    ),
    min_size=1,
    max_size=6,
)


def spliced(whole: bytes, splices: list[tuple[int, int, bytes]], header: bool) -> bytes:
    """Some stretches of bytes replaced by others, in the whole file or in its first 64 bytes."""
    data = bytearray(whole)
    for place, length, new in splices:
        start = place % (min(64, len(data)) if header else len(data) or 1)
        data[start : start + length] = new
    return bytes(data)


PICTURES = {
    kind: encoded(noise(1, 24, 20), kind)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "JPEG2000", "PPM", "TGA", "ICO")
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@EXAMPLES
@given(st.sampled_from(sorted(PICTURES)), SPLICES, st.booleans())
def test_fuzzed_images_and_headers(kind: str, splices: Any, header: bool) -> None:
    with read_or_refused(UnreadableImage):
        picture = Picture(spliced(PICTURES[kind], splices, header), "fuzzed")
        assert picture.height > 0
        if picture.height * picture.width < 2**22:
            assert picture.pixels().shape[0] == 3


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, more: bytes = b"", colour: int = 6) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs(tmp_path: Path) -> None:
    allowed = png(13_000, 13_000, zlib.compress(bytes(13_000 * 13_001), 1), colour=0)
    assert len(allowed) < 2**20
    assert Picture(allowed, "the largest that is read").pixels(8).shape[0] == 3
    rows = zlib.compress(bytes(2**20))
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**27)))
    for bomb in (png(2**31 - 1, 2**31 - 1, rows), png(20_000, 20_000, rows), png(8, 8, rows, text)):
        with pytest.raises(UnreadableImage):
            Picture(bomb, "bomb").pixels(8)


def test_rows_that_unpack_to_far_more_than_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[parquet.__module__], "LARGEST", 2**24)
    table = pa.table({"image": pa.array([bytes(2**20)] * 40)})
    plain, dictionary = tmp_path / "plain.parquet", tmp_path / "dictionary.parquet"
    pq.write_table(table, plain, compression="zstd", use_dictionary=False)
    pq.write_table(table, dictionary, compression="zstd")
    assert max(path.stat().st_size for path in (plain, dictionary)) < 2**17
    with pytest.raises(UsageError, match=r"row group 0 of .* is read as a whole"):
        parquet(str(plain), test_fraction=0.5)
    # This one says that it is small, as it holds a single value forty times.
    source, _ = parquet(str(dictionary), test_fraction=0.5)
    with pytest.raises(UnreadableImage, match="unpacks to more than"):
        source[0]


@EXAMPLES
@given(SPLICES, st.booleans())
def test_fuzzed_arrays(tmp_path: Path, splices: Any, header: bool) -> None:
    whole = io.BytesIO()
    np.save(whole, np.zeros((6, 4, 4, 3), np.uint8))
    (tmp_path / "a.npy").write_bytes(spliced(whole.getvalue(), splices, header))
    with read_or_refused(UsageError):
        arrays(str(tmp_path / "a.npy"), None, test_fraction=0.5)


def test_an_array_that_claims_to_be_larger_than_memory(tmp_path: Path) -> None:
    header = (
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000000, 3), }".ljust(117) + b"\n"
    )
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    (tmp_path / "evil.npy").write_bytes(b"")
    np.save(tmp_path / "evil.npy", np.array([Evil(tmp_path / "ran")], object), allow_pickle=True)
    for name in ("a.npy", "evil.npy"):
        with pytest.raises(UsageError, match=r"not a \.npy file of numbers"):
            arrays(str(tmp_path / name), None, test_fraction=0.5)
    assert not (tmp_path / "ran").exists()


@EXAMPLES
@given(SPLICES)
def test_fuzzed_parquet(tmp_path: Path, splices: Any) -> None:
    whole = write_parquet(tmp_path / "whole.parquet", [encoded(noise(i)) for i in range(8)]).read_bytes()
    (tmp_path / "a.parquet").write_bytes(spliced(whole, splices, header=False))
    with read_or_refused(UsageError):
        source, _ = parquet(str(tmp_path / "a.parquet"), test_fraction=0.25)
        for i in range(len(source)):
            with read_or_refused(UnreadableImage):
                source[i]


def add(tar: tarfile.TarFile, name: str, data: bytes, **about: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in about.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def test_names_in_a_shard_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    secret = tmp_path / "secret.png"
    noise(7).save(secret)
    with tarfile.open(tmp_path / "data" / "a.tar", "w") as tar:
        for name in ("../../escaped.png", str(tmp_path / "absolute.png"), "a/../../b.png", "fine.png"):
            add(tar, name, encoded(noise(1)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            add(tar, "link.png", b"", type=kind, linkname=str(secret))
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    train, test = shards(str(tmp_path / "data"), test_fraction=0.25, max_unreadable=1)
    found = [source[i] for source in (train, test) for i in range(len(source))]
    assert len(found) == 4
    assert all(torch.equal(image, found[0]) for image in found)
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before


def test_a_sparse_member_of_a_shard_is_not_blown_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(2**40)}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for i in range(3):
            add(tar, f"{i}.png", encoded(noise(i)))
        add(tar, "2.cls", b"0\n".ljust(512, b"\0"), pax_headers={**sparse, "GNU.sparse.name": "2.cls"})
    source, _ = shards(str(tmp_path / "a.tar"), labels=False, test_fraction=0.4, max_unreadable=1)
    assert source.skipped
    assert "ends early" in source.skipped[0][1]


@EXAMPLES
@given(SPLICES)
def test_fuzzed_shards(tmp_path: Path, splices: Any) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for i in range(4):
            add(tar, f"{i}.png", encoded(noise(i)))
            add(tar, f"{i}.cls", b"1")
    (tmp_path / "a.tar").write_bytes(spliced(stream.getvalue(), splices, header=False))
    with pytest.MonkeyPatch.context() as patch, read_or_refused(UsageError):
        patch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        source, _ = shards(str(tmp_path / "a.tar"), labels=False, test_fraction=0.25, max_unreadable=1)
        for i in range(len(source)):
            with read_or_refused(UnreadableImage):
                source[i]


VIT = {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = build_encoder("vit_tiny_patch16_224", 8, VIT, "sincos")
    return save_encoder(encoder, tmp_path_factory.mktemp("strangers") / "encoder")


def with_config(folder: Path, to: Path, config: Any) -> Path:
    to.mkdir(exist_ok=True)
    for file in ("model.safetensors", "card.json"):
        (to / file).write_bytes((folder / file).read_bytes())
    (to / "config.json").write_text(json.dumps(config))
    return to


def places(config: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    )
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


def replaced(config: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = config.copy()
    copy[place[0]] = replaced(config[place[0]], place[1:], value)
    return copy


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**20, 10**9, 10**18, 10**400, 1e308]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["os.system", "torch.nn.Linear", "../..", "hf-hub:a/b"]),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


@EXAMPLES
@given(st.data())
def test_fuzzed_configurations_of_encoders(tmp_path: Path, encoder_folder: Path, data: st.DataObject) -> None:
    config = json.loads((encoder_folder / "config.json").read_text())
    place = data.draw(st.sampled_from(places(config)))
    folder = with_config(encoder_folder, tmp_path / "encoder", replaced(config, place, data.draw(ODD)))
    with read_or_refused(UsageError):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "hf-hub:stranger/model"}, "is called 'hf-hub:stranger/model'"),
        ({"architecture": "local-dir:evil"}, "is called 'local-dir:evil'"),
        ({"architecture": "os.system"}, "is called 'os'"),
        ({"model_args": {"checkpoint_path": "evil.pt"}}, "checkpoint_path is not an argument of a network"),
        ({"model_args": {"pretrained": True}}, "pretrained is not an argument of a network"),
        ({"model_args": {"pretrained_cfg": {"file": "evil.pt"}}}, "pretrained_cfg is not an argument"),
        ({"model_args": {"depth": 10**9}}, "depth is beyond"),
        ({"model_args": {"embed_dim": 2**20, "num_heads": 1}}, "much larger than the weights beside it"),
        ({"model_args": {"depth": 2**20}}, "much larger than the weights beside it"),
        ({"pretrained_cfg": {"input_size": [3, 10**6, 10**6], "mean": [0, 0, 0], "std": [1, 1, 1]}}, "px"),
    ],
)
def test_a_configuration_names_no_code_and_no_file(
    change: dict[str, Any], words: str, tmp_path: Path, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(tmp_path / "ran"), "evil.pt")
    config = json.loads((encoder_folder / "config.json").read_text())
    changed = config | change
    if "model_args" in change:
        changed["model_args"] = config["model_args"] | change["model_args"]
    with pytest.raises(UsageError, match=re.escape(words)):
        load_encoder(with_config(encoder_folder, tmp_path / "encoder", changed))
    assert not (tmp_path / "ran").exists()


def test_deep_and_long_json(tmp_path: Path, encoder_folder: Path) -> None:
    folder = with_config(encoder_folder, tmp_path / "encoder", {})
    for text in ("[" * 10**5, " " * 2**25):
        (folder / "config.json").write_text(text)
        with pytest.raises(UsageError, match=r"damaged|exceeds 1 MiB"):
            load_encoder(folder)


@EXAMPLES
@given(SPLICES)
def test_fuzzed_weights(tmp_path: Path, encoder_folder: Path, splices: Any) -> None:
    config = json.loads((encoder_folder / "config.json").read_text())
    folder = with_config(encoder_folder, tmp_path / "encoder", config)
    weights = (encoder_folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(spliced(weights, splices, header=True))
    with read_or_refused(UsageError):
        load_encoder(folder)


def test_weights_that_are_a_pickle(tmp_path: Path, encoder_folder: Path) -> None:
    config = json.loads((encoder_folder / "config.json").read_text())
    folder = with_config(encoder_folder, tmp_path / "encoder", config)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(UsageError, match="damaged"):
        load_encoder(folder)
    save_file({"norm.bias": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(UsageError, match="another architecture"):
        load_encoder(folder)
    assert not (tmp_path / "ran").exists()


def test_checkpoints_with_code_in_them(tmp_path: Path) -> None:
    evil = Evil(tmp_path / "ran")
    path = checkpoint_path(tmp_path, 1)
    path.parent.mkdir()
    contents = (evil, {"state_dict": {}, "loops": {}, "callbacks": evil}, {"state_dict": {}}, [1], "text")
    for content in contents:
        torch.save(content, path)
        assert damage(path) is None
        with pytest.raises(UsageError, match="not a checkpoint of"):
            read_checkpoint(path)
    path.write_bytes(pickle.dumps(evil))
    assert damage(path) == "File is not a zip file"
    with pytest.raises(UsageError, match="not a checkpoint of ours"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_zip_bombs_are_told_without_reading_them(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 1)
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as file:
        for _ in range(8):
            file.write(bytes(2**24))
    assert damage(path) == "its records are larger than the file"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(2**20))
        for info in [archive.infolist()[0]] * 50:
            archive.filelist.append(info)  # fifty names for the same bytes
    assert damage(path) == "its records are larger than the file"

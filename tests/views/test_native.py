"""The compiled path makes the views that torch makes, for any layout, size and number of threads."""

import ctypes
import io
import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from selfsup.data import ImageFiles
from selfsup.data.readers import crops
from selfsup.views import ViewPlan
from selfsup.views.image import native

from .test_parity import RECIPE, skip_without_compiler

Views = list[torch.Tensor]


def plan_of(compiled: bool, size: int = 32, **settings: object) -> ViewPlan:
    return ViewPlan({"each": RECIPE | settings}, size, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3], native=compiled)


def noise(n: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def views_of(plan: ViewPlan, images: torch.Tensor | Views) -> Views:
    n = len(images) if isinstance(images, torch.Tensor) else len(images[0])
    return plan({"image": images, "index": torch.arange(n)}, 1)


def assert_same(ours: Views, expected: Views) -> None:
    for one, other in zip(ours, expected, strict=True):
        assert one.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other, atol=3e-5, rtol=0)  # 1e-5 of the values, divided by std


@pytest.fixture
def compiler() -> None:
    skip_without_compiler()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("shape", "size"),
    [((8, 8), 24), ((32, 32), 32), ((40, 200), 16), ((5, 3), 7), ((64, 64), 1), ((50, 50), 2)],
    ids=str,
)
def test_whole_images(shape: tuple[int, int], size: int) -> None:
    images = noise(40, *shape)
    expected = views_of(plan_of(False, size), images)
    assert_same(views_of(plan_of(True, size), images), expected)
    interleaved = images.contiguous(memory_format=torch.channels_last)
    assert_same(views_of(plan_of(True, size), interleaved), expected)
    assert_same(views_of(plan_of(True, size), images.float()), expected)
    part = noise(40, shape[0] + 3, shape[1] + 2)[:, :, 1:-2, 2:]  # not contiguous
    assert_same(views_of(plan_of(True, size), part), views_of(plan_of(False, size), part))


@pytest.mark.usefixtures("compiler")
def test_crops_of_workers() -> None:
    crops = [noise(20, 32, 32), noise(20, 32, 32).contiguous(memory_format=torch.channels_last)]
    expected = views_of(plan_of(False), crops)
    assert_same(views_of(plan_of(True), crops), expected)
    assert_same(views_of(plan_of(True), [crop.double() for crop in crops]), expected)


@pytest.mark.usefixtures("compiler")
def test_hue_of_greys_and_ties() -> None:
    levels = torch.tensor([0, 102, 255], dtype=torch.uint8)
    image = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 3, 9).repeat(50, 1, 3, 1)
    plain = {"scale": [1.0, 1.0], "ratio": [1.0, 1.0], "jitter": 1.0, "hue": 0.5, "blur": 0.0}
    assert_same(views_of(plan_of(True, 9, **plain), image), views_of(plan_of(False, 9, **plain), image))


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("n", [0, 1, 5, 33])
def test_any_number_of_samples(n: int) -> None:
    assert_same(views_of(plan_of(True), noise(n, 32, 32)), views_of(plan_of(False), noise(n, 32, 32)))


@pytest.mark.usefixtures("compiler", "threads")
def test_the_number_of_threads_changes_no_bit() -> None:
    images, plan = noise(61, 40, 40), plan_of(True)
    torch.set_num_threads(1)
    alone = views_of(plan, images)
    for number in (2, 3, 40):
        torch.set_num_threads(number)
        for one, other in zip(views_of(plan, images), alone, strict=True):
            assert torch.equal(one, other)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (3, 70), (33, 32), (2, 257)], ids=str)
def test_planes_of_an_image(channels: int, shape: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (channels, *shape), dtype=torch.uint8)
    for layout in (image, image.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        for mirror in (False, True):
            made = native.planes(layout, mirror)
            assert made.is_contiguous()
            assert torch.equal(made, crops.planes(image, mirror))


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(3, 4, 4)], ids=["grey", "floats"]
)
def test_planes_of_what_is_no_image(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="an image must be uint8"):
        native.planes(image, False)


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_crops_of_files_are_the_same_bytes(mode: str) -> None:
    content = io.BytesIO()
    Image.fromarray(noise(1, 60, 80)[0].permute(1, 2, 0).numpy()).convert(mode).save(content, "JPEG")
    source = ImageFiles([content.getvalue()] * 8)
    (one, _), (other, _) = (
        crops.read_crops(source, list(range(8)), plan_of(compiled), 0) for compiled in (True, False)
    )
    for i in range(8):
        assert torch.equal(one[i][0][0], other[i][0][0])


class _Views(Dataset[Views]):
    def __init__(self, plan: ViewPlan, images: torch.Tensor) -> None:
        self.plan, self.images = plan, images

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> Views:
        return self.plan({"image": self.images, "index": torch.arange(len(self.images)) + i}, 0)


@pytest.mark.usefixtures("compiler", "threads")
def test_workers_of_a_loader_after_threads_ran_here() -> None:
    torch.set_num_threads(2)
    here = _Views(plan_of(True), noise(16, 32, 32))
    expected = [here[i] for i in range(4)]
    for found, own in zip(DataLoader(here, batch_size=None, num_workers=2), expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, own, strict=True))


@pytest.fixture
def unloaded() -> Iterator[None]:
    native.load.cache_clear()
    yield
    native.load.cache_clear()


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("compiler", "words"),
    [("", "no C\\+\\+ compiler"), ("false", "false .* failed"), ("no-such-compiler", "no-such-compiler")],
    ids=["none", "fails", "absent"],
)
def test_torch_takes_over_and_it_is_said_once(
    compiler: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setattr(native, "_COMPILERS", ())
    images = noise(4, 32, 32)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for one, other in zip(
                views_of(plan_of(True), images), views_of(plan_of(False), images), strict=True
            ):
                assert torch.equal(one, other)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert re.search(f"made by torch.*{words}.*native_views=false", record.getMessage())


@pytest.mark.usefixtures("unloaded")
def test_processes_that_read_leave_it_to_the_training_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(native, "get_worker_info", lambda: "the first of two")
    with caplog.at_level(logging.WARNING):
        assert not native.available()
    assert not caplog.records


@pytest.mark.usefixtures("unloaded")
def test_a_cache_folder_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert not native.available()
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("compiler")
def test_those_who_compile_at_the_same_time_share_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "tiny.cpp"
    source.write_text('extern "C" int answer() { return 42; }')
    monkeypatch.setattr(native, "_SOURCE", source)
    with ThreadPoolExecutor() as pool:
        (library,) = {made.result() for made in [pool.submit(native._library) for _ in range(4)]}
    assert list((tmp_path / "selfsup").iterdir()) == [library]
    assert ctypes.CDLL(str(library)).answer() == 42
    source.write_text('extern "C" int answer() { return 43; }')
    assert ctypes.CDLL(str(native._library())).answer() == 43  # a change of the source is noticed

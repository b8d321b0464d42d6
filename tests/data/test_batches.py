"""What batches hold, whoever reads them."""

import gc
import io
import os
import shutil
import signal
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from selfsup.data import ImageArray, ImageFiles
from selfsup.data.batches import Batches, training_loader
from selfsup.data.order import EpochOrder
from selfsup.data.workers import explain_dead_worker, worker_count
from selfsup.errors import RunStopped, UsageError
from selfsup.views import ViewPlan
from tests.views.plain import PLAIN

from .images import encoded, noise, write

KIND = PLAIN | {"scale": [0.3, 1.0], "ratio": [0.75, 1.33], "mirror": 0.5}
PLAN = ViewPlan({"large": KIND | {"count": 2}, "small": KIND | {"size": 0.5}}, 16, (0.5,) * 3, (0.25,) * 3)


def files_of(n: int, broken: tuple[int, ...] = ()) -> ImageFiles:
    """PNG images of different sizes, some of which are none."""
    images = [encoded(noise(i, 20 + i, 30 - i)) if i not in broken else b"no image" for i in range(n)]
    return ImageFiles(images, torch.arange(n) % 3, names=[f"photo {i}" for i in range(n)])


def epochs_of(source: Any, workers: int, epochs: int = 2, batch_size: int = 4) -> list[dict[str, Any]]:
    order = EpochOrder(len(source), batch_size, seed=0)
    loader = training_loader(source, PLAN, order, workers)
    found = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        found += list(loader)
    return found


def test_batches_of_a_source_in_memory_hold_its_images() -> None:
    images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(9) % 2
    found = epochs_of(ImageArray(images, labels), workers=2)  # for which there is nothing to do
    assert len(found) == 4
    for n, batch in enumerate(found):
        assert torch.equal(batch["image"], images[batch["index"]])
        assert torch.equal(batch["label"], labels[batch["index"]])
        assert batch["epoch"] == n // 2
        assert batch["skipped"] == []
    assert "label" not in epochs_of(ImageArray(images), 0)[0]


def test_crops_of_files_are_the_plans() -> None:
    """Those of the decoded image, up to a level of rounding, once for all views."""
    source = files_of(8)
    (batch,) = epochs_of(source, workers=0, epochs=1, batch_size=8)
    assert [crop.shape for crop in batch["image"]] == [(8, 3, 16, 16)] * 2 + [(8, 3, 8, 8)]
    assert torch.equal(batch["label"], batch["index"] % 3)
    for row, i in enumerate(batch["index"].tolist()):
        crops = PLAN.crop(source[i].unsqueeze(0), torch.tensor([i]), epoch=0)
        for view, expected in zip(batch["image"], crops, strict=True):
            assert view.dtype == torch.uint8
            torch.testing.assert_close(view[row].float(), expected[0], atol=1.01, rtol=0)


def test_boxes_are_the_same_in_a_worker_and_on_the_device() -> None:
    """Bit for bit, of every view, whatever the size of the image and the order of the batch."""
    plan = ViewPlan(
        {
            "large": KIND | {"count": 2},
            "small": KIND | {"count": 3, "scale": [0.05, 0.3], "ratio": [0.5, 3.0]},
        },
        16,
        (0.5,) * 3,
        (0.25,) * 3,
        seed=7,
    )
    index = torch.randperm(300, generator=torch.Generator().manual_seed(0)) * 11
    place = plan.places(index, 4)
    for height, width in ((20, 30), (375, 500), (3000, 17), (1, 1)):
        found = [place(row, height, width) for row in range(len(index))]
        for number in range(5):
            boxes, mirrored = plan.where(number, index, 4, height, width)
            assert boxes.tolist() == [places[number][0] for places in found]
            assert mirrored.tolist() == [places[number][1] for places in found]


def test_a_large_photograph_is_decoded_smaller_and_its_crops_stay_where_they_were() -> None:
    """A ramp of brightness says where a crop lies and how wide it is."""
    ramp = torch.linspace(0, 255, 2048).round().to(torch.uint8).expand(3, 1500, -1)
    source = ImageFiles([encoded(Image.fromarray(ramp.permute(1, 2, 0).numpy()), "JPEG", quality=95)] * 6)
    batch = Batches(source, PLAN)[0, list(range(6))]
    crops = PLAN.crop(ramp.expand(6, -1, -1, -1), torch.arange(6), 0)
    for view, expected in zip(batch["image"], crops, strict=True):
        torch.testing.assert_close(view.float(), expected, atol=3, rtol=0)


def test_workers_change_nothing() -> None:
    source = files_of(12, broken=(5,))
    alone, together = (epochs_of(source, workers) for workers in (0, 2))
    assert len(alone) == len(together) == 6
    for one, other in zip(alone, together, strict=True):
        assert (one["epoch"], one["skipped"]) == (other["epoch"], other["skipped"])
        assert torch.equal(one["index"], other["index"])
        assert torch.equal(one["label"], other["label"])
        assert all(torch.equal(*views) for views in zip(one["image"], other["image"], strict=True))
    firsts = [next(b for b in alone if b["epoch"] == epoch)["image"][0] for epoch in (0, 1)]
    assert not torch.equal(*firsts)


def test_an_unreadable_image_is_named_and_another_takes_its_place() -> None:
    source = files_of(6, broken=(1, 4))
    batch = Batches(source, PLAN)[3, [1, 0, 4, 2, 5]]
    assert batch["index"].tolist() == [0, 0, 5, 2, 5]
    assert batch["label"].tolist() == [0, 0, 2, 2, 2]
    assert [name for name, _ in batch["skipped"]] == ["photo 1", "photo 4"]
    for _, reason in batch["skipped"]:
        assert reason
        assert "photo" not in reason  # the name is said once
    for view in batch["image"]:
        assert torch.equal(view[0], view[1])
        assert torch.equal(view[2], view[4])


def test_a_batch_without_any_readable_image_is_filled_with_others() -> None:
    source = files_of(8, broken=(1, 2, 6))
    batch = Batches(source, PLAN)[0, [1, 2]]
    assert isinstance(batch, dict)
    assert not {1, 2, 6} & set(batch["index"].tolist())
    assert torch.equal(batch["label"], batch["index"] % 3)
    assert [name for name, _ in batch["skipped"]][:2] == ["photo 1", "photo 2"]
    assert batch["image"][0].shape == (2, 3, 16, 16)


@pytest.mark.parametrize("workers", [0, 1])
def test_data_that_cannot_be_read_any_more_stops_with_a_sentence(workers: int) -> None:
    source = files_of(4, broken=(0, 1, 2, 3))
    with pytest.raises(
        UsageError, match=r"^none of 4 images could be read.*photo \d.*still there$"
    ) as raised:
        epochs_of(source, workers)
    assert "\n" not in str(raised.value)  # no worker's traceback


def test_a_folder_that_vanishes_stops_with_a_sentence(tmp_path: Any) -> None:
    paths = [write(tmp_path / "photos" / f"{i}.png", i, height=20, width=20 + i) for i in range(40)]
    source = ImageFiles([str(path) for path in paths])
    loader = training_loader(source, PLAN, EpochOrder(40, 4, 0), workers=2)
    batches = iter(loader)
    assert next(batches)["skipped"] == []
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(UsageError, match="there is no such file"):
        list(batches)


def test_a_worker_that_is_killed_is_told_in_a_sentence() -> None:
    with (
        pytest.raises(RunStopped, match="a process that loads images was killed") as raised,
        explain_dead_worker(),
    ):
        epochs_of(Killer(list(range(8))), workers=1)
    assert "\n" not in str(raised.value)


class TellShared(Batches):
    def __getitem__(self, key: Any) -> Any:
        batch = super().__getitem__(key)
        assert isinstance(batch, dict)
        return {"shared": [view.is_shared() for view in batch["image"]]}


def test_a_worker_puts_crops_straight_into_shared_memory() -> None:
    """Crops put together elsewhere first leave holes in a worker's heap that the next batch does not fit."""
    source, order = files_of(8), EpochOrder(8, 4, seed=0)
    loader = DataLoader(TellShared(source, PLAN), sampler=order, batch_size=None, num_workers=1)
    assert [batch["shared"] for batch in loader] == [[True] * 3] * 2


class Inherited(list[int]):
    """What a process had before it was forked."""


class CountInherited:
    """A file whose pixels say how many objects of the process before it a collection of garbage visits."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int, /) -> torch.Tensor:
        gc.collect()
        found = sum(type(one) is Inherited for one in gc.get_objects())
        return torch.full((3, 32, 32), found, dtype=torch.uint8)


def test_collections_in_a_worker_leave_alone_what_it_inherited() -> None:
    """Else each worker copies its parent's memory, at some time in the middle of an epoch."""
    kept = [Inherited() for _ in range(7)]
    for workers, visited in ((0, len(kept)), (1, 0)):
        for batch in epochs_of(ImageFiles(CountInherited()), workers):
            assert {int(value) for view in batch["image"] for value in view.unique()} == {visited}


def test_other_errors_are_not_taken_for_a_killed_worker() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes$"), explain_dead_worker():
        raise RuntimeError("shapes")


class Killer(ImageFiles):
    """Stands for a process that the system kills where memory runs out."""

    def __getitem__(self, i: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    picture = __getitem__  # type: ignore[assignment]


def test_workers_are_as_many_as_cores_but_none_for_images_in_memory() -> None:
    array, files = ImageArray(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)), files_of(1)
    cores = len(os.sched_getaffinity(0))
    assert worker_count("auto", array) == worker_count(3, array) == 0
    assert worker_count("auto", files) == min(cores, 16)
    assert worker_count("auto", files, processes=1000) == 1
    assert worker_count(3, files) == 3


def test_of_slurms_processes_each_has_the_cores_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of(1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))  # those of one task
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "12")
    for name, value in {"NTASKS": 32, "PROCID": 9, "LOCALID": 1, "STEP_ID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert worker_count("auto", files, processes=8) == 12
    monkeypatch.setenv("SLURM_NTASKS", "1")  # which starts the other seven itself
    assert worker_count("auto", files, processes=8) == 1


def test_a_source_in_memory_lives_on_the_device() -> None:
    """A device that holds no values stands for a GPU: whatever were left behind would not fit together."""
    images = torch.zeros(9, 3, 8, 8, dtype=torch.uint8)
    loader = training_loader(
        ImageArray(images, torch.arange(9)), PLAN, EpochOrder(9, 4, 0), 2, torch.device("meta")
    )
    batch = next(iter(loader))
    assert {batch[key].device.type for key in ("image", "label", "index")} == {"meta"}
    assert loader.num_workers == 0
    assert not loader.pin_memory


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_indices_are_counted_over_workers_processes_and_interruptions(workers: int) -> None:
    source = files_of(26)
    for world, interrupted in ((1, 0), (2, 2), (4, 1)):
        seen = []
        for rank in range(world):
            for first, last in ((0, interrupted), (interrupted, None)):
                order = EpochOrder(26, 8 // world, 0, rank, world, skip=first)
                batches = list(training_loader(source, PLAN, order, workers))
                seen += [
                    i for batch in batches[: None if last is None else last] for i in batch["index"].tolist()
                ]
        assert len(seen) == len(set(seen)) == 24


def test_a_file_that_ends_early_is_unreadable(tmp_path: Any) -> None:
    stream = io.BytesIO(encoded(noise(0, 40, 40)))
    source = ImageFiles([encoded(noise(1)), stream.getvalue()[:200]], names=["whole", "half"])
    batch = Batches(source, PLAN)[0, [0, 1]]
    assert [name for name, _ in batch["skipped"]] == ["half"]
    assert "label" not in batch

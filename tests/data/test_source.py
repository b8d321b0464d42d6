import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from selfsup.data import ImageArray, ImageFiles, UnreadableImage
from selfsup.data import source as source_module
from selfsup.data.source import in_memory

from .images import encoded, noise, pixels, write


def test_an_array_refuses_what_does_not_fit():
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    for wrong in (images.float(), images[:, :0], images[0]):
        with pytest.raises(ValueError, match="uint8"):
            ImageArray(wrong)
    for labels in (torch.zeros(2, dtype=torch.int64), torch.zeros(3)):
        with pytest.raises(ValueError, match="labels"):
            ImageArray(images, labels)
    with pytest.raises(ValueError, match="names"):
        ImageArray(images, names=["one"])


def test_files_are_decoded_when_asked_for(tmp_path):
    paths = [str(write(tmp_path / f"{i}.png", i, height=4 + i)) for i in range(3)]
    source = ImageFiles(paths)
    assert source.images is None
    assert len(source) == 3
    assert [source.name(i) for i in range(3)] == paths
    for i in range(3):
        assert (source[i].numpy() == pixels(noise(i, height=4 + i))).all()
    (tmp_path / "1.png").unlink()
    with pytest.raises(UnreadableImage, match=r"1\.png"):
        source[1]


def test_an_unreadable_image_keeps_its_name_and_reason_across_processes():
    error = pickle.loads(pickle.dumps(UnreadableImage("a\nb.png", "it is empty")))
    assert (error.name, error.reason) == ("a\nb.png", "it is empty")
    assert str(error) == "cannot read image 'a\\nb.png': it is empty"


def test_images_of_one_small_size_are_taken_into_memory():
    labels = torch.tensor([0, 1, 0, 1])
    images = [encoded(noise(0)), b"broken", encoded(noise(2)), encoded(noise(3))]
    source = in_memory(ImageFiles(images, labels, ["x", "y"], list("abcd")))
    assert isinstance(source, ImageArray)
    assert (source.images.numpy() == np.stack([pixels(noise(i)) for i in (0, 2, 3)])).all()
    assert source.labels.tolist() == [0, 0, 1]
    assert [source.name(i) for i in range(3)] == ["a", "c", "d"]
    assert source.skipped == [("b", "it is not an image in a known format")]


def test_where_sizes_differ_only_a_few_images_are_read():
    class Counting(list):
        read = 0

        def __getitem__(self, i):
            self.read += 1
            return super().__getitem__(i)

    images = Counting([encoded(noise(0))] * 500 + [encoded(noise(1, 9, 9))] * 500)
    assert in_memory(ImageFiles(images)).images is None
    assert images.read == source_module.PROBES


def test_an_image_that_differs_late_is_noticed():
    images = [encoded(noise(0))] * 50
    images[1] = encoded(noise(1, 9, 9))
    source = ImageFiles(images)
    assert in_memory(source) is source


def test_other_images_stay_files(monkeypatch):
    large = noise(0, source_module.SMALL + 1, 8)
    for images in ([noise(0), noise(1, 8, 9)], [large, large]):
        source = ImageFiles([encoded(image) for image in images])
        assert in_memory(source) is source
    monkeypatch.setattr(source_module, "MEMORY", 2 * 3 * 8 * 8)
    assert isinstance(in_memory(ImageFiles([encoded(noise(0))] * 2)), ImageArray)
    assert isinstance(in_memory(ImageFiles([encoded(noise(0))] * 3)), ImageFiles)
    assert isinstance(in_memory(ImageFiles([b"broken"])), ImageFiles)


class Means(Dataset):
    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, i):
        return self.source[i].float().mean()


def test_workers_that_are_spawned_read_files(tmp_path):
    source = ImageFiles([str(write(tmp_path / f"{i}.png", i)) for i in range(4)])
    loader = DataLoader(Means(source), num_workers=1, multiprocessing_context="spawn")
    assert [value.item() for value in loader] == [source[i].float().mean().item() for i in range(4)]

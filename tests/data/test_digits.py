import hashlib
from pathlib import Path

import torch
import yaml
from sklearn.datasets import load_digits

from selfsup.data import digits

CONFIG = Path(__file__).parents[2] / "configs/data/digits.yaml"


def test_every_digit_is_there_once_with_its_label():
    train, test = digits()
    assert train.images.shape == (1297, 3, 8, 8)
    assert test.images.shape == (500, 3, 8, 8)
    original = load_digits()
    for part in (train, test):
        for i in range(0, len(part), 50):
            row = int(part.name(i).split()[-1])
            assert int(part.labels[i]) == original.target[row]
            back = part[i].double() * 16 / 255
            assert (back.round() == torch.from_numpy(original.images[row])).all()
    names = [part.name(i) for part in (train, test) for i in range(len(part))]
    assert len(set(names)) == 1797
    assert train.images.max() == 255
    assert train.classes == [str(i) for i in range(10)]
    assert train.skipped == []


def test_the_split_is_stratified_and_stays_as_it_is():
    _, test = digits()
    share = torch.from_numpy(load_digits().target).bincount() * 500 / 1797
    assert ((test.labels.bincount() - share).abs() < 1).all()
    # Published numbers on digits hold for this split only: it may not change unnoticed.
    names = ",".join(test.name(i) for i in range(500))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == "5a01757590842dc6"


def test_the_configuration_states_the_mean_and_deviation_of_the_training_split():
    config = yaml.safe_load(CONFIG.read_text())
    values = digits()[0].images.double() / 255
    torch.testing.assert_close(
        torch.tensor(config["mean"]).double(), values.mean((0, 2, 3)), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(torch.tensor(config["std"]).double(), values.std((0, 2, 3)), atol=1e-4, rtol=0)

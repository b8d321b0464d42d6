import pytest
import torch

from selfsup.config import load_config, options
from selfsup.errors import UsageError
from selfsup.evaluation import Features, NoScore, Score
from selfsup.evaluation.registry import protocols, records
from selfsup.evaluation.score import accuracy, pack, unpack
from tests.evaluation.toys import clusters


def mean_of_first(train: Features, test: Features, *, column: int) -> Score:
    """A protocol as somebody else would write it."""
    if column >= train.x.shape[1]:
        raise NoScore(f"there is no column {column}")
    return Score(train.x[:, column].mean().item(), settings={"column": column}, n_test=0)


MINE = {"_target_": f"{__name__}.mean_of_first", "labels": False, "column": 0}


def features(samples: int = 12) -> Features:
    x, labels = clusters(samples, 3, 2)
    return Features(x, labels, torch.arange(samples))


def test_a_protocol_is_a_function_and_an_entry():
    (mine,) = protocols({"mine": MINE})
    train = features()
    record = records(mine, train, features(5))["mine"]
    assert record["value"] == train.x[:, 0].mean().item()
    assert (record["protocol"], record["n_train"], record["n_test"]) == ("mine", 12, 0)
    assert record["settings"] == {"column": 0}
    assert record["labels"] is False


def test_a_protocol_without_a_score_says_why():
    (mine,) = protocols({"mine": {**MINE, "column": 7}})
    record = records(mine, features(), features(5))["mine"]
    assert (record["value"], record["reason"]) == (None, "there is no column 7")


def indecomposable(train: Features, test: Features) -> Score:
    torch.linalg.cholesky(-torch.eye(2))
    return Score(1.0)


def test_a_decomposition_that_fails_is_a_reason():
    (mine,) = protocols({"mine": {"_target_": f"{__name__}.indecomposable", "labels": False}})
    assert "cannot be decomposed" in records(mine, features(), features(5))["mine"]["reason"]


@pytest.mark.parametrize(
    ("name", "setting", "value", "sentence"),
    [
        ("label_fraction", "shares", [0.1, 1.5], "shares must be at most 1, not 1.5"),
        ("finetune", "layer_decay", 1.5, "layer_decay must be at most 1, not 1.5"),
        ("mae_linear", "batch", 1, "batch must be at least 2, not 1"),
    ],
)
def test_settings_out_of_range_are_told_where_no_configuration_was_composed(name, setting, value, sentence):
    config = load_config("evaluate", ["encoder=x", f"protocols={name}"])["protocols"]
    config[name][setting] = value
    with pytest.raises(UsageError, match=sentence):
        protocols(config)


def test_every_setting_is_in_the_record():
    config = load_config("evaluate", ["encoder=x", "protocols=[label_fraction,nshot]"])
    for protocol in protocols(config["protocols"]):
        for record in records(protocol, features(60), features(9)).values():
            assert set(protocol.settings) <= set(record["settings"])


def test_no_protocol_sees_features_that_are_not_finite():
    (mine,) = protocols({"mine": MINE})
    broken = features()
    broken.x[3, 2] = torch.nan
    assert records(mine, broken, features(5))["mine"]["reason"] == (
        "features of 1 of 12 training images are not finite"
    )


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"column": 0}, "protocols.mine has no _target_"),
        ({**MINE, "_target_": "selfsup.nothing.here"}, "no function 'selfsup.nothing.here' to import"),
        ({**MINE, "columns": 3}, "protocols.mine does not fit"),
        ({"_target_": MINE["_target_"]}, "protocols.mine does not fit .* 'column'"),
    ],
)
def test_mistakes_in_an_entry_are_told(entry, sentence):
    with pytest.raises(UsageError, match=sentence):
        protocols({"mine": entry})


@pytest.mark.parametrize("name", options("protocols"))
def test_every_shipped_protocol_can_be_chosen_alone(name):
    config = load_config("evaluate", ["encoder=x", f"protocols={name}"])
    assert list(config["protocols"]) == [name]
    (protocol,) = protocols(config["protocols"])
    assert protocol.function.__doc__


def test_several_are_chosen_in_order_and_a_misspelt_one_is_told():
    config = load_config("evaluate", ["encoder=x", "protocols=[spectra, knn]", "protocols.knn.k=[3]"])
    assert list(config["protocols"]) == ["spectra", "knn"]
    assert config["protocols"]["knn"]["k"] == [3]
    with pytest.raises(UsageError, match="no protocols 'kn'; did you mean 'knn'"):
        load_config("evaluate", ["encoder=x", "protocols=[spectra,kn]"])
    with pytest.raises(UsageError, match="nothing to evaluate"):
        protocols({})


def test_correctness_survives_the_file():
    truth = torch.randint(0, 3, (37,))
    score = accuracy(torch.randint(0, 3, (37,)), truth)
    assert torch.equal(unpack(pack(score.correct), 37), score.correct)
    assert int(score.correct.sum()) == round(score.value * 37)

"""The label-free scores as protocols of an evaluation."""

import pytest
import torch

from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.evaluation import Features, evaluate, lidar, rankme
from selfsup.evaluation.features.parts import whole_views
from selfsup.evaluation.registry import protocols, records
from selfsup.evaluation.view_choice import choose_views
from selfsup.views import view_kinds

from .toys import ToyEncoder, coloured, gaussian

ALL = "spectra,lidar,alignment,uniformity,clid,rotation"
LIDAR = ("protocols.lidar.needs.views.images=40", "protocols.lidar.needs.views.count=4")
SMALL = (
    *LIDAR,
    "protocols.alignment.needs.views.images=40",
    "protocols.alignment.needs.views.count=4",
    "protocols.rotation.needs.turns.images=60",
)


def data():
    return load_config("evaluate", ["encoder=x"])["data"]


def configured(*overrides, names=ALL):
    return load_config("evaluate", ["encoder=x", f"protocols=[{names}]", *overrides])["protocols"]


class Trained(ToyEncoder):
    """An encoder whose card tells its views."""

    def __init__(self, views):
        super().__init__()
        self.card = {"config": {"views": views}}


def test_all_of_them_in_one_evaluation():
    source = coloured(120, classes=120, labels=False)
    results = evaluate(ToyEncoder(), source, coloured(20, labels=False), data(), protocols=configured(*SMALL))
    for row in results["rows"]:
        for name, score in row["scores"].items():
            assert score["value"] is not None or score["reason"], name
            assert score["labels"] is False
            assert score["citation"] or score["reason"], name
    encoder, scores = results["rows"][0], results["rows"][0]["scores"]
    assert {"rankme", "lidar", "alignment", "uniformity", "clid-dimension", "rotation"} <= scores.keys()
    assert scores["lidar"]["settings"] == {"delta": 1e-4, "images": 40, "views": 4, "width": encoder["dim"]}
    assert 1 < scores["lidar"]["value"] < encoder["dim"]
    assert 0 < scores["alignment"]["value"] < 2
    assert -4 < scores["uniformity"]["value"] < 0
    assert scores["rotation"]["n_test"] == 12
    assert scores["rotation"]["interval"][0] <= scores["rotation"]["value"]


def test_the_spectral_scores_share_one_gram_matrix(monkeypatch):
    from selfsup.evaluation.label_free import spectrum

    calls = []
    whole = spectrum.batch_moments
    monkeypatch.setattr(spectrum, "batch_moments", lambda z: calls.append(1) or whole(z))
    (protocol,) = protocols(configured(names="spectra"))
    features = Features(gaussian(300, 24), None, torch.arange(300))
    scores = records(protocol, features, features)
    assert len(calls) == 1
    assert scores["rankme"]["value"] == pytest.approx(rankme(features.x))
    assert (scores["alpha-req"]["settings"]["first"], scores["alpha-req"]["settings"]["last"]) == (11, 24)


def test_what_speaks_against_a_score_is_flagged():
    (protocol,) = protocols(configured(names="spectra"))
    cliff = gaussian(50, 40).bfloat16().float() * torch.where(torch.arange(40) < 20, 1.0, 2.0**-12)
    features = Features(cliff, None, torch.arange(50))
    scores = records(protocol, features, features)
    for score in scores.values():
        assert "50 samples are few for 40 dimensions" in score["flags"][0]
        assert "rounded to bfloat16" in score["flags"][1]
    assert "not a power law" in scores["alpha-req"]["flags"][2]
    protocol = protocols(configured(names="uniformity"))[0]
    twice = Features(gaussian(50, 4).repeat(2, 1), None, torch.arange(100))
    assert "50 of 100 features repeat" in records(protocol, twice, twice)["uniformity"]["flags"][0]


@pytest.mark.parametrize("x", [torch.ones(60, 8), torch.full((60, 8), torch.nan), torch.zeros(60, 8)])
def test_features_that_say_nothing_leave_a_reason(x):
    chosen = protocols(configured(names="spectra,uniformity,clid"))
    features = Features(x, None, torch.arange(60))
    for protocol in chosen:
        for name, score in records(protocol, features, features).items():
            assert score["value"] is not None or score["reason"], name


def test_an_encoder_that_is_blind_has_no_lidar():
    """The views of an image are as unlike as those of two images, and that is said."""
    noise = torch.Generator().manual_seed(0)
    blind = ToyEncoder(output=lambda features: torch.randn(features.shape, generator=noise))
    settings = configured(LIDAR[0], "protocols.lidar.needs.views.count=20", names="lidar")
    results = evaluate(blind, coloured(60), coloured(20), data(), protocols=settings, controls=False)
    assert "no more alike" in results["rows"][0]["scores"]["lidar"]["reason"]


def plan_of(encoders, **needs):
    chosen = protocols(configured(*LIDAR, names="lidar"))
    choose_views(chosen, encoders, data())
    return chosen[0].needs["views"]["plan"]


def test_views_are_those_of_training_where_all_encoders_agree():
    barlow = view_kinds(load_config("train", ["method=barlow"])["views"])
    dino = view_kinds(load_config("train", ["method=dino"])["views"])
    simclr = view_kinds(load_config("train", ["method=simclr"])["views"])
    assert plan_of({"a": Trained(barlow)}) == barlow
    assert plan_of({"a": Trained(barlow), "b": Trained(barlow)}) == barlow
    assert plan_of({"a": Trained(barlow), "b": Trained(dino)}) == simclr
    assert plan_of({"a": Trained(barlow), "b": ToyEncoder()}) == simclr


def test_a_plan_gives_as_many_views_of_the_encoders_size_as_are_asked():
    dino = view_kinds(load_config("train", ["method=dino"])["views"])
    counts = {name: kind["count"] for name, kind in whole_views(dino, 24, 5).items()}
    assert counts == {"first": 3, "second": 2}
    mae = load_config("train", ["method=mae"])["views"]
    assert {name: kind["count"] for name, kind in whole_views(mae, 24, 10).items()} == {"each": 10}
    with pytest.raises(UsageError, match="24 px"):
        whole_views({"small": dino["small"]}, 24, 5)


def test_lidar_of_an_evaluation_is_the_functions():
    """The part's rows are grouped by image: three images whose views are drawn by hand give the same."""
    from selfsup.evaluation.features.frozen import FrozenEncoder
    from selfsup.evaluation.features.parts import views

    source = coloured(40, classes=40)
    encoder = ToyEncoder().eval()
    frozen = FrozenEncoder(encoder, encoder.mean, encoder.std)
    plan = load_config("train", ["method=simclr"])["views"]
    from selfsup.evaluation.features.images import fit

    drawn = views(frozen, fit(source.images, 8), torch.arange(40), plan, 4)
    expected = lidar(drawn.flatten(0, 1), torch.arange(40).repeat_interleave(4))
    settings = configured(*LIDAR, names="lidar")
    found = evaluate(encoder, source, coloured(20), data(), protocols=settings, controls=False)
    assert found["rows"][0]["scores"]["lidar"]["value"] == pytest.approx(expected, rel=1e-4)

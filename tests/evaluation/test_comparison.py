import io
import math

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.stats import spearmanr

from selfsup.config import load_config
from selfsup.evaluation import compare, evaluate, paired, print_table, spearman
from selfsup.evaluation.results.comparison_table import print_comparison
from selfsup.evaluation.score import pack
from tests.evaluation.toys import ToyEncoder, coloured


def row(name, role="encoder", **scores):
    return {"name": name, "role": role, "scores": scores}


def labelled(correct, shown=True):
    hits = torch.tensor([mark == "1" for mark in correct])
    return {
        "value": hits.double().mean().item(),
        "labels": True,
        "correct": pack(hits),
        "n_test": len(hits),
        "settings": {},
        "higher_is_better": True,
        "shown": shown,
    }


def free(value, higher_is_better=True):
    return {
        "value": value,
        "labels": False,
        "correct": None,
        "n_test": 0,
        "settings": {},
        "higher_is_better": higher_is_better,
        "shown": True,
    }


def test_the_paired_interval_covers_and_is_narrower_than_two_of_their_own():
    generator = torch.Generator().manual_seed(0)
    samples, repetitions = 150, 2000
    outcomes = torch.tensor([0.6, 0.15, 0.08, 0.17])  # both, only the first, only the second, neither
    drawn = outcomes.multinomial(samples * repetitions, replacement=True, generator=generator)
    covered = widths = 0
    for draw in drawn.view(repetitions, samples):
        _, (low, high) = paired(draw <= 1, (draw == 0) | (draw == 2))
        covered += low <= 0.07 <= high
        widths += high - low
    assert 0.935 < covered / repetitions < 0.97
    unpaired = 2 * 1.96 * math.sqrt((0.75 * 0.25 + 0.68 * 0.32) / samples)
    assert widths / repetitions < 0.8 * unpaired


def test_the_paired_interval_equals_the_formula():
    first = torch.tensor([True] * 12 + [False] * 8)
    second = torch.tensor([True] * 7 + [False] * 5 + [True] * 2 + [False] * 6)
    difference, (low, high) = paired(first, second)
    assert difference == pytest.approx(3 / 20)
    b, c, n = 5.5, 2.5, 22
    middle, spread = (b - c) / n, math.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert (low, high) == pytest.approx((middle - 1.959964 * spread, middle + 1.959964 * spread))
    assert paired(first, first)[1][0] < 0 < paired(first, first)[1][1]


def test_spearman_is_scipys_with_ties_too():
    for x, y in (([3, 1, 2, 5, 4], [1, 2, 3, 4, 5]), ([1, 1, 2, 3], [4, 2, 2, 9]), ([1, 2, 3], [3, 2, 1])):
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert spearman([1, 1, 1], [1, 2, 3]) is None


def test_encoders_are_ranked_by_the_first_labelled_score_that_all_have():
    rows = [
        row("a", rank=free(3.0), broken=labelled("1111"), knn=labelled("1100"), other=labelled("1111")),
        row(
            "b",
            rank=free(9.0),
            broken={**labelled("1111"), "value": None},
            knn=labelled("1110"),
            other=labelled("1000"),
        ),
        row("pixels", "pixels", rank=free(99.0), knn=labelled("1111"), other=labelled("1111")),
    ]
    found = compare(rows)
    assert (found["by"], found["ranking"]) == ("knn", ["b", "a"])
    assert [(e["score"], e["first"], e["second"], e["difference"]) for e in found["differences"]] == [
        ("knn", "b", "a", 0.25),
        ("other", "b", "a", -0.75),
    ]
    assert found["rank_correlation"] == {}


def test_without_labels_the_label_free_score_ranks_and_lower_may_be_better():
    rows = [row("a", uniformity=free(-1.0, False)), row("b", uniformity=free(-3.0, False))]
    assert compare(rows)["ranking"] == ["b", "a"]
    assert compare(rows)["differences"] == []


def test_rank_correlations_turn_scores_of_which_less_is_better():
    rows = [
        row("a", knn=labelled("1000"), rank=free(1.0), uniformity=free(-1.0, False)),
        row("b", knn=labelled("1100"), rank=free(5.0), uniformity=free(-2.0, False)),
        row("c", knn=labelled("1110"), rank=free(4.0), uniformity=free(-3.0, False)),
    ]
    assert compare(rows)["rank_correlation"] == {"rank": {"knn": 0.5}, "uniformity": {"knn": 1.0}}


def test_clid_is_standardised_over_the_encoders_that_are_compared():
    parts = {"a": (0.9, 4.0), "b": (0.5, 9.0), "c": (0.7, 2.0)}
    answers = {"a": "1110", "b": "1100", "c": "1000"}
    rows = []
    for name, (learnability, dimension) in parts.items():
        halves = {"clid-learnability": free(learnability), "clid-dimension": free(dimension)}
        rows.append(row(name, knn=labelled(answers[name]), **halves))
    found = compare(rows)
    halves = np.array(list(parts.values()))
    expected = ((halves - halves.mean(0)) / halves.std(0)).sum(1)
    assert list(found["clid"]) == list("abc")
    assert list(found["clid"].values()) == pytest.approx(expected)
    ranks = spearmanr(expected, [3, 2, 1]).statistic
    assert found["rank_correlation"]["clid"]["knn"] == pytest.approx(ranks)
    del rows[1]["scores"]["clid-dimension"]
    assert compare(rows)["clid"] == {}


def test_draws_of_the_same_labelled_samples_are_paired():
    def shots(values):
        return {**free(sum(values) / 3), "labels": True, "settings": {"accuracies": values}}

    (found,) = compare([row("a", few=shots([0.5, 0.7, 0.9])), row("b", few=shots([0.45, 0.64, 0.85]))])[
        "differences"
    ]
    assert found["difference"] == pytest.approx(0.16 / 3)
    # Far apart from draw to draw, but always by about as much.
    assert found["interval"][0] > 0.03
    assert (found["paired_over"], found["within_noise"]) == ("draws", False)


def test_three_encoders_in_one_table():
    def noisy(x):
        return x + 30 * torch.randn(x.shape, generator=torch.Generator().manual_seed(len(x)))

    blind = ToyEncoder(seed=3, output=noisy)
    encoders = {"one": ToyEncoder(1), "blind": blind, "two": ToyEncoder(2)}
    typed = ["encoder=x", "protocols=[knn,ridge,spectra]", "protocols.knn.k=[5]"]
    protocols = load_config("evaluate", typed)["protocols"]
    results = evaluate(encoders, coloured(80), coloured(60, seed=1), {"name": "toy"}, protocols=protocols)
    found = results["comparison"]
    assert found["ranking"][-1] == "blind"
    assert results["encoder"] is None
    assert [r["name"] for r in results["rows"]][:3] == list(encoders)
    text = io.StringIO()
    print_table(results, Console(file=text))
    said = " ".join(text.getvalue().split())
    assert f"far the others are from {found['ranking'][0]}, the best by kNN (k=5)" in said
    assert "3 encoders" in said
    assert "Rank correlation" in said
    lines = text.getvalue().splitlines()
    places = [
        next(i for i, line in enumerate(lines) if line.split()[:1] == [name]) for name in found["ranking"]
    ]
    assert places == sorted(places)
    close = [e for e in found["differences"] if e["score"] == "knn" and e["within_noise"]]
    assert ("kNN (k=5) does not separate" in said) == bool(close)


def test_what_is_of_no_meaning_beyond_the_table_is_printed_under_escaped_names():
    found = {"by": "knn", "ranking": ["a"], "differences": [], "rank_correlation": {}}
    text = io.StringIO()
    console = Console(file=text, width=200)
    print_comparison({**found, "clid": {"a\x1b[31m": 0.5, "b": -0.5}}, {"knn": "kNN"}, console)
    assert "among them: a\\x1b[31m +0.50, b -0.50." in text.getvalue()

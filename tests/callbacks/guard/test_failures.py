"""Bounds, patience and episodes; and that every entry of the tables can be read, written and met."""

import math
import string

import pytest

from selfsup.callbacks.guard import SIGNALS
from selfsup.callbacks.guard.watch import Watch
from selfsup.config import options
from selfsup.methods.failures import COMMON, SHRUNKEN, Bound, Failure, failures_of
from tests.methods.building import failures

LOW = Failure(
    "low", (Bound("std", below=0.2),), "std is {std:.1f} since step {since}", "raise it", patience=2
)


def names(watch: Watch, values: list[float], every: int = 50) -> list[int]:
    """Steps at which something is named; the first value is that of the untrained model."""
    said = []
    for number, value in enumerate(values):
        step = max(1, number * every)
        said += [warned.step for warned in watch.look(step, step / 1000, {"std": value})]
    return said


def test_named_once_an_episode_and_after_patience() -> None:
    assert names(Watch([LOW]), [1.0, 0.1, 0.1, 0.1, 0.1]) == [100]


def test_one_look_is_not_enough_and_the_count_starts_anew() -> None:
    assert names(Watch([LOW]), [1.0, 0.1, 0.5, 0.1, 0.5, 0.1]) == []


def test_an_episode_ends_after_as_many_clear_looks() -> None:
    assert names(Watch([LOW]), [1.0, 0.1, 0.1, 0.5, 0.1, 0.1, 0.5, 0.5, 0.1, 0.1]) == [100, 450]


def test_message_says_since_when_and_what_to_do() -> None:
    watch = Watch([LOW])
    watch.look(1, 0.0, {"std": 1.0})
    watch.look(50, 0.1, {"std": 0.1})
    (warned,) = watch.look(100, 0.2, {"std": 0.12})
    assert (warned.name, warned.value) == ("low", 0.12)
    assert warned.message == "std is 0.1 since step 50; raise it"


def test_going_on_from_a_state_is_as_if_nothing_had_happened() -> None:
    values = [1.0, 0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.1]
    whole = names(Watch([LOW]), values)
    for cut in range(1, len(values)):
        before, after = Watch([LOW]), Watch([LOW])
        said = names(before, values[:cut])
        after.load(before.state())
        for number, value in enumerate(values[cut:], cut):
            said += [w.step for w in after.look(number * 50, number / 20, {"std": value})]
        assert said == whole


def test_relative_bounds_are_multiples_of_step_0() -> None:
    bound = Bound("std", below=0.3, of_start=True)
    assert bound.holds({"std": 0.05}, {"std": 0.2})
    assert not bound.holds({"std": 0.07}, {"std": 0.2})
    assert not bound.holds({"std": 0.07}, {"std": 0.0})  # no start, no judgement
    assert not bound.holds({"std": 0.07}, {})


def test_a_signal_that_is_not_a_number_or_missing_breaks_no_bound() -> None:
    for bound in (Bound("x", below=1.0), Bound("x", above=-1.0)):
        assert not bound.holds({"x": math.nan}, {})
        assert not bound.holds({}, {})


def test_slack_widens_a_bound_on_its_own_side() -> None:
    assert Bound("x", below=1.0).holds({"x": 1.1}, {}, slack=0.2)
    assert not Bound("x", below=1.0).holds({"x": 1.3}, {}, slack=0.2)
    assert Bound("x", above=1.0).holds({"x": 0.9}, {}, slack=0.2)
    assert not Bound("x", above=1.0).holds({"x": 0.7}, {}, slack=0.2)


def test_steps_and_shares_outside_do_not_count() -> None:
    failure = Failure("f", (Bound("x", below=1.0),), "", "", from_step=100, until_share=0.5)
    assert [failure.holds(step, step / 400, {"x": 0.0}, {}) for step in (50, 100, 200, 250)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_failure_whose_signals_are_not_there_is_not_looked_for() -> None:
    assert Watch([LOW]).look(50, 0.1, {"other": 0.0}) == []


def test_a_method_of_its_own_table_and_one_without() -> None:
    assert {f.name for f in failures("barlow")} > {f.name for f in failures_of()} == {f.name for f in COMMON}
    for method in options("method"):
        assert len({f.name for f in failures(method)}) == len(failures(method))
    # What an objective of values counts as collapse stands in for what one of directions does.
    assert SHRUNKEN in failures("vicreg")
    assert SHRUNKEN not in failures("barlow")


@pytest.mark.parametrize("method", options("method"))
def test_every_entry_names_signals_that_exist_and_says_what_to_do(method: str) -> None:
    signals = dict.fromkeys(SIGNALS, 0.5)
    marks = {"trivial": 1.0, "floor": 0.1, "since": 50}
    for failure in failures(method):
        assert {bound.signal for bound in failure.bounds} <= set(SIGNALS), failure.name
        fields = {field for _, field, _, _ in string.Formatter().parse(failure.message) if field}
        needed = {bound.signal for bound in failure.bounds}
        # A message may say only what every method the failure applies to has.
        assert fields <= needed | {"since", "loss", "trivial"}, failure.name
        assert failure.message.format(**signals, **marks)
        assert failure.remedy
        assert failure.patience >= 1

"""The operations of a training step, which golden rows state, are counted for every kind of method."""

import pytest

from benchmarks.speed.stages import gflops_a_step
from tests.methods.building import SMALL


@pytest.mark.parametrize("method", ["diet", "jepa"])  # one counts samples, one has a teacher
def test_twice_the_batch_is_twice_the_operations(method: str) -> None:
    settings = [f"method={method}", *SMALL, "data.train=train[:64]", "trainer.accelerator=cpu"]
    once, twice = (gflops_a_step([*settings, f"batch_size={size}"]) for size in (8, 16))
    assert twice == pytest.approx(2 * once, rel=0.01)

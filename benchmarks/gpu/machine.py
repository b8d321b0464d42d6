"""The device that is measured, and how large the measurements are."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Machine:
    """A device and its surroundings.

    Attributes:
        device: a GPU; the CPU or the pretended GPU (``meta``) where the script is only tried.
        data: folder of CIFAR-10's Parquet files.
        runs: folder in which runs are made.
        small: a hundredth of the work.
    """

    device: torch.device
    data: Path
    runs: Path
    small: bool

    def of(self, whole: int, least: int = 1) -> int:
        """So much of a GPU's work, or a hundredth of it."""
        return max(least, whole // 100) if self.small else whole

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def accelerator(self) -> str:
        """As Lightning calls it."""
        return "gpu" if self.on_gpu else "cpu"

    def seconds(self, work: Callable[[], Any], times: int = 1) -> float:
        """Of one call, the device's work included: the mean of several in a row."""
        self.wait()
        started = time.perf_counter()
        for _ in range(times):
            work()
        self.wait()
        return (time.perf_counter() - started) / times

    def wait(self) -> None:
        """Until the device has done what it was asked for."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def emptied(self) -> None:
        """Free the memory of what was measured, and forget its peak."""
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_gib(self) -> float | None:
        """The most memory in use since it was emptied; None without a GPU."""
        return round(torch.cuda.max_memory_allocated() / 2**30, 2) if self.on_gpu else None

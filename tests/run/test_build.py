"""What a run settles before it begins."""

import pytest
import torch

from selfsup.runtime import look_for_gpus_once


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="a torch without CUDA looks for no GPU")
def test_a_step_does_not_look_for_a_gpu_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def none_found() -> int:
        looks.append(1)
        return 0

    monkeypatch.setattr(torch.cuda, "_raw_device_count_nvml", none_found)
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # as Lightning sets it
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.grad = torch.ones(2)
    optimizer.step()
    before = len(looks)
    look_for_gpus_once()
    after_looking = len(looks)
    optimizer.step()
    assert before > 0
    assert len(looks) == after_looking

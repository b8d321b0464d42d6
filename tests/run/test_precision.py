"""Which precision a run takes where none is asked for, and what is said of a slow one."""

import logging

import pytest
import torch
from timm.layers import Attention
from timm.layers.config import set_fused_attn, use_fused_attn

from selfsup.config import load_config
from selfsup.errors import UsageError
from selfsup.evaluation.features.frozen import FrozenEncoder
from selfsup.precision import of_passes, tell_imitation
from selfsup.run.trainer import best_precision, check_trainer, choose_attention, trainer_settings

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("abilities", "precision"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, "bf16-mixed"),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel Xeon"}, "32-true"),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC"}, "bf16-mixed"),
        ({"avx512_bf16": False}, "32-true"),
        ({}, "32-true"),
    ],
)
def test_a_cpu_computes_bf16_only_where_that_is_faster(
    abilities: dict[str, object], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert best_precision("cpu") == precision
    passes = {"bf16-mixed": "bfloat16", "32-true": "float32"}[precision]
    assert of_passes("auto", CPU) == passes
    assert FrozenEncoder(torch.nn.Identity(), (0.5,) * 3, (0.5,) * 3, "auto").precision == passes
    assert of_passes("float32", CPU) == "float32"
    assert of_passes("bfloat16", CPU) == "bfloat16"


@pytest.mark.parametrize(
    ("abilities", "told"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_f": False}, 1),
        ({"architecture": "x86_64", "avx512_f": True}, 0),
        ({"architecture": "aarch64"}, 0),
    ],
)
def test_bfloat16_is_told_once_to_be_slow_where_the_cpu_imitates_it(
    abilities: dict[str, object], told: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    with caplog.at_level(logging.WARNING):
        for asked in ("auto", "float32"):
            of_passes(asked, CPU)
        assert not caplog.records
        for again in range(2):
            tell_imitation.cache_clear()
            for _ in range(2):
                of_passes("bfloat16", CPU)
            config = load_config("train", ["trainer.precision=bf16-mixed", "trainer.accelerator=cpu"])
            trainer_settings(config, 1)
            assert len(caplog.records) == told * (again + 1)
    tell_imitation.cache_clear()


@pytest.mark.parametrize(
    ("asked", "amx", "fused"),
    [("auto", True, False), ("auto", False, True), ("16-mixed", False, False), ("32-true", True, True)],
)
def test_attention_on_a_cpu_is_fused_in_float32(
    asked: str, amx: bool, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = use_fused_attn()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})
    try:
        choose_attention({"accelerator": "cpu", "precision": asked})
        assert Attention(8, 2).fused_attn is fused
    finally:
        set_fused_attn(bool(before))


@pytest.mark.parametrize("asked", ["64-true", "bf16-true", "16-true", "transformer-engine", "half"])
def test_a_precision_in_which_nothing_could_be_trained_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match=r"precision|transformer_engine") as told:
        check_trainer(load_config("train", [f"trainer.precision={asked}", "trainer.accelerator=cpu"]), 1)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("asked", ["32", "32-true", "bf16-mixed", "auto"])
def test_a_precision_that_works_is_let_through(asked: str) -> None:
    check_trainer(load_config("train", [f"trainer.precision={asked}", "trainer.accelerator=cpu"]), 1)

"""A base model with routed experts: what LoRA and 4 bit do with them is settled and said before training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airtune.errors import SettingsError
from airtune.resolution.stage import resolve
from airtune.stores.run_directory import RunDirectory

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tiny_models import make_tiny

    return make_tiny("qwen36", tmp_path_factory.mktemp("qwen36") / "model").as_uri()


def asked(base: str, **more: Any) -> dict[str, Any]:
    return {"base-model": base, "architecture": "qwen36", "size": "tiny", **more}


def test_adapters_of_experts_have_no_dropout_and_a_run_that_asks_for_it_is_refused(
    make_run: Callable[..., RunDirectory], base: str
) -> None:
    resolution = resolve(make_run(**asked(base)))
    assert resolution.run.lora_dropout == 0
    (entry,) = [each for each in resolution.entries if each.path.endswith("loraDropout")]
    assert entry.reason == "adapters of routed experts have none."
    with pytest.raises(SettingsError, match=r"Qwen3\.6 has routed experts, whose adapters have no dropout"):
        resolve(make_run(run_id="r2", **asked(base, **{"lora-dropout": 0.1})))
    assert resolve(make_run(run_id="r3", **asked(base, mode="SFT"))).run.training_mode == "SFT"


def test_that_4_bit_does_not_reach_experts_is_said_with_their_share(
    make_run: Callable[..., RunDirectory], base: str
) -> None:
    def said(run: RunDirectory) -> list[str]:
        return [warning for warning in resolve(run).warnings if "routed experts" in warning]

    (warning,) = said(make_run(**asked(base, quantization="NF4")))
    # 2 layers x 4 experts x (128 + 64) x 64 of 235,448 parameters.
    assert "4 bit does not reach the routed experts of Qwen3.6, which are 42% of its parameters" in warning
    assert said(make_run(run_id="r2", **asked(base, quantization="none"))) == []

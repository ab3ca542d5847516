from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]


def check_of(pieces: Any) -> Any:
    from airtune.catalog.registry import entry
    from airtune.training.selfcheck import SelfCheck

    check = SelfCheck(pieces.model, pieces.run, entry("qwen3vl"), lambda report: None)
    check.watch_first_step(pieces.model)
    pieces.trainer.add_callback(check)
    return check


def test_full_fine_tuning_trains_every_parameter(assemble: Assemble) -> None:
    pieces = assemble(training_mode="SFT", train=4, epochs=1)
    parts = check_of(pieces).report["parts"]
    assert set(parts) == {"language", "projector", "vision"}
    assert all(count["trained"] == count["parameters"] > 0 for count in parts.values())
    before = pieces.trained()
    pieces.fit()
    after = pieces.trained()
    assert all((after[name] != before[name]).any() for name in before)


def test_a_trained_vision_tower_does(assemble: Assemble) -> None:
    pieces = assemble(training_mode="SFT", train=4, epochs=1)
    check = check_of(pieces)
    pieces.fit()
    vision = check.report["vision_modules"]
    assert vision["in_backward"] == vision["all"]


def test_a_run_whose_parts_are_not_as_promised_is_stopped(assemble: Assemble) -> None:
    from airtune.errors import DefectError

    pieces = assemble()
    next(p for n, p in pieces.model.named_parameters() if ".visual.blocks.0." in n).requires_grad_(True)
    with pytest.raises(DefectError, match=r"LoRA trains \['language', 'vision'\] instead of the language model alone"):
        check_of(pieces)


def test_gradient_checkpointing_computes_activations_twice_and_the_result_is_the_same(assemble: Assemble) -> None:
    import torch

    results, computed = [], []
    for flag in (False, True):
        pieces = assemble(gradient_checkpointing=flag, train=4, validation=0, epochs=1)
        times: list[int] = []
        layer = pieces.model.get_base_model().model.language_model.layers[0].mlp
        layer.register_forward_pre_hook(lambda module, given, times=times: times.append(1))
        pieces.fit()
        results.append(pieces.trained())
        computed.append(len(times))
    assert computed[1] == 2 * computed[0] > 0
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-5, atol=1e-7)

"""Holding a run.json against the catalog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airtune.catalog.checking import check, check_text
from airtune.runspec.document import RunDocument

RUN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "runspec" / "examples" / "small.json").read_text(encoding="utf-8")
)


def problems(**given: Any) -> list[str]:
    return [str(problem) for problem in check(RunDocument.from_object(RUN).with_overrides(given))]


def test_a_run_of_the_catalog_has_no_problem() -> None:
    assert problems() == []
    assert problems(architecture="Qwen2.5-VL", size="7b") == []


def test_an_unknown_architecture_is_named_with_the_nearest() -> None:
    (message,) = problems(architecture="qwen3vlm")
    assert message.startswith("spec.flow.blocks[1].settings.architecture.name: is no architecture of the catalog")
    assert message.endswith("did you mean 'qwen3vl'?")


def test_a_size_must_be_one_of_the_catalog_unless_there_is_a_base_model() -> None:
    (message,) = problems(size="7B")
    assert message.startswith(
        "spec.flow.blocks[1].settings.architecture.size: is no size of Qwen3-VL "
        '(got "7B"); allowed: "2B", "4B", "8B", "32B"; did you mean "'
    )
    assert message.endswith("Any size is accepted together with airtune.baseModel")
    assert problems(size="tiny", base_model="s3://models/tiny") == []


def test_lora_is_refused_where_the_catalog_forbids_it() -> None:
    assert problems(architecture="nvila", size="2B", mode="LoRA") == [
        (
            'spec.flow.blocks[1].settings.trainingMode.type: NVILA-Lite cannot be trained in this mode (got "LoRA"); '
            'allowed: "SFT"; NVILA-Lite is trained with SFT only, '
            "by the implementation in vi-sdk (airtune's extra vi)"
        )
    ]
    assert problems(architecture="nvila", size="2B") == []


def test_four_bit_is_refused_where_only_sft_is_possible() -> None:
    (message,) = problems(architecture="nvila", size="2B", quantization="NF4")
    assert "quantization.enabled: NVILA-Lite is trained with SFT only" in message


def test_videos_are_refused_where_the_model_takes_none() -> None:
    assert problems(task="video-freeform") == []
    (message,) = problems(task="video-freeform", architecture="deepseekocr", size="3B")
    assert "projectKind: DeepSeek-OCR takes no videos" in message


def test_everything_wrong_in_a_text_is_found_at_once() -> None:
    bad = json.loads(json.dumps(RUN))
    model = bad["spec"]["flow"]["blocks"][1]["settings"]
    model["architecture"] = {"name": "qwen3vl", "size": "700B"}
    model["hyperparameters"] = {"epochs": 0}
    bad["spec"]["flow"]["blocks"][0]["settings"]["projectKind"] = "VQA"
    assert [problem.where for problem in check_text(json.dumps(bad))] == [
        "spec.flow.blocks[0].settings.projectKind",
        "spec.flow.blocks[1].settings.hyperparameters.epochs",
        "spec.flow.blocks[1].settings.architecture.size",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec":{"flow":{"blocks":[{"block":"model","settings":3}]}}}'])
def test_no_text_is_too_broken_to_be_told_what_is_wrong(text: str) -> None:
    assert check_text(text)


def test_overrides_are_checked_with_the_text() -> None:
    text = json.dumps(RUN)
    assert check_text(text, overrides={"epochs": 3}) == []
    assert [problem.where for problem in check_text(text, overrides={"size": "9B"})] == [
        "spec.flow.blocks[1].settings.architecture.size"
    ]
    assert [problem.where for problem in check_text(text, overrides={"epoch": 3})] == ["override epoch"]

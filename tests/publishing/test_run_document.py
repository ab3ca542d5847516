"""The run.json inside a bundle, read as Datature's SDK reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airtune.catalog.registry import load_catalog
from airtune.publishing.run_document import model_warning, published_run
from airtune.publishing.tokens import TokenIds
from airtune.runspec.resolved import Resolution
from airtune.stores import RunDirectory, layout

MakeRun = Callable[..., RunDirectory]
TOKENS = TokenIds(eos=(2,), pad=0, bos=None)


def _published(run: RunDirectory, tokens: TokenIds = TOKENS) -> dict[str, Any]:
    resolved = Resolution.from_json(run.store.read(layout.RESOLUTION)).run
    document: dict[str, Any] = json.loads(published_run(run, resolved, tokens))
    return document


def _settings(document: dict[str, Any], block: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each["settings"] for each in document["spec"]["flow"]["blocks"] if block in each["block"]
    )
    return found


def test_the_settings_of_evaluation_stand_in_both_spellings_with_the_tokenizers_own_tokens(
    file_root: str, make_run: MakeRun
) -> None:
    evaluation = _settings(_published(make_run(file_root)), "model")["evaluation"]
    assert evaluation == {
        "maxNewTokens": 16, "topK": 50, "topP": 0.9, "temperature": 0.7, "repetitionPenalty": 1.05, "seed": 3,
        "max_new_tokens": 16, "top_k": 50, "top_p": 0.9, "repetition_penalty": 1.05,
        "eosTokenId": 2, "padTokenId": 0, "bosTokenId": 2, "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 2,
    }  # fmt: skip


def test_every_stop_token_is_written(file_root: str, make_run: MakeRun) -> None:
    document = _published(make_run(file_root), TokenIds(eos=(151645, 151643), pad=151643, bos=5))
    evaluation = _settings(document, "model")["evaluation"]
    assert evaluation["eos_token_id"] == [151645, 151643]
    assert (evaluation["pad_token_id"], evaluation["bos_token_id"]) == (151643, 5)


def test_the_sdks_own_types_decode_it(file_root: str, make_run: MakeRun) -> None:
    import msgspec
    from vi.api.resources.training_projects.flows.responses import FlowSpec
    from vi.inference.config.qwenvl import QwenVLGenerationConfig

    document = _published(make_run(file_root, quantization_enabled=True, quantization_type="FP4"))
    flow = msgspec.convert(document["spec"]["flow"], type=FlowSpec)
    first = {
        word: next(block for block in flow.blocks if word in block.block)
        for word in ("dataset", "system-prompt", "model")
    }
    assert first["dataset"].settings["projectKind"] == "vqa"
    assert first["system-prompt"].settings["systemPrompt"] == "Answer in JSON."
    model = first["model"].settings
    assert model["architecture"] == {"name": "qwen3vl", "size": "2B"}
    assert model["quantization"] == {"enabled": True, "type": "FP4"}
    assert model["compute"]["precisionType"] == "Float32"
    generation = msgspec.convert(model["evaluation"], type=QwenVLGenerationConfig)
    assert (generation.max_new_tokens, generation.top_p, generation.seed) == (16, 0.9, 3)
    assert (generation.eos_token_id, generation.pad_token_id, generation.bos_token_id) == (2, 0, 2)


def test_what_the_platform_wrote_is_kept(file_root: str, make_run: MakeRun) -> None:
    assert _published(make_run(file_root))["platformKey"] == {"kept": True}


def test_it_says_that_the_run_has_ended_well_and_is_the_same_each_time(file_root: str, make_run: MakeRun) -> None:
    run = make_run(file_root)
    run.write_json(layout.stage_record("evaluate"), {"finished": "2026-01-02T03:04:05.678+00:00"})
    document = _published(run)
    conditions = {each["condition"]: each for each in document["status"]["conditions"]}
    assert conditions["Finished"]["status"] == "Reached"
    assert conditions["Finished"]["lastTransitionTime"] == 1767323045678
    assert _published(run) == document


@pytest.mark.parametrize(("do_sample", "written"), [(False, False), (True, None)])
def test_greedy_decoding_is_written_where_it_was_asked_for(
    file_root: str, make_run: MakeRun, do_sample: bool, written: bool | None
) -> None:
    sampling = {"max_new_tokens": 8, "top_k": 0, "top_p": 1.0, "temperature": 0.5, "repetition_penalty": 1.0}
    run = make_run(file_root, sampling={**sampling, "do_sample": do_sample})
    assert _settings(_published(run), "model")["evaluation"].get("do_sample") is written


def test_a_model_that_the_sdk_has_no_loader_for_is_warned_about(file_root: str, make_run: MakeRun) -> None:
    """Held against the loaders that the installed SDK registers, not against a list of ours."""
    from vi.inference.loaders import LoaderRegistry

    LoaderRegistry.get_loader(model_type="qwen3_vl")  # only now it looks for the others
    # The loader of the first DeepSeek-OCR is there, and wants packages that are not installed here.
    known = {*LoaderRegistry.list_model_types(), "deepseek_vl_v2"}
    made = Resolution.from_json(make_run(file_root).store.read(layout.RESOLUTION))
    for entry in load_catalog().values():
        for model_type in entry.model_types:
            run = made.run.model_copy(update={"architecture": entry.key})
            resolution = made.model_copy(update={"run": run, "facts": {"base_model": {"model_type": model_type}}})
            served = model_type in known
            assert (model_warning(resolution) is None) == served, model_type
            if not served:
                assert "Datature's SDK cannot load a deepseek_ocr2" in str(model_warning(resolution))

"""The stage ``airtune resolve``."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.errors import DefectError, NotPermittedError, SettingsError, StoreError
from airtune.resolution.device import Device
from airtune.resolution.stage import base_model_of, foresee, resolve
from airtune.runspec.document import RunDocument
from airtune.runspec.resolved import Resolution, ResolvedRun
from airtune.runspec.settings import all_settings
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

Make = Callable[..., RunDirectory]


def entry(resolution: Resolution, path: str) -> tuple[Any, str]:
    found = {each.path: each for each in resolution.entries}[path]
    return found.value, found.source


def test_a_run_that_asks_for_nothing_gets_every_value_with_a_source_and_a_reason(make_run: Make) -> None:
    resolution = resolve(make_run())
    run = resolution.run
    assert run.training_mode == "LoRA"
    assert (run.quantization_enabled, run.quantization_type, run.precision) == (False, "NF4", "BFloat16")
    assert (run.epochs, run.learning_rate, run.batch_size, run.gradient_accumulation) == (100, 1e-4, 8, 1)
    assert (run.optimizer, run.learning_rate_schedule, run.weight_decay) == ("AdamW", "constant", 0.01)
    assert (run.lora_rank, run.lora_alpha, run.max_pixels, run.early_stopping_patience) == (16, 32, 16384, 15)
    assert run.name == "Freeform-4B-LoRA-v1"
    draw = run.sampling
    assert (draw.max_new_tokens, draw.temperature, draw.top_p, draw.top_k) == (512, 1.0, 0.95, 50)
    assert (draw.repetition_penalty, draw.do_sample, draw.greedy) == (1.05, True, False)
    assert entry(resolution, "model.hyperparameters.epochs") == (100, "auto")
    assert entry(resolution, "model.hyperparameters.optimizer") == ("AdamW", "default")
    assert entry(resolution, "model.quantization.enabled") == (False, "user")
    for each in resolution.entries:
        assert re.fullmatch(r"\S.*\S\.", each.reason), each
        assert each.value is not None
    assert {each.path for each in resolution.entries} <= set(all_settings())


def test_what_the_run_json_sets_is_never_changed(make_run: Make, platform: dict[str, Any]) -> None:
    resolution = resolve(make_run(platform))
    run = resolution.run
    assert (run.epochs, run.learning_rate, run.batch_size, run.gradient_accumulation) == (12, 3e-5, 2, 4)
    assert (run.optimizer, run.quantization_type, run.precision) == ("Adam", "FP4", "Float16")
    assert (run.sampling.max_new_tokens, run.sampling.top_k, run.sampling.top_p) == (300, 20, 1.0)
    assert (run.sampling.do_sample, run.sampling.greedy, run.sampling.seed) == (False, True, 7)
    assert run.sampling.stop_strings == ("\n\n",)
    assert run.weight_decay == 0.0  # the default for Adam
    assert run.system_prompt_source == "user"
    assert run.name == "CraneInspection-7B-LoRA-NF4-v3"
    assert resolution.facts["next_name"] == "CraneInspection-7B-LoRA-NF4-v4"
    assert entry(resolution, "model.hyperparameters.learningRate") == (3e-5, "user")


def test_a_run_of_the_platform_goes_on_with_the_architecture_of_its_base_model(
    make_run: Make, platform: dict[str, Any]
) -> None:
    run = make_run(platform)
    resolution = resolve(run)
    assert (resolution.run.architecture, resolution.run.size) == ("qwen3vl", "7B")
    assert entry(resolution, "model.architecture.name") == ("qwen3vl", "auto")
    assert any("names qwen25vl, but the base model is a qwen3_vl" in warning for warning in resolution.warnings)
    published = json.loads(run.store.read(layout.RUN_JSON))
    assert published["spec"]["flow"]["blocks"][3]["settings"]["architecture"]["name"] == "qwen3vl"


def test_the_resolved_run_json_is_concrete_in_both_spellings_and_keeps_unknown_keys(
    make_run: Make, platform: dict[str, Any]
) -> None:
    run = make_run(platform)
    resolution = resolve(run)
    raw = json.loads(run.store.read(layout.RUN_JSON))
    model = raw["spec"]["flow"]["blocks"][3]["settings"]
    assert model["evaluation"]["temperature_note"] == "ours"
    assert model["architecture"]["revision"] == "main"
    assert raw["spec"]["flow"]["blocks"][2] == platform["spec"]["flow"]["blocks"][2]
    assert raw["spec"]["flow"]["settings"] == platform["spec"]["flow"]["settings"]
    for camel, snake in [
        ("maxNewTokens", "max_new_tokens"), ("topK", "top_k"), ("topP", "top_p"),
        ("repetitionPenalty", "repetition_penalty"), ("temperature", "temperature"),
    ]:  # fmt: skip
        assert model["evaluation"][camel] == model["evaluation"][snake]
    spec = RunDocument.from_object(raw).spec
    assert spec.model.hyperparameters.lora_rank == resolution.run.lora_rank
    assert spec.model.base_model == resolution.run.base_model
    assert spec.dataset.format == "vi"


def test_the_prompt_of_the_task_stands_in_the_resolved_run_json(make_run: Make) -> None:
    run = make_run()
    prompt = resolve(run).run.system_prompt
    assert prompt
    assert RunDocument.parse(run.store.read(layout.RUN_JSON)).spec.system_prompt == prompt


def test_vi_stands_as_the_sdks_own_prompt(make_run: Make) -> None:
    pytest.importorskip("vi")
    resolution = resolve(make_run(**{"system-prompt": "vi", "task": "vqa"}))
    assert resolution.run.system_prompt_source == "vi"
    assert len(resolution.run.system_prompt) > 1000
    assert not any("its own system prompt" in warning for warning in resolution.warnings)


def test_resolving_again_changes_nothing(make_run: Make) -> None:
    run = make_run()
    resolve(run)
    before = {info.key: info.version for info in run.store.list()}
    assert resolve(run) == Resolution.from_json(run.store.read(layout.RESOLUTION))
    assert {info.key: info.version for info in run.store.list()} == before


def test_a_run_that_has_begun_keeps_its_settings_on_another_machine(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    first = resolve(run)
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "80")
    assert resolve(run).run.batch_size == 32
    monkeypatch.delenv("AIRTUNE_GPU_MEMORY_GB")
    assert resolve(run) == first
    run.write_text(layout.TRAINING_METRICS, "{}\n")
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "80")
    assert resolve(run) == first


def test_the_status_in_run_json_survives(make_run: Make) -> None:
    run = make_run()
    document = RunDocument.parse(run.store.read(layout.RUN_JSON)).with_status(at_ms=5, log="begun")
    run.write_text(layout.RUN_JSON, document.to_json())
    resolve(run)
    assert json.loads(run.store.read(layout.RUN_JSON))["status"]["log"] == "begun"


def test_resolution_json_is_read_back_as_it_was_written(make_run: Make) -> None:
    resolution = resolve(make_run())
    assert Resolution.from_json(resolution.to_json()) == resolution
    with pytest.raises(SettingsError, match=r"resolution.json: run"):
        Resolution.from_json("{}")


def test_steps_and_adapter_are_estimated_exactly(make_run: Make, base_uri: str) -> None:
    resolution = resolve(make_run(**{"batch-size": 16, "gradient-accumulation": 3, "epochs": 2, "lora-rank": 4}))
    expected = resolution.estimate
    assert (expected["micro_steps_per_epoch"], expected["steps_per_epoch"], expected["steps"]) == (38, 13, 26)
    assert expected["effective_batch"] == 48
    linears = r"\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)\.weight"
    from airtune.resolution.base_model import read_base_model

    shapes = [
        tensor.shape
        for tensor in read_base_model(base_uri, where="x").tensors
        if "language_model" in tensor.name and re.search(linears, tensor.name)
    ]
    assert expected["trained_parameters"] == sum(4 * (rows + columns) for rows, columns in shapes)


def test_sft_trains_every_parameter_without_four_bit(make_run: Make) -> None:
    resolution = resolve(make_run(mode="SFT"))
    assert not resolution.run.quantization_enabled
    assert resolution.estimate["trained_parameters"] == resolution.run.parameters
    assert resolution.run.learning_rate == 5e-5


def test_four_bit_is_the_default_for_lora(make_run: Make) -> None:
    assert resolve(make_run(quantization="auto")).run.quantization_enabled


def test_a_dataset_that_was_not_validated_is_named(small: dict[str, Any], root_uri: str) -> None:
    run = RunDirectory.create(root_uri, "r1", json.dumps(small))
    with pytest.raises(SettingsError, match="run `airtune validate` first"):
        resolve(run)


def test_facts_of_another_version_are_named(make_run: Make, facts: dict[str, Any]) -> None:
    run = make_run()
    run.write_json(layout.FACTS, {key: value for key, value in facts.items() if key != "train_images"})
    with pytest.raises(DefectError, match="train_images"):
        resolve(run)


@pytest.fixture
def foreign_base(tmp_path: Path) -> Callable[[str], str]:
    """The tiny base under another model type."""

    def make(model_type: str) -> str:
        folder = Path(shutil.copytree(configs_root() / "demo" / "tiny-vlm", tmp_path / model_type))
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": model_type}))
        return folder.as_uri()

    return make


def test_a_base_model_that_nothing_trains_is_refused(make_run: Make, foreign_base: Callable[[str], str]) -> None:
    base = foreign_base("llama")
    path = Path(base.removeprefix("file://")) / "config.json"
    config = json.loads(path.read_text())
    del config["vision_config"]
    path.write_text(json.dumps(config))
    with pytest.raises(SettingsError) as caught:
        resolve(make_run(**{"base-model": base}))
    message = str(caught.value)
    assert "the base model is a 'llama', which no architecture of the catalog trains" in message
    assert "its config.json describes no vision encoder" in message
    assert "add include/configs/catalog/KEY.yaml" in message
    assert "qwen3_vl" in message


def test_a_base_model_whose_type_is_shared_keeps_the_architecture_that_was_named(
    make_run: Make, small: dict[str, Any]
) -> None:
    small["spec"]["flow"]["blocks"][1]["settings"]["architecture"]["name"] = "Cosmos-Reason2"
    resolution = resolve(make_run(small))
    assert resolution.run.architecture == "cosmosreason2"
    assert not any("names" in warning and "base model" in warning for warning in resolution.warnings)


def test_code_that_ships_with_a_model_needs_permission(
    make_run: Make, foreign_base: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(**{"base-model": foreign_base("deepseek_vl_v2"), "size": "3B"})
    with pytest.raises(NotPermittedError, match="runs code that ships with the model"):
        resolve(run)
    monkeypatch.setenv("AIRTUNE_ALLOW_REMOTE_CODE", "1")
    assert resolve(run).run.architecture == "deepseekocr"


def test_nvila_is_trained_with_sft_and_needs_no_code_from_elsewhere(
    make_run: Make, foreign_base: Callable[[str], str]
) -> None:
    resolution = resolve(make_run(**{"base-model": foreign_base("nvila"), "size": "2B"}))
    assert (resolution.run.architecture, resolution.run.training_mode) == ("nvila", "SFT")


def test_what_the_base_models_architecture_forbids_is_refused(
    make_run: Make, foreign_base: Callable[[str], str]
) -> None:
    with pytest.raises(SettingsError, match="NVILA-Lite, which the base model is, cannot be trained in this mode"):
        resolve(make_run(**{"base-model": foreign_base("nvila"), "mode": "LoRA"}))


@pytest.mark.parametrize("damage", ["size", "merge_size"])
def test_max_pixels_is_refused_where_the_processor_cannot_keep_to_it(
    make_run: Make, foreign_base: Callable[[str], str], damage: str
) -> None:
    base = foreign_base("qwen3_vl")
    path = Path(base.removeprefix("file://")) / "processor_config.json"
    config = json.loads(path.read_text())
    del config["image_processor"][damage]
    path.write_text(json.dumps(config))
    run = make_run(**{"base-model": base, "max-pixels": 4096})
    with pytest.raises(SettingsError, match="does not scale pictures to an area"):
        resolve(run)
    assert resolve(make_run(run_id="r2", **{"base-model": base})).run.max_pixels is None


def test_max_pixels_below_one_image_token_is_refused(make_run: Make) -> None:
    with pytest.raises(SettingsError, match=r"maxPixels: is less than one image token \(got 100\); allowed: >= 256"):
        resolve(make_run(**{"max-pixels": 100}))


def test_a_run_that_its_gpu_cannot_hold_is_refused_unless_the_run_says_otherwise(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "0.1")
    with pytest.raises(SettingsError, match="GPU memory: this run does not fit"):
        resolve(make_run())
    tried = resolve(make_run(run_id="r2", **{"ignore-estimate": True}))
    assert tried.estimate["verdict"]["verdict"] == "Deny"


def test_early_stopping_goes_by_the_loss_or_by_a_score_that_the_task_has(make_run: Make) -> None:
    assert resolve(make_run()).run.early_stopping_metric == "loss"
    asked = make_run(run_id="r2", **{"early-stopping-metric": "token_f1"})
    assert resolve(asked).run.early_stopping_metric == "token_f1"
    wrong = make_run(run_id="r3", **{"early-stopping-metric": "f1_50"})
    with pytest.raises(SettingsError, match=r"earlyStoppingMetric: is no score of the task freeform .got 'f1_50'"):
        resolve(wrong)


def test_a_base_model_from_elsewhere_is_refused(
    make_run: Make, dataset_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", dataset_uri)
    with pytest.raises(NotPermittedError, match="does not read from there"):
        resolve(run)


def test_without_a_base_model_the_catalogs_is_taken(platform: dict[str, Any]) -> None:
    assert base_model_of(RunDocument.from_object(platform)) == "Qwen/Qwen2.5-VL-7B-Instruct"


def test_a_resolved_run_is_strict() -> None:
    with pytest.raises(ValueError, match="epochs"):
        ResolvedRun.model_validate({"epochs": True})


# ---- foresight ------------------------------------------------------------------------------------------------------


def test_a_run_that_no_gpu_of_that_size_can_hold_ends_before_it_is_taken(
    make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "0.5")  # CUDA's context alone takes more
    run = make_run()
    with pytest.raises(SettingsError) as caught:
        resolve(run)
    assert caught.value.exit_code == 64
    message = str(caught.value)
    assert "GPU memory: this run does not fit" in message
    assert "allowed: <= 0.5 GB" in message
    assert "airtune.ignoreEstimate" in message
    written = Resolution.from_json(run.store.read(layout.RESOLUTION))
    assert written.estimate["verdict"]["verdict"] == "Deny"


def test_a_person_may_know_better_than_the_estimate(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "0.5")
    resolution = resolve(make_run(**{"ignore-estimate": True}))
    assert resolution.estimate["verdict"]["verdict"] == "Deny"
    assert entry(resolution, "model.airtune.ignoreEstimate") == (True, "user")
    assert any("are needed and the GPU has 0.5" in warning for warning in resolution.warnings)


def test_memory_time_and_verdict_are_in_the_resolution(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "24")
    found = resolve(make_run()).estimate
    assert found["verdict"]["verdict"] == "Allow"
    assert set(found["memory"]) >= {
        "weights", "adapters", "gradients", "optimizer", "activations", "logits", "vision", "overhead", "peak",
    }  # fmt: skip
    assert found["memory"]["peak"] == found["memory"]["allocated"] + found["memory"]["overhead"]
    assert found["pace"] is None  # of a GPU of which the memory alone is known
    monkeypatch.delenv("AIRTUNE_GPU_MEMORY_GB")
    on_cpu = resolve(make_run(run_id="r2")).estimate
    assert on_cpu["pace"]["seconds"] > 0
    assert on_cpu["verdict"]["verdict"] is None
    assert on_cpu["memory"]["overhead"] == 0


def test_the_estimate_is_a_table_for_people(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from airtune.resolution.estimate_table import estimate_lines

    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "24")
    text = "\n".join(estimate_lines(resolve(make_run()).estimate))
    for part in ("trained", "language", "weights", "optimizer", "activations", "peak", "verdict    Allow", "packing"):
        assert part in text
    unknown = {**resolve(make_run(run_id="r2")).estimate, "missing": "not known before the model is fetched"}
    assert "parameters, memory and time: not known before" in "\n".join(estimate_lines(unknown))


def test_a_hub_that_does_not_answer_stops_a_run_and_not_an_estimate(
    make_run: Make, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    run = make_run(**{"base-model": "Qwen/Qwen3-VL-4B-Instruct", "size": "4B"})
    with pytest.raises(StoreError, match="does not answer"):
        resolve(run)
    found = foresee(run, Device("L4", 24.0, 8.9, 1, "test"), hub_needed=False)
    assert found.facts["base_model"]["known_from"] == "published"
    assert found.estimate["trained_parameters"] == 36 * 16 * (2560 * 7 + 4096 * 2 + 1024 * 2 + 9728 * 3)
    assert found.estimate["verdict"]["verdict"] in ("Allow", "Warn")
    assert found.estimate["pace"]["device"] == "L4"

"""The catalog as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from airtune.catalog import registry
from airtune.catalog.entry import band
from airtune.errors import SettingsError

# Key, model type, class, sizes and video, as the platform's contract lists them.
CONTRACT = {
    "qwen25vl": ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", "3B 7B 32B", True),
    "cosmosreason1": ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", "7B", True),
    "qwen3vl": ("qwen3_vl", "Qwen3VLForConditionalGeneration", "2B 4B 8B 32B", True),
    "cosmosreason2": ("qwen3_vl", "Qwen3VLForConditionalGeneration", "2B 8B", True),
    "internvl35": ("internvl", "InternVLForConditionalGeneration", "1B 2B 4B 8B 14B 38B", True),
    "llavanext": ("llava_next", "LlavaNextForConditionalGeneration", "8B", True),
    "qwen35": ("qwen3_5", "Qwen3_5ForConditionalGeneration", "0.8B 2B 4B 9B 27B", True),
    "qwen36": ("qwen3_5_moe", "Qwen3_5MoeForConditionalGeneration", "35B-A3B", True),
    "gemma4": ("gemma4", "Gemma4ForConditionalGeneration", "E2B E4B 26B-A4B 31B", True),
    "nvila": ("nvila", "NVILALiteForConditionalGeneration", "2B", False),
    "deepseekocr": ("deepseek_vl_v2", "DeepseekOcr2ForConditionalGeneration", "3B", False),
}


def test_the_catalog_has_exactly_the_platforms_architectures() -> None:
    found = {
        entry.key: (entry.model_type, entry.hf_class, " ".join(entry.sizes), entry.video)
        for entry in registry.load_catalog().values()
    }
    assert found == CONTRACT


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("qwen25vl", "qwen25vl"),
        ("Qwen2.5-VL", "qwen25vl"),
        ("qwen 2.5 vl", "qwen25vl"),
        ("Qwen3-VL", "qwen3vl"),
        ("Qwen 3.6", "qwen36"),
        ("NVILA-Lite", "nvila"),
        ("InternVL 3.5", "internvl35"),
        ("Gemma 4", "gemma4"),
        ("Cosmos Reason2", "cosmosreason2"),
        ("LLaVA-NeXT", "llavanext"),
        ("DeepSeek-OCR", "deepseekocr"),
    ],
)
def test_an_entry_is_found_by_key_or_display_name(name: str, key: str) -> None:
    assert registry.entry(name).key == key


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError) as caught:
        registry.entry("qwen3-vll", where="here")
    (problem,) = caught.value.problems
    assert problem.where == "here"
    assert problem.fix == "did you mean 'Qwen3-VL'?"
    assert "qwen25vl, qwen35, qwen36, qwen3vl" in str(problem.allowed)


def test_a_model_type_leads_to_its_entry_and_the_hint_decides_between_several() -> None:
    assert registry.entry_for_model_type("qwen2_5_vl") == registry.entry("qwen25vl")
    assert registry.entry_for_model_type("qwen2_5_vl", hint="cosmosreason1") == registry.entry("cosmosreason1")
    assert registry.entry_for_model_type("qwen3_vl", hint="cosmosreason1") == registry.entry("qwen3vl")
    assert registry.entry_for_model_type("deepseek_ocr2") == registry.entry("deepseekocr")
    assert registry.entry_for_model_type("llama") is None


def test_nvila_is_trained_with_sft_only() -> None:
    assert [entry.key for entry in registry.load_catalog().values() if "LoRA" not in entry.modes] == ["nvila"]


def test_remote_code_is_asked_for_only_where_transformers_has_no_class() -> None:
    assert {entry.key for entry in registry.load_catalog().values() if entry.runs_remote_code(None)} == {"deepseekocr"}
    assert not registry.entry("deepseekocr").runs_remote_code("deepseek_ocr2")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (1, "Small"),
        (4_999_999_999, "Small"),
        (5_000_000_000, "Medium"),
        (14_999_999_999, "Medium"),
        (15 * 10**9, "Large"),
    ],
)
def test_the_band_follows_the_parameters(parameters: int, expected: str) -> None:
    assert band(parameters) == expected


def test_the_bands_of_the_published_sizes_are_those_of_the_platform() -> None:
    bands = {
        f"{key} {name}": size.band
        for key, entry in registry.load_catalog().items()
        for name, size in entry.sizes.items()
    }
    assert bands["qwen25vl 3B"] == bands["qwen3vl 4B"] == "Small"
    assert bands["qwen25vl 7B"] == bands["qwen35 9B"] == "Medium"
    assert bands["qwen25vl 32B"] == bands["qwen36 35B-A3B"] == bands["qwen35 27B"] == "Large"


def test_a_damaged_catalog_names_file_and_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "catalog"
    folder.mkdir()
    good = (Path(registry.configs_root()) / "catalog" / "qwen3vl.yaml").read_text()
    (folder / "qwen3vl.yaml").write_text(good.replace("^lm_head", "lm_head").replace("video: true", "video: perhaps"))
    (folder / "other.yaml").write_text(good)
    (folder / "broken.yaml").write_text("{")
    monkeypatch.setenv("AIRTUNE_CONFIGS", str(tmp_path))
    with pytest.raises(SettingsError) as caught:
        registry.load_catalog()
    text = str(caught.value)
    assert "broken.yaml: is not a YAML file" in text
    assert "other.yaml: the key differs from the file's name (got qwen3vl)" in text
    assert "qwen3vl.yaml: video" in text
    assert "is not anchored" in text

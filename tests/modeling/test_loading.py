from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airtune.catalog.registry import entry
from airtune.configs import configs_root
from airtune.errors import SettingsError

pytestmark = pytest.mark.training

TINY = configs_root() / "demo" / "tiny-vlm"
Resolved = Callable[..., Any]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A copy of the tiny base, to be damaged."""
    return Path(shutil.copytree(TINY, tmp_path / "base"))


def test_max_pixels_is_effective_and_saved_with_the_processor(resolved: Resolved, tmp_path: Path) -> None:
    """Notes, 8: token counts, not settings."""
    from PIL import Image

    from airtune.modeling.loading import load_processor
    from airtune.modeling.picture_tokens import image_tokens

    plain = load_processor(TINY, resolved())
    assert image_tokens(plain, [(1000, 1000)]) == [64]
    limited = load_processor(TINY, resolved(max_pixels=48 * 48))
    assert image_tokens(limited, [(1000, 1000), (48, 48)]) == [9, 9]
    features = limited(text=["<|image_pad|>"], images=[Image.new("RGB", (500, 500))], return_tensors="pt")
    assert int((features["input_ids"] == limited.image_token_id).sum()) == 9
    assert features["pixel_values"].shape[0] == 36
    limited.save_pretrained(str(tmp_path / "saved"))
    assert image_tokens(load_processor(tmp_path / "saved"), [(1000, 1000)]) == [9]


def test_a_limit_below_one_token_is_refused(resolved: Resolved) -> None:
    from airtune.modeling.loading import load_processor

    with pytest.raises(SettingsError, match=r"maxPixels: is less than one image token \(got 100\); allowed: >= 256"):
        load_processor(TINY, resolved(max_pixels=100))


def test_a_model_that_lacks_weights_is_refused_and_never_filled_with_random_ones(
    resolved: Resolved, base: Path
) -> None:
    from safetensors.torch import load_file, save_file

    from airtune.modeling.loading import load_model

    weights = load_file(base / "model.safetensors")
    weights.pop(next(name for name in weights if "up_proj" in name))
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SettingsError, match=r"1 weights are missing or of another shape: .*up_proj"):
        load_model(base, resolved(), entry=entry("qwen3vl"), for_training=True)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda base: (base / "model.safetensors").write_bytes(b"not weights"), "cannot be loaded"),
        (lambda base: (base / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda base: (base / "config.json").write_text('{"model_type": "bert"}'), "cannot be loaded"),
        (lambda base: (base / "config.json").write_text("{"), "cannot be loaded"),
    ],
)
def test_a_damaged_model_is_refused_in_words(resolved: Resolved, base: Path, damage: Any, said: str) -> None:
    from airtune.modeling.loading import load_model

    damage(base)
    with pytest.raises(SettingsError, match=said):
        load_model(base, resolved(), entry=entry("qwen3vl"), for_training=True)


def test_a_model_without_a_chat_template_or_processor_is_refused(base: Path) -> None:
    from airtune.modeling.loading import load_processor

    (base / "chat_template.jinja").unlink()
    with pytest.raises(SettingsError, match="has no chat template"):
        load_processor(base)
    (base / "processor_config.json").unlink()
    with pytest.raises(SettingsError, match=r"cannot be loaded|has no processor"):
        load_processor(base)


def test_full_fine_tuning_loads_float32_and_serving_loads_the_precision(resolved: Resolved) -> None:
    import torch

    from airtune.modeling.loading import load_model

    run = resolved(training_mode="SFT", precision="BFloat16")
    trained = load_model(TINY, run, entry=entry("qwen3vl"), for_training=True)
    served = load_model(TINY, run, entry=entry("qwen3vl"), for_training=False)
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
    assert {p.dtype for p in served.parameters()} == {torch.bfloat16}


def test_a_saved_adapter_gives_equal_logits_and_names_no_folder_of_this_machine(
    resolved: Resolved, tmp_path: Path
) -> None:
    import torch

    from airtune.modeling.adapters import add_adapters, load_adapter, save_adapter
    from airtune.modeling.loading import load_model

    run = resolved()
    model = add_adapters(load_model(TINY, run, entry=entry("qwen3vl"), for_training=True), run, entry("qwen3vl"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    ids = torch.arange(10, 30).unsqueeze(0)
    model.eval()
    save_adapter(model, tmp_path / "adapter", base_model=TINY.as_uri())
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] is None
    assert str(TINY) not in json.dumps(config)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    again = load_adapter(load_model(TINY, run, entry=entry("qwen3vl"), for_training=False), tmp_path / "adapter")
    with torch.no_grad():
        trained, loaded = model(input_ids=ids).logits, again(input_ids=ids).logits
        with again.disable_adapter():
            plain = again(input_ids=ids).logits
    assert torch.equal(trained, loaded)
    assert not torch.allclose(plain, loaded)
    save_adapter(model, tmp_path / "adapter", base_model="Qwen/Qwen3-VL-2B-Instruct")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "Qwen/Qwen3-VL-2B-Instruct"

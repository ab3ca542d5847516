"""LoRA adapters: put on a base model, saved so that they load anywhere, and loaded again."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, Final

from airtune.catalog.entry import CatalogEntry
from airtune.errors import DefectError, Problem, SettingsError
from airtune.modeling.parts import count_by_part
from airtune.runspec.resolved import ResolvedRun

ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"


def add_adapters(model: Any, run: ResolvedRun, entry: CatalogEntry) -> Any:
    """The model with LoRA on the linear layers of its language model, and nothing else to train.

    The layers are matched by anchored full names: a bare ``q_proj`` is met in many a vision tower, too. Adapters are
    float32 whatever the precision. ``prepare_model_for_kbit_training`` is not used: it would turn every weight that
    is not quantised into float32 (3.5 GB on a 7B) and gains nothing when embeddings and norms are frozen.

    Raises:
        SettingsError: no layer has one of the catalog's names.
        DefectError: a part other than the language model got adapters.
    """
    from peft import LoraConfig, get_peft_model

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(
        r=run.lora_rank,
        lora_alpha=run.lora_alpha,
        lora_dropout=run.lora_dropout,
        target_modules=entry.lora_target_pattern,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers has renamed
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise SettingsError(
            Problem("architecture.name", "no layer of the base model has a name that LoRA adapts here",
                    value=entry.key, allowed=entry.lora_target_pattern)
        ) from error  # fmt: skip
    strangers = {part: count.trained for part, count in count_by_part(adapted, entry).items() if part != "language"}
    if any(strangers.values()):
        raise DefectError(
            Problem("LoRA", f"adapters outside the language model: {strangers}", fix="mend the catalog's module map")
        )
    return adapted


def load_adapter(model: Any, folder: Path) -> Any:
    """The base model with a saved adapter on it, in evaluation mode; ``disable_adapter()`` gives the base back."""
    from peft import PeftModel

    if not (folder / ADAPTER_CONFIG).is_file() or not (folder / ADAPTER_WEIGHTS).is_file():
        raise SettingsError(Problem(str(folder), "is no adapter", allowed=f"{ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers has renamed
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    adapted.eval()
    return adapted


def save_adapter(model: Any, folder: Path, *, base_model: str) -> None:
    """Writes ``adapter_config.json`` and ``adapter_model.safetensors``; the folder appears whole or not at all.

    Args:
        model: the model with its adapters.
        folder: is replaced.
        base_model: where the base model is; written down where it means something on another machine too.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    # "auto" would ask the hub about embeddings; they are never trained here.
    model.save_pretrained(str(temporary), safe_serialization=True, save_embedding_layers=False)
    (temporary / "README.md").unlink(missing_ok=True)
    config_file = temporary / ADAPTER_CONFIG
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None if base_model.startswith(("file:", "/")) else base_model
    config["inference_mode"] = True
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)

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
from airtune.modeling.parts import count_by_part, is_adapter
from airtune.runspec.resolved import ResolvedRun

ADAPTER_CONFIG: Final = "adapter_config.json"
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_ADAPTER_NAME: Final = ".default."
"""PEFT's name of a model's only adapter, which stands in its parameters' names and not in the file."""


def add_adapters(model: Any, run: ResolvedRun, entry: CatalogEntry) -> Any:
    """The model with LoRA on the linear layers of its language model, and nothing else to train.

    The layers are matched by anchored full names: a bare ``q_proj`` is met in many a vision tower, too. Adapters are
    float32 whatever the precision. ``prepare_model_for_kbit_training`` is not used: it would turn every weight that
    is not quantised into float32 (3.5 GB on a 7B) and gains nothing when embeddings and norms are frozen.

    Routed experts are no linear layers but one tensor a layer and kind: each expert gets its own pair of matrices of
    the run's rank (``target_parameters``), so they are trained, too.

    Raises:
        SettingsError: no layer has one of the catalog's names; or dropout was asked for in adapters of experts.
        DefectError: a part other than the language model got adapters.
    """
    from peft import LoraConfig, get_peft_model

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    experts = expert_parameters(model, entry)
    if experts and run.lora_dropout:
        raise SettingsError(
            Problem("loraDropout", f"adapters of routed experts have no dropout, and {entry.display_name} has experts",
                    value=str(run.lora_dropout), allowed="0")
        )  # fmt: skip
    config = LoraConfig(
        r=run.lora_rank,
        lora_alpha=run.lora_alpha,
        lora_dropout=run.lora_dropout,
        target_modules=entry.lora_target_pattern,
        target_parameters=sorted({name.split(".layers.")[-1].partition(".")[2] for name in experts}) or None,
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


def expert_parameters(model: Any, entry: CatalogEntry) -> list[str]:
    """Full names of the fused tensors of the language model's routed experts; empty where it has none."""
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() == 3 and name.endswith(tuple(f".{last}" for last in entry.lora_experts))
        and entry.part_of(name) == "language"
    ]  # fmt: skip


def load_adapter(model: Any, folder: Path) -> Any:
    """The base model with a saved adapter on it, in evaluation mode; ``disable_adapter()`` gives the base back.

    Every weight finds its place, or the adapter is refused: where names do not match, PEFT's own loader gives a warning
    and a model that answers as if it had never been trained.

    Raises:
        SettingsError: there is no adapter, or it is one of another model.
    """
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file

    if not (folder / ADAPTER_CONFIG).is_file() or not (folder / ADAPTER_WEIGHTS).is_file():
        raise SettingsError(Problem(str(folder), "is no adapter", allowed=f"{ADAPTER_CONFIG} and {ADAPTER_WEIGHTS}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers has renamed
        adapted = get_peft_model(model, LoraConfig.from_pretrained(str(folder), inference_mode=True))
    saved = load_file(folder / ADAPTER_WEIGHTS)
    wanted = {name.replace(_ADAPTER_NAME, "."): p for name, p in adapted.named_parameters() if is_adapter(name)}
    if saved.keys() == {_old_name(name) for name in wanted}:
        wanted = {_old_name(name): parameter for name, parameter in wanted.items()}
    if {name: value.shape for name, value in saved.items()} != {name: p.shape for name, p in wanted.items()}:
        strange = sorted(saved.keys() ^ wanted.keys()) or ["shapes differ"]
        raise SettingsError(
            Problem(str(folder), f"is an adapter of another model: {len(strange)} tensors do not match, {strange[0]}")
        )
    for name, parameter in wanted.items():
        parameter.requires_grad_(False).copy_(saved[name])
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
    _spell_for_loaders(model, temporary / ADAPTER_WEIGHTS)
    config_file = temporary / ADAPTER_CONFIG
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = None if base_model.startswith(("file:", "/")) else base_model
    config["inference_mode"] = True
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _old_name(name: str) -> str:
    """A weight's name as checkpoints had it before the language model was a module of its own."""
    return name.replace(".language_model.", ".", 1)


def _spell_for_loaders(model: Any, file: Path) -> None:
    """Gives the weights the names that PEFT's and transformers' own loaders lead to the right places.

    Both rename what they read by the rules for the base model's old checkpoints. DeepSeek-OCR's rules take
    ``language_model.layers`` for ``layers`` and put another ``language_model`` before it: no adapter with the model's
    present names can be loaded there, one with the old names can.
    """
    from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers
    from safetensors.torch import load_file, save_file

    weights = load_file(file)
    config = model.peft_config["default"]
    if convert_peft_adapter_state_dict_for_transformers(model, config, weights).keys() == weights.keys():
        return
    old = {_old_name(name): value for name, value in weights.items()}
    if convert_peft_adapter_state_dict_for_transformers(model, config, old).keys() == weights.keys():
        save_file(old, file, metadata={"format": "pt"})

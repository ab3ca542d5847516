"""The predicted peak of memory: by hand, as a rule of more and less, and against what torch keeps."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from airtune.catalog import registry
from airtune.configs import configs_root
from airtune.resolution import activations
from airtune.resolution.base_model import BaseModel, read_base_model, read_published
from airtune.resolution.lengths import Row
from airtune.resolution.memory import CONTEXT, Memory, memory
from airtune.resolution.parameters import count
from airtune.runspec.resolved import ResolvedRun

HUB = {
    "qwen25vl": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3vl": "Qwen/Qwen3-VL-8B-Instruct",
    "internvl35": "OpenGVLab/InternVL3_5-8B-HF",
    "llavanext": "llava-hf/llama3-llava-next-8b-hf",
}


@cache
def base_of(key: str) -> BaseModel:
    return read_published(HUB[key])


def predicted(run: ResolvedRun, row: Row, key: str = "qwen3vl", *, passes: int = 1, on_gpu: bool = True) -> Memory:
    entry, base = registry.entry(key), base_of(key)
    found = memory(run, entry, base, count(run, entry, base.tensors), row, passes=passes, on_gpu=on_gpu)
    assert found is not None
    return found


def row_of(rows: int = 1, length: int = 2000) -> Row:
    return Row(rows, length, labels=40 * rows, patches=4096 * rows, largest_picture=4096, picture_tokens=1024 * rows)


def test_weights_adapters_gradients_and_moments_are_counted(run_of: Any) -> None:
    found = predicted(run_of(lora_rank=16), row_of())
    linears = 36 * 16 * ((4096 + 4096) * 2 + (4096 + 1024) * 2 + (4096 + 12_288) * 3)
    assert (found.adapters, found.gradients, found.optimizer) == (4 * linears, 4 * linears, 8 * linears)
    assert found.weights == 2 * 8_767_123_696
    assert found.logits == 40 * 151_936 * 12
    assert found.overhead > CONTEXT
    assert found.peak == found.allocated + found.overhead


def test_full_fine_tuning_takes_sixteen_bytes_a_parameter_and_more(run_of: Any) -> None:
    found = predicted(run_of(training_mode="SFT"), row_of(length=100))
    assert found.weights + found.gradients + found.optimizer == 16 * 8_767_123_696
    assert found.moment == "update"
    later = predicted(run_of(training_mode="SFT"), row_of(length=100), passes=2)
    assert later.moment == "later forward"
    assert later.peak > found.peak


def test_a_checkpointed_layer_keeps_its_input_alone(run_of: Any) -> None:
    run, base = run_of(), base_of("qwen3vl")
    own = [tensor for tensor in base.tensors if tensor.name.startswith("model.language_model.")]
    kept = activations.language(run, base.config, own, count(run, registry.entry("qwen3vl"), own).adapted, on_gpu=True)
    assert len(kept.layers) == 36
    assert kept.entry == 2 * 4096
    row = row_of()
    saved = kept.bytes_of(row, checkpointing=False) - kept.bytes_of(row, checkpointing=True)
    assert saved == 35 * (row.tokens * (kept.layers[0]) + kept.pair * row.pairs) - 36 * row.tokens * kept.entry


def test_a_layer_of_the_decoder_by_hand(run_of: Any) -> None:
    run, base = run_of(lora_dropout=0.0, precision="Float32"), base_of("llavanext")
    own = [tensor for tensor in base.tensors if tensor.name.startswith("model.language_model.")]
    kept = activations.language(
        run, base.config, own, count(run, registry.entry("llavanext"), own).adapted, on_gpu=True
    )
    norms = 2 * 4 * (4096 + 1)
    adapters = 4 * (4096 + 4096 + 14_336 + 7 * 16)  # qkv's input, that of the MLP, that of its last layer, seven ranks
    attention = 4 * 4 * 4096 + 4 * 32
    inside = 3 * 4 * 14_336
    assert kept.layers[0] == norms + adapters + attention + inside


runs = some.fixed_dictionaries(
    {
        "training_mode": some.sampled_from(["LoRA", "SFT"]),
        "precision": some.sampled_from(["BFloat16", "Float16", "Float32"]),
        "lora_rank": some.sampled_from([1, 16, 64]),
        "lora_dropout": some.sampled_from([0.0, 0.1]),
        "gradient_checkpointing": some.booleans(),
    }
)
keys = some.sampled_from(sorted(HUB))
rows = some.builds(row_of, some.integers(1, 8), some.integers(100, 6000))


@given(runs, keys, rows, some.integers(1, 2))
def test_more_samples_never_need_less(run_of: Any, values: dict[str, Any], key: str, row: Row, passes: int) -> None:
    run = run_of(**values)
    more = row_of(row.rows + 1, row.length)
    longer = row_of(row.rows, row.length + 100)
    here = predicted(run, row, key, passes=passes).peak
    assert predicted(run, more, key, passes=passes).peak >= here
    assert predicted(run, longer, key, passes=passes).peak >= here
    assert predicted(run, row, key, passes=passes + 1).peak >= here


@given(runs, keys, rows)
def test_four_bit_needs_less(run_of: Any, values: dict[str, Any], key: str, row: Row) -> None:
    run = run_of(**(values | {"training_mode": "LoRA"}))
    four_bit = run.model_copy(update={"quantization_enabled": True})
    assert predicted(four_bit, row, key).weights < 0.5 * predicted(run, row, key).weights
    assert predicted(four_bit, row, key).peak < predicted(run, row, key).peak


@given(runs, keys, rows)
def test_checkpointing_never_needs_more(run_of: Any, values: dict[str, Any], key: str, row: Row) -> None:
    run = run_of(**(values | {"gradient_checkpointing": False}))
    again = run.model_copy(update={"gradient_checkpointing": True})
    assert predicted(again, row, key).peak <= predicted(run, row, key).peak


@given(runs, keys, rows)
def test_lora_needs_less_than_full_fine_tuning(run_of: Any, values: dict[str, Any], key: str, row: Row) -> None:
    lora, full = (run_of(**(values | {"training_mode": mode})) for mode in ("LoRA", "SFT"))
    assert predicted(lora, row, key).peak < predicted(full, row, key).peak


@pytest.mark.training
@pytest.mark.parametrize(
    "form",
    [
        {"precision": "Float32", "lora_dropout": 0.0},
        {"precision": "Float32", "lora_dropout": 0.1},
        {"precision": "BFloat16", "lora_dropout": 0.0},
        {"precision": "BFloat16", "lora_dropout": 0.1},
        {"precision": "BFloat16", "quantization_enabled": True},
        {"precision": "Float32", "training_mode": "SFT"},
    ],
    ids=lambda form: "-".join(map(str, form.values())),
)
def test_the_ledger_is_what_torch_keeps(run_of: Any, form: dict[str, Any]) -> None:
    """Bytes that autograd holds after one forward pass of the demonstration's base, on the CPU."""
    import torch

    from airtune.modeling.adapters import add_adapters
    from airtune.modeling.loading import load_model

    folder, entry, length = configs_root() / "demo" / "tiny-vlm", registry.entry("qwen3vl"), 256
    run = run_of(lora_rank=4, **form)
    model = load_model(folder, run, entry=entry, for_training=True, device=torch.device("cpu"))
    model = add_adapters(model, run, entry) if run.training_mode == "LoRA" else model.requires_grad_(True)
    model.train()
    held = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            kept[storage.data_ptr()] = storage
        return tensor

    inputs = {
        "input_ids": torch.randint(10, 300, (1, length)),
        "attention_mask": torch.tril(torch.ones(length, length, dtype=torch.bool))[None, None],
        "position_ids": torch.arange(length)[None, None].expand(3, 1, length),
    }
    inputs["attention_mask"][..., length // 2 :, 3:5] = False
    half = run.precision == "BFloat16"
    cast = torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()
    with cast, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(**inputs, use_cache=False, logits_to_keep=1)
    base = read_base_model(folder.as_uri(), where="x")
    own = [tensor for tensor in base.tensors if entry.part_of(tensor.name) == "language"]
    counted = count(run, entry, base.tensors)
    found = activations.language(run, base.config, own, counted.adapted, on_gpu=False)
    mine = length * sum(found.layers) + len(found.layers) * found.pair * length**2
    assert mine == pytest.approx(sum(storage.nbytes() for storage in kept.values()), rel=0.07)

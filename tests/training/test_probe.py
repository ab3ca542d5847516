"""The probe before the run, and what is done when memory runs out: for real, under a limit of the address space."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_tiny
from training_runs import draw_dataset, record, resolved, write_run

from airtune.errors import ExitCode

pytestmark = pytest.mark.training

Assemble = Callable[..., Any]
SUPPORT = Path(__file__).parents[1] / "support"


def lengths(pieces: Any) -> list[int]:
    return [pieces.train[index].encoded.length for index in range(len(pieces.train))]


def test_what_is_trained_is_the_same_with_and_without_the_probe(assemble: Assemble) -> None:
    import torch

    from airtune.training.probe import Probe

    settings = {"epochs": 1, "train": 6, "batch_size": 2, "gradient_accumulation": 2, "lora_dropout": 0.2}
    plain, probed = assemble(**settings), assemble(**settings)
    probed.trainer.add_callback(Probe(probed.trainer, lengths(probed)))
    for pieces in (plain, probed):
        torch.manual_seed(11)
        pieces.fit()
    assert any("probe: the largest pass" in line for line in probed.said)
    for name, weight in plain.trained().items():
        assert torch.equal(weight, probed.trained()[name]), name
    assert plain.trainer.state.num_input_tokens_seen == probed.trainer.state.num_input_tokens_seen


def test_the_probe_takes_the_largest_micro_batch_of_all_epochs(assemble: Assemble) -> None:
    from airtune.training.probe import Probe
    from airtune.training.samples import Batches

    pieces = assemble(epochs=5, train=7, batch_size=3)
    trainer, known = pieces.trainer, lengths(pieces)
    trainer.data_collator = Batches(pieces.encoder)  # padded: tokens as can be counted here
    row, ids = Probe(trainer, known).largest()
    padded = []
    for epoch in range(5):
        trainer.order.set_epoch(epoch)
        order = list(trainer.order)
        padded += [3 * max(known[index] for index in order[start : start + 3]) for start in (0, 3)]
    assert row.tokens == max(padded)
    tokens = {record.id: length for record, length in zip(pieces.train.records, known, strict=True)}
    assert len(ids) == 3
    assert max(tokens[name] for name in ids) == max(known)


def test_while_it_is_probed_gradients_and_moments_take_their_room(assemble: Assemble) -> None:
    """As in a later step of the run; afterwards nothing of them is left."""
    from airtune.training.probe import Probe

    pieces = assemble(train=4, batch_size=2, gradient_accumulation=2, epochs=1)
    trainer, trained = pieces.trainer, [p for p in pieces.model.parameters() if p.requires_grad]
    trainer.create_optimizer()
    trainer.state.max_steps = 1
    found: list[int] = []

    def look(*given: Any) -> None:
        found.append(tensors_like(trained))

    before = tensors_like(trained)
    hook = pieces.model.register_forward_pre_hook(look)
    Probe(trainer, lengths(pieces)).on_train_begin(None, trainer.state, None)
    hook.remove()
    assert found == [before + 3 * sum(p.numel() for p in trained)]
    assert tensors_like(trained) == before
    assert all(p.grad is None for p in trained)
    assert not trainer.optimizer.state


def tensors_like(parameters: list[Any]) -> int:
    """How many numbers all living float32 tensors of the parameters' shapes hold."""
    import gc

    import torch

    gc.collect()
    shapes = {p.shape for p in parameters}
    found = {
        each.data_ptr(): each.numel()
        for each in gc.get_objects()
        if type(each) in (torch.Tensor, torch.nn.Parameter) and each.dtype == torch.float32 and each.shape in shapes
    }
    found |= {p.grad.data_ptr(): p.numel() for p in parameters if p.grad is not None}
    return sum(found.values())


def test_16_a_run_that_does_not_fit_is_cut_smaller_and_trains_the_same(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    """Where nothing helps it ends with 71, and says what would. Recurrent layers: samples are padded, not packed."""
    from safetensors.torch import load_file

    base = make_tiny("qwen35", tmp_path / "base").as_uri()
    padded = {"base_model": base, "architecture": "qwen35"}
    settings = {"train": 8, "validation": 0, "epochs": 2, "words": 260, **padded}
    small = make_run(batch_size=2, gradient_accumulation=4, **settings)
    large, later = (make_run(batch_size=8, checkpoints_kept=1, **settings) for _ in range(2))
    never = make_run(batch_size=2, train=2, validation=0, words=1000, **padded)
    packed, alike = (questions_of_one_picture(tmp_path, number) for number in (1, 2))
    mib = 2**20
    given = [
        {"uri": small.uri, "room": None, "after": 0},
        {"uri": large.uri, "room": 75 * mib, "after": 0},  # a pass of 8 samples takes 195 MiB, of 4 100, of 2 50
        {"uri": later.uri, "room": 75 * mib, "after": 1},
        {"uri": never.uri, "room": 15 * mib, "after": 0},
        {"uri": alike.uri, "room": None, "after": 0},
        {"uri": packed.uri, "room": 120 * mib, "after": 0},
    ]
    ended = subprocess.run(
        [sys.executable, str(SUPPORT / "starved.py"), json.dumps(given)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert json.loads(ended.stdout.splitlines()[-1]) == [0, 0, 0, 71, 0, 0], ended.stdout + ended.stderr

    # found before the first step: the very weights of the run that was asked to be cut up like this
    assert remedies(large) == [("before step 1", "4 x 2 samples"), ("before step 1", "2 x 4 samples")]
    result = large.read_json("training/result.json")
    assert (result["batching"]["batch_size"], result["batching"]["accumulation"]) == (2, 4)
    assert "the effective batch stays" in (large.workspace / "training" / "log.txt").read_text()
    wanted, found, close = (
        load_file(directory.workspace / "model_adapter" / "adapter_model.safetensors")
        for directory in (small, large, later)
    )
    assert all((found[name] == value).all() for name, value in wanted.items())

    # memory that runs out later: the step is done again in smaller pieces, and none is lost or done twice
    assert remedies(later)[0][0] == "step 2"
    metrics = rows(later)
    assert [row["step"] for row in metrics] == [1, 2]
    for one, other in zip(metrics, rows(small), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)
        assert one["tokens"] == other["tokens"]
    assert all(float((close[name] - value).abs().max()) < 1e-4 for name, value in wanted.items())

    assert [now for _, now in remedies(never)] == ["1 x 2 samples", "1 x 2 samples, gradient checkpointing"]
    said = never.read_json("status/train.json")
    assert said["exit_code"] == 71
    assert "tried in vain: 1 x 2" in said["message"]
    assert "in this order: quantization NF4; a smaller model or a larger GPU" in said["message"]

    # samples that share a row share a shorter one; the micro-batch stays as it was asked
    whole = alike.read_json("training/batching.json")["probe"]["tokens"]
    assert remedies(packed)[0][1] == f"8 x 1 samples, at most {whole // 2:,} tokens a row"
    assert packed.read_json("training/result.json")["batching"]["batch_size"] == 8
    assert rows(packed)[0]["loss"] == pytest.approx(rows(alike)[0]["loss"], rel=1e-6)
    assert rows(packed)[0]["grad_norm"] == pytest.approx(rows(alike)[0]["grad_norm"], rel=1e-5)


def questions_of_one_picture(folder: Path, number: int) -> Any:
    """A run of eight long questions that share what they begin with: one row of one micro-batch."""
    draw_dataset(folder / "one", train=1, validation=0)
    records = [
        record(folder / "one", "images/0.png", "train", f"({question}){' why' * 260}", "red", question)
        for question in range(8)
    ]
    run = resolved(batch_size=8, epochs=1)
    return write_run((folder / "packed").as_uri(), f"packed-{number}", run, records, folder / "one")


def test_the_next_try_begins_with_what_was_found(make_run: Callable[..., Any]) -> None:
    from airtune.training.batching import Batching
    from airtune.training.remedies import Remedies

    directory, said = make_run(batch_size=6), []

    def remedies_of(batch_size: int = 6, devices: int = 1) -> Remedies:
        return Remedies(directory, resolved(batch_size=batch_size), longest=70, say=said.append, devices=devices)

    remedies_of().take("step 4", "out of memory", 400)
    assert remedies_of().batching == Batching(3, 2)
    assert said[-1] == "an earlier try ran out of memory: this one begins with 3 x 2 samples"
    assert remedies_of(devices=2).batching == Batching(6, 1)  # every device has other work now


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (MemoryError(), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, memory: bool) -> None:
    import torch

    from airtune.training.out_of_memory import is_out_of_memory

    assert is_out_of_memory(error) == memory
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB."))


def test_a_gpu_that_is_too_small_is_told_what_to_do_in_order() -> None:
    from airtune.training.out_of_memory import too_large

    error = too_large(resolved(training_mode="SFT"), "CUDA out of memory")
    assert error.exit_code == ExitCode.OUT_OF_MEMORY == 71
    assert str(error) == (
        "GPU memory: CUDA out of memory; in this order: lower batchSize and raise gradientAccumulation (same effective "
        "batch); quantization NF4; LoRA instead of SFT; a smaller model or a larger GPU"
    )


def remedies(directory: Any) -> list[tuple[str, str]]:
    return [(each["when"], each["now"]) for each in directory.read_json("training/batching.json")["remedies"]]


def rows(directory: Any) -> list[dict[str, Any]]:
    lines = (directory.workspace / "training" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]

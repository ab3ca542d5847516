"""The trainer as a scheduler starts it, killed and told to stop in the middle: real processes, real signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from launched import Launch, checkpoints_of, launching, rows_of

from airtune.launch import KILLED

pytestmark = pytest.mark.training

STEPS = 60
SETTINGS: dict[str, Any] = {
    "epochs": 20, "train": 12, "batch_size": 4, "lora_dropout": 0.1, "learning_rate_schedule": "linear",
    "checkpoint_every_steps": 5, "checkpoints_kept": 2, "learning_rate": 5e-4,
}  # fmt: skip


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching(tmp_path) as start:
        yield start


def steps_on_record(directory: Any) -> list[int]:
    return [row["step"] for row in rows_of(directory)]


def test_15_a_killed_trainer_resumes_and_one_told_to_stop_saves_and_both_end_as_if_nothing_had_happened(
    make_run: Callable[..., Any], launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole, cut = make_run(**SETTINGS), make_run(**SETTINGS)
        assert train(whole.uri, StopRequest())["steps"] == STEPS
    finally:
        torch.set_num_threads(threads)

    # kill -9 of the trainer between two checkpoints: the launcher's own exit code would be 1
    first = launch(cut)
    first.wait_for_step(8)
    os.kill(first.trainer(), signal.SIGKILL)
    assert first.end() == KILLED == 137, first.output()
    saved = checkpoints_of(cut)
    assert saved
    assert max(saved) < STEPS
    assert not (cut.workspace / "model_adapter").exists()
    # an incomplete newest checkpoint, as a kill in the middle of writing would leave it on a store without renames
    (cut.workspace / "checkpoints" / f"step-{STEPS - 1}").mkdir()

    # the retry resumes by itself, and is told to stop: the signal goes to the one process that was started
    second = launch(cut)
    second.wait_for_step(max(saved) + 7)
    second.process.send_signal(signal.SIGTERM)
    assert second.end() == 75
    output = second.output()
    assert f"resuming at step {max(saved)} of {STEPS}" in output
    assert "told to stop (SIGTERM); checkpoint of step" in output
    stopped_at = max(checkpoints_of(cut))
    assert stopped_at == max(steps_on_record(cut)) < STEPS
    assert stopped_at % 5 != 0 or stopped_at > max(saved) + 5  # made because it was told to, not because it was due

    # the third ends with the same number of steps and the very same weights
    third = launch(cut)
    assert third.end() == 0, third.output()
    result = cut.read_json("training/result.json")
    assert result["resumed_from"] == stopped_at
    assert result["steps"] == result["planned_steps"] == STEPS
    assert steps_on_record(cut) == list(range(1, STEPS + 1))
    name = "model_adapter/adapter_model.safetensors"
    assert (cut.workspace / name).read_bytes() == (whole.workspace / name).read_bytes()
    assert cut.read_json("status/train.json")["try"] == 3

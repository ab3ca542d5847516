"""The trainer as a scheduler starts it, killed and told to stop in the middle: real processes, real signals."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
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


def train_uninterrupted(directory: Any, monkeypatch: pytest.MonkeyPatch, steps: int = STEPS) -> None:
    """In this process, with as many threads as the launched ones have."""
    import torch

    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert train(directory.uri, StopRequest())["steps"] == steps
    finally:
        torch.set_num_threads(threads)


def test_15_a_killed_trainer_resumes_and_one_told_to_stop_saves_and_both_end_as_if_nothing_had_happened(
    make_run: Callable[..., Any], launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = make_run(**SETTINGS), make_run(**SETTINGS)
    train_uninterrupted(whole, monkeypatch)

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


@pytest.mark.nightly
def test_killed_again_and_again_at_any_moment_a_run_ends_with_the_same_weights(
    make_run: Callable[..., Any], launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint after every second step many a kill meets one that is being written."""
    settings = {**SETTINGS, "checkpoint_every_steps": 2}
    whole, cut = make_run(**settings), make_run(**settings)
    train_uninterrupted(whole, monkeypatch)
    draw, killed, record = random.Random(5), 0, cut.workspace / "status" / "train.json"
    for kill in range(7):
        launched = launch(cut)
        while not record.is_file() or launched.trainer() == killed:
            time.sleep(0.005)
        if kill == 3:  # before it trains: while it loads, or probes
            time.sleep(draw.uniform(1.0, 5.0))
        else:  # at a step, or soon after it
            launched.wait_for_step(max([0, *checkpoints_of(cut)]) + draw.randint(1, 7))
            time.sleep(draw.uniform(0.0, 0.1))
        killed = launched.trainer()
        os.kill(killed, signal.SIGKILL)
        assert launched.end() == KILLED, launched.output()
        assert not (cut.workspace / "model_adapter").exists()
    last = launch(cut)
    assert last.end() == 0, last.output()
    assert steps_on_record(cut) == list(range(1, STEPS + 1))
    name = "model_adapter/adapter_model.safetensors"
    assert (cut.workspace / name).read_bytes() == (whole.workspace / name).read_bytes()


@pytest.mark.nightly
def test_a_disk_without_room_ends_the_try_with_76_and_with_room_again_it_goes_on(
    make_run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real file system of two megabytes, in a name space of its own (where the system allows that)."""
    small = tmp_path / "small"
    small.mkdir()
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=2m small {small}"
    if subprocess.run([*inside, mount], check=False, capture_output=True).returncode != 0:
        pytest.skip("this system lets nobody mount a file system")
    settings = {**SETTINGS, "checkpoint_every_steps": 1, "epochs": 2, "train": 16, "checkpoints_kept": 1}
    whole, full = make_run(**settings), make_run(**settings, root=(tmp_path / "store2").as_uri())
    trainer = f"{sys.executable} -m airtune.training {(small / 'runs' / full.run_id).as_uri()}"
    # room for one checkpoint beside the one before, but for no more: the filler takes the rest when step 2 is on record
    script = f"""
        {mount} && mkdir {small}/runs && cp -r {full.workspace} {small}/runs/ || exit 1
        ( until [ "$(wc -l < {small}/runs/{full.run_id}/training/metrics.jsonl)" -ge 2 ]; do sleep 0.01; done
          cat /dev/zero > {small}/filler ) 2>/dev/null &
        {trainer}; echo "first $?"; df {small}; wait; rm -f {small}/filler
        {trainer}; echo "second $?"
        cp {small}/runs/{full.run_id}/model_adapter/adapter_model.safetensors {tmp_path}/trained
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ended = subprocess.run([*inside, script], check=False, capture_output=True, text=True, timeout=300)
    assert "first 76" in ended.stdout, ended.stdout + ended.stderr
    assert "second 0" in ended.stdout, ended.stdout + ended.stderr
    assert "make room" in ended.stderr
    assert "resuming at step" in ended.stdout
    train_uninterrupted(whole, monkeypatch, steps=8)
    assert (tmp_path / "trained").read_bytes() == (
        whole.workspace / "model_adapter" / "adapter_model.safetensors"
    ).read_bytes()

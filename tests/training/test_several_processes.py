"""Two processes train what one would have: through the launcher, over gloo, with real signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from launched import Launch, checkpoints_of, launching, rows_of
from PIL import Image
from training_runs import draw_dataset, record, resolved, write_run

from airtune.launch import KILLED
from airtune.stores.run_directory import RunDirectory

pytestmark = pytest.mark.training

SETTINGS: dict[str, Any] = {
    "epochs": 8, "batch_size": 4, "gradient_accumulation": 2, "learning_rate_schedule": "linear",
    "checkpoint_every_steps": 4, "checkpoints_kept": 2, "learning_rate": 3e-4, "weight_decay": 0.01,
}  # fmt: skip
STEPS = 24
"""21 samples in effective batches of 8 are 3 steps an epoch, the last of 5 samples."""

MakeRun = Callable[..., RunDirectory]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Runs on 21 samples to train and 5 to validate, every fifth of text alone."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = 0

    def put_together(*, train: int = 21, words: int = 0, **changes: Any) -> RunDirectory:
        nonlocal made
        made += 1
        drawn = draw_dataset(tmp_path / "data", train=train, validation=4, words=words)
        records = [
            replace(each, images=(), image_digests=(), width=0, height=0) if number % 5 == 0 else each
            for number, each in enumerate(drawn)
        ]
        # A picture that no other sample shows, in the last validation sample.
        key = f"images/{train + 4}.png"
        Image.new("RGB", (64, 64), (1, 2, 3)).save(tmp_path / "data" / key)
        records.append(record(tmp_path / "data", key, "validation", "What colour is this?", "black", 999))
        run = resolved(**{**SETTINGS, **changes})
        return write_run((tmp_path / "store").as_uri(), f"run-{made}", run, records, tmp_path / "data")

    return put_together


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    with launching(tmp_path) as start:
        yield start


def train_here(directory: RunDirectory) -> dict[str, Any]:
    """The whole run, or the rest of it, in this one process."""
    import torch

    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(directory.uri, StopRequest())
    finally:
        torch.set_num_threads(threads)


def assert_the_same_curve(
    one: RunDirectory, other: RunDirectory, steps: int = STEPS, losses: float = 1e-5, norms: float = 1e-4
) -> None:
    """Loss, norm of the gradient and tokens at every step, and every validation loss."""
    for name in ("metrics", "evaluations"):
        expected, found = rows_of(one, name), rows_of(other, name)
        assert [row["step"] for row in found] == [row["step"] for row in expected]
        for before, after in zip(expected, found, strict=True):
            assert after["loss"] == pytest.approx(before["loss"], abs=losses)
            if name == "metrics":
                assert after["tokens"] == before["tokens"]
                assert after["grad_norm"] == pytest.approx(before["grad_norm"], rel=norms)
    assert len(rows_of(one)) == steps


def assert_the_same_bundle(
    one: RunDirectory, other: RunDirectory, folder: str, weights: str, apart: float = 2e-4
) -> None:
    import torch
    from safetensors.torch import load_file

    names = [sorted(path.name for path in (run.workspace / folder).iterdir()) for run in (one, other)]
    assert names[0] == names[1]
    expected, found = (load_file(run.workspace / folder / weights) for run in (one, other))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=0, atol=apart, msg=lambda words, name=name: f"{name}: {words}"
        )
    assert other.read_json("training/result.json")["state"] == "complete"


def test_two_processes_with_adapters_are_told_to_stop_and_resume_and_end_where_one_would(
    make: MakeRun, launch: Launch
) -> None:
    whole, cut = make(), make()
    train_here(whole)

    first = launch(cut, processes=2)
    first.wait_for_step(5)
    first.process.send_signal(signal.SIGTERM)  # to the one process that was started
    assert first.end() == 75, first.output()
    stopped = max(checkpoints_of(cut))
    assert stopped == rows_of(cut)[-1]["step"] < STEPS
    assert f"checkpoint of step {stopped} saved" in first.output()
    assert first.output().count("; try again: it resumes") == 1  # both stop, one says it

    second = launch(cut, processes=2)
    assert second.end() == 0, second.output()
    assert f"resuming at step {stopped} of {STEPS}" in second.output()
    assert_the_same_curve(whole, cut)
    assert_the_same_bundle(whole, cut, "model_adapter", "adapter_model.safetensors")


def test_a_model_divided_between_two_processes_goes_on_in_one_and_ends_where_one_would(
    make: MakeRun, launch: Launch
) -> None:
    whole, cut = make(training_mode="SFT"), make(training_mode="SFT")
    train_here(whole)

    first = launch(cut, processes=2, sharded=True)
    first.wait_for_step(13)
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 75, first.output()
    stopped = max(checkpoints_of(cut))
    assert 13 <= stopped < STEPS

    assert train_here(cut)["resumed_from"] == stopped
    assert_the_same_curve(whole, cut)
    assert_the_same_bundle(whole, cut, "model_full", "model.safetensors")


@pytest.mark.parametrize(("mode", "room"), [("SFT", 60), pytest.param("LoRA", 25, marks=pytest.mark.nightly)])
def test_memory_that_runs_out_in_one_of_two_processes_lets_both_train_in_smaller_pieces(
    make: MakeRun, launch: Launch, mode: str, room: int
) -> None:
    """The other one holds a share of the same model, and would wait for it in the middle of a pass.

    In MiB, the room is what the second process may take beyond what it has when the probe begins.
    """
    settings = {"training_mode": mode, "train": 8, "epochs": 1, "batch_size": 8, "gradient_accumulation": 1,
                "words": 200}  # fmt: skip
    whole, starved = make(**settings), make(**settings)
    train_here(whole)
    ended = launch(starved, processes=2, sharded=mode == "SFT", starved=f"1:{room * 2**20}")
    assert ended.end() == 0, ended.output()
    taken = starved.read_json("training/batching.json")["remedies"]
    assert {each["when"] for each in taken} == {"before step 1"}
    assert taken[0]["said"] == "another process of this run ran out of memory"
    assert_the_same_curve(whole, starved, steps=1)


@pytest.mark.nightly
def test_two_processes_end_early_by_their_answers_at_the_same_step_as_one(make: MakeRun, launch: Launch) -> None:
    settings = {"epochs": 12, "early_stopping_patience": 1, "early_stopping_metric": "exact_match"}
    whole, two = make(**settings), make(**settings)
    train_here(whole)
    ended = launch(two, processes=2)
    assert ended.end() == 0, ended.output()
    assert "no better exact_match for 1 epochs: training ends" in ended.output()
    assert [row["exact_match"] for row in rows_of(two, "evaluations")] == [
        row["exact_match"] for row in rows_of(whole, "evaluations")
    ]
    assert_the_same_curve(whole, two, steps=len(rows_of(whole)))
    assert len(rows_of(two)) < 36
    expected, found = (run.read_json("training/result.json") for run in (whole, two))
    assert [found[key] for key in ("steps", "kept_step", "stopped_early")] == [
        expected[key] for key in ("steps", "kept_step", "stopped_early")
    ]
    assert_the_same_bundle(whole, two, "model_adapter", "adapter_model.safetensors")


@pytest.mark.nightly
def test_told_to_stop_while_one_process_answers_both_save_and_the_answers_are_given_again(
    make: MakeRun, launch: Launch
) -> None:
    settings = {"epochs": 2, "early_stopping_patience": 2, "early_stopping_metric": "token_f1",
                "checkpoint_every_steps": None}  # fmt: skip
    whole, cut = make(**settings), make(**settings)
    train_here(whole)
    first = launch(cut, processes=2)
    first.wait_for_step(3)  # the last step of the epoch: what follows is its validation
    first.process.send_signal(signal.SIGTERM)
    assert first.end() == 75, first.output()
    second = launch(cut, processes=2)
    assert second.end() == 0, second.output()
    assert_the_same_curve(whole, cut, steps=6)
    scores = [[row["token_f1"] for row in rows_of(run, "evaluations")] for run in (whole, cut)]
    assert scores[0] == scores[1]


@pytest.mark.nightly
@pytest.mark.parametrize(
    "key",
    ["qwen25vl", "qwen3vl", "internvl35", "llavanext", "qwen35", "qwen36", "gemma4", "gemma4-experts", "deepseekocr",
     "nvila"],
)  # fmt: skip
def test_every_architecture_can_be_divided_between_two_processes(
    key: str, make: MakeRun, launch: Launch, tmp_path: Path
) -> None:
    from tiny_models import make_tiny

    base = tmp_path / "base"
    make_tiny(key, base)
    asked = {"architecture": key.partition("-")[0], "base_model": base.as_uri(), "training_mode": "SFT"}
    whole, two = (make(**asked, train=7, epochs=2, batch_size=2, learning_rate=1e-3) for _ in range(2))
    train_here(whole)
    ended = launch(two, processes=2, sharded=True)
    assert ended.end() == 0, ended.output()
    # A router that wavers between two experts takes another one for a difference in the last bit.
    routed = key in ("qwen36", "gemma4-experts", "deepseekocr")
    losses, norms = (1e-4, 1e-2) if routed else (1e-5, 1e-4)
    assert_the_same_curve(whole, two, steps=4, losses=losses, norms=norms)
    assert_the_same_bundle(whole, two, "model_full", "model.safetensors", apart=4 * 1e-3)


@pytest.mark.nightly
def test_what_one_process_began_two_go_on_with_a_model_divided_between_them(make: MakeRun, launch: Launch) -> None:
    whole, cut = make(training_mode="SFT"), make(training_mode="SFT", checkpoints_kept=9)
    train_here(whole)
    train_here(cut)
    for step in checkpoints_of(cut):
        if step > 8:
            cut.remove(f"checkpoints/step-{step}")
    for name in ("model_full", "training/result.json"):
        cut.remove(name)

    two = launch(cut, processes=2, sharded=True)
    assert two.end() == 0, two.output()
    assert f"resuming at step 8 of {STEPS}" in two.output()
    assert cut.read_json("training/result.json")["resumed_from"] == 8
    assert_the_same_curve(whole, cut)
    assert_the_same_bundle(whole, cut, "model_full", "model.safetensors")


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["LoRA", "SFT"])
def test_three_processes_and_a_last_batch_with_fewer_samples_than_processes(
    make: MakeRun, launch: Launch, mode: str
) -> None:
    settings = {"training_mode": mode, "train": 17, "epochs": 2}  # the third step of an epoch has one sample
    whole, three = make(**settings), make(**settings)
    train_here(whole)
    ended = launch(three, processes=3, sharded=mode == "SFT")
    assert ended.end() == 0, ended.output()
    assert_the_same_curve(whole, three, steps=6)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["LoRA", "SFT"])
def test_a_killed_process_ends_the_other_and_the_exit_code_says_so_and_the_next_try_resumes(
    make: MakeRun, launch: Launch, mode: str
) -> None:
    cut, settings = make(training_mode=mode, epochs=40), {"processes": 2, "sharded": mode == "SFT"}
    first = launch(cut, **settings)
    first.wait_for_step(6)
    (other,) = [process for process in first.trainers() if process != first.trainer()]
    os.kill(other, signal.SIGKILL)
    assert first.end() == KILLED == 137, first.output()
    saved = max(checkpoints_of(cut))
    assert 4 <= saved < 120
    assert not (cut.workspace / "training" / "result.json").exists()
    assert cut.read_json("status/train.json")["state"] == "failed"

    second = launch(cut, **settings)
    second.wait_until(lambda: "resuming at step" in second.output())
    second.wait_for_step(saved + 1)
    second.process.send_signal(signal.SIGTERM)
    assert second.end() == 75, second.output()
    assert f"resuming at step {saved} of 120" in second.output()


@pytest.mark.nightly
def test_told_to_stop_in_an_evaluation_both_save_and_the_evaluation_is_done_again(
    make: MakeRun, launch: Launch, tmp_path: Path
) -> None:
    whole = make(epochs=1, batch_size=1, gradient_accumulation=8)
    train_here(whole)
    cut = make(epochs=1, batch_size=1, gradient_accumulation=8)
    first = launch(cut, processes=2)
    first.wait_for_step(3)  # the last step: what follows is the evaluation
    first.process.send_signal(signal.SIGTERM)
    code = first.end()
    assert code in (0, 75), first.output()  # it may have been faster than the signal
    if code == 75:
        assert max(checkpoints_of(cut)) == 3
        second = launch(cut, processes=2)
        assert second.end() == 0, second.output()
    assert_the_same_curve(whole, cut, steps=3)


@pytest.mark.nightly
def test_a_sample_that_one_process_cannot_read_ends_both_with_its_name(
    make: MakeRun, launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_FEATURE_CACHE_GB", "0")  # or all pictures are read before the first step
    run = make(train=96, epochs=1)
    started = launch(run, processes=2)
    started.wait_for_step(1)
    (tmp_path / "data" / "images" / "100.png").write_bytes(b"no picture any more")  # the second process's, at the end
    assert started.end() == 65, started.output()
    assert started.output().count("images/100.png") == 1, started.output()
    assert run.read_json("status/train.json")["exit_code"] == 65


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["LoRA", "SFT"])
def test_a_loss_that_is_no_number_ends_both_and_names_the_samples_of_both(
    make: MakeRun, launch: Launch, mode: str
) -> None:
    run = make(training_mode=mode, learning_rate=1e30, learning_rate_schedule="constant")
    started = launch(run, processes=2, sharded=mode == "SFT")
    assert started.end() == 72, started.output()
    said = run.read_json("status/train.json")["message"]
    assert "no longer a number" in said
    assert len(said.partition("Samples of the step: ")[2].split(";")[0].split(", ")) in (8, 5)


@pytest.mark.nightly
def test_a_divided_model_computes_in_the_precision_of_the_run(make: MakeRun, launch: Launch) -> None:
    settings = {"training_mode": "SFT", "precision": "BFloat16", "epochs": 2}
    whole, two = make(**settings), make(**settings)
    train_here(whole)
    ended = launch(two, processes=2, sharded=True)
    assert ended.end() == 0, ended.output()
    for before, after in zip(rows_of(whole), rows_of(two), strict=True):
        assert after["loss"] == pytest.approx(before["loss"], rel=0.02)
        assert after["loss"] != before["loss"]  # autocast keeps some sums in float32, a divided model does not
    assert (two.workspace / "model_full" / "config.json").read_text() == (
        whole.workspace / "model_full" / "config.json"
    ).read_text()

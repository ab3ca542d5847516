"""Nothing that was trained is lost: real signals, a real limit of the disk, a real store that goes away."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airtune.errors import DivergedError, ExitCode, PreemptedError, StoreError
from airtune.stores.run_directory import RunDirectory

pytestmark = pytest.mark.training

MakeRun = Callable[..., RunDirectory]
SETTINGS: dict[str, Any] = {
    "epochs": 2, "train": 12, "lora_dropout": 0.1, "checkpoint_every_steps": 2, "checkpoints_kept": 2,
}  # fmt: skip


@contextmanager
def when_said(beginning: str, act: Callable[[], object]) -> Iterator[None]:
    """Does something once, in the process that trains, at the moment when it says a line that begins so."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith(beginning) and not done:
                done.append(True)
                act()

    done: list[bool] = []
    listener = Listener()
    logger = logging.getLogger("airtune.training")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
    assert done, f"it never said {beginning!r}"


@contextmanager
def real_signals() -> Iterator[Any]:
    """Training as its command runs it: SIGTERM is noted."""
    from airtune.training.stopping import StopRequest

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield StopRequest.listen()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def train(directory: RunDirectory, stop: Any = None) -> dict[str, Any]:
    from airtune.training import __main__
    from airtune.training.stopping import StopRequest

    return __main__.train(directory.uri, StopRequest() if stop is None else stop)


def weights(directory: RunDirectory) -> bytes:
    return (directory.workspace / "model_adapter" / "adapter_model.safetensors").read_bytes()


def steps(directory: RunDirectory) -> list[int]:
    path = directory.workspace / "training" / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.is_file() else []


def saved(directory: RunDirectory) -> list[int]:
    found = (directory.workspace / "checkpoints").glob("step-*/COMPLETE")
    return sorted(int(path.parent.name.removeprefix("step-")) for path in found)


def forget_the_end(directory: RunDirectory) -> None:
    """As if the process had been killed before it saved what it trained."""
    shutil.rmtree(directory.workspace / "model_adapter")
    (directory.workspace / "training" / "result.json").unlink()


def test_told_to_stop_when_the_probe_begins_nothing_is_trained(make_run: MakeRun) -> None:
    directory = make_run(**SETTINGS, training_mode="SFT")
    with (
        real_signals() as stop,
        when_said("fused AdamW", terminate),  # the last word before the probe
        pytest.raises(PreemptedError, match="nothing was lost") as caught,
    ):
        train(directory, stop)
    assert caught.value.exit_code == ExitCode.PREEMPTED == 75
    assert steps(directory) == saved(directory) == []
    assert "probe: the largest pass" in (directory.workspace / "training" / "log.txt").read_text()


def test_stopped_while_it_saves_and_with_a_corrupt_newest_checkpoint_a_run_ends_with_the_same_weights(
    make_run: MakeRun,
) -> None:
    whole, cut = make_run(**SETTINGS), make_run(**SETTINGS)
    train(whole)

    def terminate_while_saving() -> None:
        folder = cut.workspace / "checkpoints"
        while not any(folder.glob(".airtune-*")):
            time.sleep(0.0005)
        terminate()

    watcher = threading.Thread(target=terminate_while_saving)
    watcher.start()
    with real_signals() as stop, pytest.raises(PreemptedError, match=r"checkpoint of step \d saved"):
        train(cut, stop)
    watcher.join()
    from airtune.training import checkpoints

    assert not list((cut.workspace / "checkpoints").glob(".airtune-*"))
    assert [checkpoints.faults(cut.workspace / "checkpoints" / f"step-{step}") for step in saved(cut)] == [
        [] for _ in saved(cut)
    ]
    train(cut)
    assert steps(cut) == steps(whole)
    assert weights(cut) == weights(whole)

    # the newest checkpoint is damaged on the disk: the one before is taken, and the end is the same again
    forget_the_end(cut)
    before, newest = saved(cut)[-2:]
    damaged = cut.workspace / "checkpoints" / f"step-{newest}" / "optimizer.pt"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert train(cut)["resumed_from"] == before
    assert weights(cut) == weights(whole)
    assert f"step-{newest} is not used" in (cut.workspace / "training" / "log.txt").read_text()


@pytest.mark.parametrize("what", ["checkpoint", "model"])
def test_a_disk_that_takes_no_more_ends_the_try_with_76_and_the_next_one_goes_on(make_run: MakeRun, what: str) -> None:
    """No file may become longer than the limit: the system refuses, each library says it in its own way."""
    settings = {**SETTINGS, "checkpoint_every_steps": 2 if what == "checkpoint" else 4}
    whole, full = make_run(**settings), make_run(**settings)
    train(whole)
    last = "checkpoint of step 2 saved" if what == "checkpoint" else "checkpoint of step 4 saved"

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, resource.RLIM_INFINITY))

    try:
        with when_said(last, fill), pytest.raises(StoreError) as caught:
            train(full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert caught.value.exit_code == ExitCode.STORE == 76
    assert "make room" in str(caught.value)
    assert saved(full) == [2] if what == "checkpoint" else [4]
    assert not (full.workspace / "model_adapter").exists()
    assert full.read_json("status/train.json")["exit_code"] == 76
    assert train(full)["resumed_from"] == (2 if what == "checkpoint" else 4)
    assert weights(full) == weights(whole)
    assert steps(full) == steps(whole)


def test_a_gradient_that_is_no_number_stops_the_run_and_names_the_samples_of_the_step(
    assemble: Callable[..., Any],
) -> None:
    """The loss is a number all the while: the other factor of each adapter is zero."""
    import torch

    pieces = assemble(train=4, batch_size=2, epochs=1, validation=0)
    with torch.no_grad():
        for name, parameter in pieces.model.named_parameters():
            if "lora_A" in name:
                parameter.fill_(1e25)
    with pytest.raises(DivergedError, match=r"training step 1: the gradient's norm is no longer a number") as caught:
        pieces.fit()
    pieces.trainer.order.set_epoch(0)
    first = [pieces.train.records[index].id for index in list(pieces.trainer.order)[:2]]
    assert f"Samples of the step: {', '.join(first)}" in str(caught.value)
    assert caught.value.exit_code == ExitCode.DIVERGED == 72


@pytest.mark.s3
def test_a_store_that_is_away_holds_nothing_up_and_gets_everything_later(
    make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airtune.embedded import seaweedfs

    folder = tmp_path_factory.mktemp("s3-of-its-own")
    servers = [seaweedfs.start(folder)]

    def stop() -> None:
        seaweedfs.stop(servers.pop().process)

    def start() -> None:
        servers.append(seaweedfs.start(folder))

    for name, value in servers[0].environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRTUNE_STORE_PATIENCE", "1")
    try:
        settings = {**SETTINGS, "epochs": 4, "root": "s3://airtune/away"}
        local, back, gone = make_run(**{**settings, "root": None}), make_run(**settings), make_run(**settings)
        train(local)

        # away for a while: what it has missed is copied when it is back, no more than is kept here
        with when_said("checkpoint of step 2 saved", stop), when_said("checkpoint of step 8 saved", start):
            result = train(back)
        assert result["steps"] == 12
        kept = {info.key.split("/")[1] for info in back.store.list("checkpoints")}
        assert kept == {f"step-{step}" for step in saved(back)} == {"step-10", "step-12"}
        assert back.store.read("model_adapter/adapter_model.safetensors") == weights(local)
        assert len(back.store.read("training/metrics.jsonl").splitlines()) == 12

        # away until the end: all is kept here, and the next try has only to copy it
        with when_said("checkpoint of step 2 saved", stop), pytest.raises(StoreError, match="did not answer") as caught:
            train(gone)
        assert caught.value.exit_code == ExitCode.STORE == 76
        assert steps(gone) == list(range(1, 13))
        assert weights(gone) == weights(local)
        start()
        assert gone.store.stat("model_adapter/adapter_model.safetensors") is None
        again = train(gone)
        assert again["steps"] == 12
        assert gone.store.read("model_adapter/adapter_model.safetensors") == weights(local)
        assert gone.read_json("training/result.json") == again
        log = gone.store.read("training/log.txt").decode()
        assert "what it saved is copied to the store" in log
        assert log.count("loading the libraries") == 1
    finally:
        while servers:
            stop()

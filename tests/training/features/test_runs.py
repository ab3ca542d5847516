"""Runs with features kept and without: the same weights bit for bit, and work that is not done twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from training_runs import draw_dataset, record, resolved, write_run

from airtune.errors import ExitCode, PreemptedError

pytestmark = pytest.mark.training

TRAIN, VALIDATION = 8, 3


class Bench:
    """Runs on one dataset, each picture of which two samples share, in one AIRTUNE_HOME or several."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path = tmp_path
        self.patch = monkeypatch
        self.made = 0
        drawn = draw_dataset(tmp_path / "data", train=TRAIN, validation=VALIDATION)
        second = [
            record(tmp_path / "data", each.images[0], each.split, "And what shape?", "a square", number)
            for number, each in enumerate(drawn)
        ]
        self.records = [*drawn, *second]
        self.home("home")

    def home(self, name: str) -> Path:
        """From now on runs are on a machine with this AIRTUNE_HOME."""
        self.patch.setenv("AIRTUNE_HOME", str(self.tmp_path / name))
        return self.tmp_path / name

    def keep(self, gigabytes: float) -> None:
        """The room for features."""
        self.patch.setenv("AIRTUNE_FEATURE_CACHE_GB", str(gigabytes))

    def make(self, **changes: Any) -> Any:
        """A run directory."""
        self.made += 1
        run = resolved(**{"epochs": 3, "batch_size": 4, **changes})
        root = (self.tmp_path / "store").as_uri()
        return write_run(root, f"run-{self.made}", run, self.records, self.tmp_path / "data")

    def train(self, directory: Any = None, **changes: Any) -> Any:
        """Trains a run to its end."""
        from airtune.training.__main__ import train
        from airtune.training.stopping import StopRequest

        directory = directory or self.make(**changes)
        train(directory.uri, StopRequest())
        return directory


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the pictures that are decoded and those that the vision tower sees."""
    from airtune.datasets.pictures.images import Images
    from airtune.modeling.vision_features import PictureEncoder

    counts: Counter[str] = Counter()

    def counting(kind: type, method: str, name: str) -> None:
        real = getattr(kind, method)

        def call(self: Any, *args: Any) -> Any:
            counts[name] += 1
            return real(self, *args)

        monkeypatch.setattr(kind, method, call)

    counting(Images, "load", "decoded")
    counting(PictureEncoder, "encode", "encoded")
    return counts


def outcome(directory: Any) -> tuple[bytes, list[float]]:
    """The adapter's bytes and the validation losses."""
    lines = (directory.workspace / "training" / "evaluations.jsonl").read_text().splitlines()
    return (
        (directory.workspace / "model_adapter" / "adapter_model.safetensors").read_bytes(),
        [json.loads(line)["loss"] for line in lines],
    )


def log_of(directory: Any) -> str:
    return (directory.workspace / "training" / "log.txt").read_text(encoding="utf-8")


def files_of(home: Path) -> list[Path]:
    return sorted((home / "cache" / "features").glob("*/*/*.safetensors"))


def test_kept_or_not_or_known_from_another_run_the_weights_are_the_same_bit_for_bit(
    bench: Bench, counted: Counter[str]
) -> None:
    bench.keep(0)
    without = bench.train()
    assert counted["encoded"] > 3 * (TRAIN + VALIDATION), "seen again in every epoch"
    assert files_of(bench.tmp_path / "home") == []

    bench.keep(1)
    counted.clear()
    cold = bench.train()
    assert counted["encoded"] == TRAIN + VALIDATION
    assert counted["decoded"] == TRAIN + VALIDATION + 1, "once, and one for the self-check"

    counted.clear()
    warm = bench.train()
    assert counted["encoded"] == 0
    assert counted["decoded"] == 1
    assert outcome(without) == outcome(cold) == outcome(warm)
    assert "those of 0 of 11 pictures are known" in log_of(cold)
    assert "11 pictures encoded in" in log_of(cold)
    assert "those of 11 of 11 pictures are known" in log_of(warm)
    assert [cold.read_json("training/selfcheck.json")["vision_modules"]["in_backward"]] == [0]
    described = json.loads(next((bench.tmp_path / "home/cache/features").glob("*/identity.json")).read_text())
    assert described["architecture"] == "qwen3vl"


@pytest.mark.parametrize("changes", [{"quantization_enabled": True}, {"precision": "BFloat16"}])
def test_the_same_holds_in_4_bit_and_in_half_precision(bench: Bench, changes: dict[str, Any]) -> None:
    bench.keep(0)
    without = bench.train(epochs=2, **changes)
    bench.keep(1)
    assert outcome(bench.train(epochs=2, **changes)) == outcome(without)
    assert len(files_of(bench.tmp_path / "home")) == TRAIN + VALIDATION


def test_the_same_holds_with_gradient_checkpointing_and_dropout(bench: Bench) -> None:
    changes: dict[str, Any] = {"epochs": 2, "gradient_checkpointing": True, "lora_dropout": 0.1}
    bench.keep(0)
    without = bench.train(**changes)
    bench.keep(1)
    assert outcome(bench.train(**changes)) == outcome(without)


def test_damaged_features_are_computed_again(bench: Bench, counted: Counter[str]) -> None:
    cold = bench.train()
    first, second, *_ = files_of(bench.tmp_path / "home")
    os.truncate(first, first.stat().st_size // 2)
    content = bytearray(second.read_bytes())
    content[-5] ^= 0x40
    second.write_bytes(bytes(content))
    counted.clear()
    again = bench.train()
    assert counted["encoded"] == 2
    assert outcome(again) == outcome(cold)
    counted.clear()
    bench.train()
    assert counted["encoded"] == 0


def test_features_that_vanish_while_a_run_goes_on_are_computed_again(bench: Bench, counted: Counter[str]) -> None:
    from airtune.training.trainer import VisionLanguageTrainer

    cold = bench.train()
    real = VisionLanguageTrainer.fit

    def fit(self: Any, *args: Any) -> None:
        for path in files_of(bench.tmp_path / "home")[:4]:
            path.unlink()
        real(self, *args)

    bench.patch.setattr(VisionLanguageTrainer, "fit", fit)
    counted.clear()
    assert outcome(bench.train()) == outcome(cold)
    assert counted["encoded"] > 4


def test_pictures_that_are_looked_at_once_are_not_encoded_ahead(bench: Bench, counted: Counter[str]) -> None:
    bench.records = bench.records[: TRAIN + VALIDATION]  # one sample a picture
    once = bench.train(epochs=1)
    assert "looked at once" in log_of(once)
    assert files_of(bench.tmp_path / "home") == []
    bench.train(epochs=2)
    assert len(files_of(bench.tmp_path / "home")) == TRAIN + VALIDATION
    counted.clear()
    assert outcome(bench.train(epochs=1)) == outcome(once), "and what is known is used all the same"
    assert counted["encoded"] == 0


def test_without_room_for_all_the_rest_is_encoded_at_each_step(bench: Bench) -> None:
    bench.keep(0)
    without = bench.train(epochs=2)
    bench.keep(60e3 / 1e9)
    tight = bench.train(epochs=2)
    kept = files_of(bench.tmp_path / "home")
    assert 0 < len(kept) < TRAIN + VALIDATION
    assert sum(path.stat().st_size for path in kept) <= 60e3
    assert "no room for the features of" in log_of(tight)
    assert outcome(tight) == outcome(without)


def test_a_run_told_to_stop_while_it_encodes_ends_with_75_and_goes_on_where_it_was(
    bench: Bench, counted: Counter[str]
) -> None:
    from airtune.modeling.vision_features import PictureEncoder
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    cold = bench.train()
    bench.home("another-machine")
    stop, real = StopRequest(), PictureEncoder.encode

    def encode(self: Any, picture: Any) -> Any:
        if counted["encoded"] == 4:
            stop._note(15, None)
        return real(self, picture)

    counted.clear()
    bench.patch.setattr(PictureEncoder, "encode", encode)
    directory = bench.make()
    with pytest.raises(PreemptedError) as caught:
        train(directory.uri, stop)
    assert caught.value.exit_code == ExitCode.PREEMPTED
    assert "pictures encoded so far are kept" in str(caught.value)
    kept = len(files_of(bench.tmp_path / "another-machine"))
    assert 0 < kept < TRAIN + VALIDATION
    bench.patch.setattr(PictureEncoder, "encode", real)
    counted.clear()
    assert outcome(bench.train(directory)) == outcome(cold)
    assert counted["encoded"] == TRAIN + VALIDATION - kept


def test_a_picture_that_cannot_be_read_is_left_to_the_loop_which_names_its_sample(bench: Bench) -> None:
    from airtune.datasets.pictures.images import Images
    from airtune.errors import DataError

    real, spoilt = Images.verify, bench.records[2]

    def verify(self: Any, *args: Any) -> int:
        count = real(self, *args)
        path = bench.tmp_path / "data" / spoilt.images[0]
        path.write_bytes(path.read_bytes() + b"changed since it was held against its digest")
        return count

    bench.patch.setattr(Images, "verify", verify)
    directory = bench.make()
    with pytest.raises(DataError, match=f"{spoilt.images[0]}: the file is not the one that was validated"):
        bench.train(directory)
    assert "10 pictures encoded in" in log_of(directory)


def test_the_processes_of_a_machine_encode_a_part_each(bench: Bench, counted: Counter[str]) -> None:
    from airtune.training import ranks

    cold = bench.train(epochs=2)
    bench.home("another-machine")
    kept = []
    for place in ((0, 2), (1, 2)):
        bench.patch.setattr(ranks, "place_here", lambda place=place: place)
        counted.clear()
        assert outcome(bench.train(epochs=2)) == outcome(cold)
        kept.append(len(files_of(bench.tmp_path / "another-machine")))
    assert kept == [6, TRAIN + VALIDATION]
    assert counted["encoded"] == 5, "the second finds what the first has kept"


def test_full_fine_tuning_keeps_no_features(bench: Bench, counted: Counter[str]) -> None:
    bench.train(training_mode="SFT", epochs=1)
    assert counted["encoded"] == 0
    assert files_of(bench.tmp_path / "home") == []


def test_a_place_that_is_not_allowed_is_refused(bench: Bench) -> None:
    from airtune.errors import NotPermittedError

    bench.patch.setenv("AIRTUNE_ALLOWED_SOURCES", "file:///")
    with pytest.raises(NotPermittedError, match="featureCache"):
        bench.train(feature_cache="s3://airtune/features")


def test_a_store_that_is_away_is_a_warning(bench: Bench) -> None:
    blocked = bench.tmp_path / "a-file"
    blocked.write_text("no folder")
    away = bench.train(epochs=2, feature_cache=(blocked / "features").as_uri())
    assert "warning: vision features could not be copied" in log_of(away)
    bench.keep(0)
    assert outcome(bench.train(epochs=2)) == outcome(away)


def test_machines_share_features_through_the_store_and_send_only_what_is_missing(
    bench: Bench, counted: Counter[str], s3_server: Any
) -> None:
    from airtune.stores.opening import open_store

    for name, value in s3_server.environment().items():
        bench.patch.setenv(name, value)
    uri = f"s3://airtune/features-{os.getpid()}"
    store = open_store(uri)
    first = bench.train(feature_cache=uri, epochs=1)
    sent = {info.key: info.version for info in store.list()}
    assert len(sent) == TRAIN + VALIDATION, "also what this run looks at once"

    bench.home("second-machine")
    counted.clear()
    second = bench.train(feature_cache=uri, epochs=1)
    assert counted["encoded"] == 0
    assert f"11 of them from {uri}" in log_of(second)
    assert outcome(first) == outcome(second)
    assert {info.key: info.version for info in store.list()} == sent
    assert "of 11 pictures copied to" in log_of(first)
    assert "copied to" not in log_of(second), "nothing was sent again"

    # One is damaged on the way, one is new: both are computed, the right ones are there afterwards.
    damaged, gone, *_ = sorted(sent)
    store.write(damaged, store.read(damaged)[:-9])
    store.delete(gone)
    bench.home("third-machine")
    counted.clear()
    third = bench.train(feature_cache=uri, epochs=1)
    assert counted["encoded"] == 2
    assert outcome(third) == outcome(first)
    assert "of 2 pictures copied to" in log_of(third)
    bench.home("fourth-machine")
    counted.clear()
    bench.train(feature_cache=uri, epochs=1)
    assert counted["encoded"] == 0

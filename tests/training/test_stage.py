from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airtune.errors import DataError, ExitCode, PreemptedError, SettingsError

pytestmark = pytest.mark.training

MakeRun = Callable[..., Any]


def trained(directory: Any) -> dict[str, Any]:
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    return train(directory.uri, StopRequest())


def rows(directory: Any, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory.workspace / "training" / name).read_text().splitlines()]


def weights(directory: Any) -> bytes:
    return (directory.workspace / "model_adapter" / "adapter_model.safetensors").read_bytes()


def test_a_run_leaves_its_adapter_its_metrics_its_evaluations_and_its_result(make_run: MakeRun) -> None:
    directory = make_run(epochs=3, batch_size=4, train=10)
    result = trained(directory)
    assert result["steps"] == result["planned_steps"] == 9  # 3 x ceil(10 / 4)
    metrics = rows(directory, "metrics.jsonl")
    assert [row["step"] for row in metrics] == list(range(1, 10))
    assert set(metrics[0]) == {
        "step", "total_steps", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "seconds", "memory",
        "eta_seconds",
    }  # fmt: skip
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    assert [row["step"] for row in rows(directory, "evaluations.jsonl")] == [3, 6, 9]
    check = directory.read_json("training/selfcheck.json")
    assert check["sample"]["stop_token_trained"]
    assert check["sample"]["labels_as_written"]
    assert check["sample"]["tokens"] == check["sample"]["tokens_predicted"]
    assert check["vision_modules"]["in_backward"] == 0
    assert check["gradients"]["without_gradient"] == []
    assert directory.read_json("status/train.json")["state"] == "done"
    assert (directory.workspace / "training" / "set-aside.jsonl").read_text() == ""
    assert "9 steps of 4 x 1 samples" in (directory.workspace / "training" / "log.txt").read_text()


def test_a_finished_run_trains_nothing_twice(make_run: MakeRun) -> None:
    directory = make_run(epochs=1)
    first = trained(directory)
    before = {path: path.stat().st_mtime_ns for path in directory.workspace.rglob("*") if path.is_file()}
    assert trained(directory)["steps"] == first["steps"]
    changed = {p.name for p, when in before.items() if p.stat().st_mtime_ns != when}
    assert changed == {"train.json", "run.json"}  # how the stage's processes went


def test_full_fine_tuning_leaves_a_complete_model_in_the_runs_precision(make_run: MakeRun) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText, AutoProcessor

    directory = make_run(training_mode="SFT", precision="BFloat16", epochs=1, max_pixels=48 * 48)
    trained(directory)
    folder = directory.workspace / "model_full"
    assert {str(tensor.dtype) for tensor in load_file(folder / "model.safetensors").values()} == {"torch.bfloat16"}
    for name in ("config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json"):
        assert (folder / name).is_file(), name
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "bfloat16"
    assert config.get("use_cache", True)
    model, info = AutoModelForImageTextToText.from_pretrained(str(folder), output_loading_info=True)
    assert not info["missing_keys"]
    assert model.generation_config.eos_token_id == 2
    assert AutoProcessor.from_pretrained(str(folder)).image_processor.size["longest_edge"] == 48 * 48
    assert not (directory.workspace / "model_adapter").exists()


def test_a_resumed_run_ends_with_the_very_same_weights(make_run: MakeRun) -> None:
    """From a checkpoint in the middle of an epoch, with dropout: order and random states are those of the run."""
    settings: dict[str, Any] = {
        "epochs": 3, "train": 11, "batch_size": 2, "gradient_accumulation": 2, "lora_dropout": 0.2,
        "learning_rate_schedule": "cosine", "warmup_ratio": 0.2, "weight_decay": 0.01,
        "checkpoint_every_steps": 2, "checkpoints_kept": 9,
    }  # fmt: skip
    whole, cut = make_run(**settings), make_run(**settings)
    assert trained(whole)["steps"] == 9
    trained(cut)
    for start in (4, 6):  # in the middle of the second epoch, and exactly at its end
        shutil.rmtree(cut.workspace / "model_adapter")
        (cut.workspace / "training" / "result.json").unlink()
        for folder in (cut.workspace / "checkpoints").glob("step-*"):
            if int(folder.name.removeprefix("step-")) > start:
                shutil.rmtree(folder)
        result = trained(cut)
        assert result["resumed_from"] == start
        assert weights(cut) == weights(whole)
        assert [row["step"] for row in rows(cut, "metrics.jsonl")] == list(range(1, 10))
        kept = ("step", "epoch", "loss", "learning_rate", "grad_norm", "tokens")
        for one, other in zip(rows(cut, "metrics.jsonl"), rows(whole, "metrics.jsonl"), strict=True):
            assert {key: one[key] for key in kept} == {key: other[key] for key in kept}
        assert rows(cut, "evaluations.jsonl") == rows(whole, "evaluations.jsonl")


@pytest.mark.parametrize(
    "settings",
    [
        {"training_mode": "SFT", "learning_rate": 1e-4},
        {"precision": "Float16", "optimizer": "Adam", "weight_decay": 0.1},
        {"quantization_enabled": True, "precision": "BFloat16", "gradient_checkpointing": True},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_resumed_run_is_exact_in_every_mode(make_run: MakeRun, settings: dict[str, Any]) -> None:
    both = {"epochs": 2, "train": 8, "checkpoint_every_steps": 1, "checkpoints_kept": 9, **settings}
    whole, cut = make_run(**both), make_run(**both)
    for directory in (whole, cut):
        trained(directory)
    folder = cut.workspace / cut.read_json("training/result.json")["saved"]
    (cut.workspace / "training" / "result.json").unlink()
    shutil.rmtree(folder)
    for step in (2, 3, 4):
        shutil.rmtree(cut.workspace / "checkpoints" / f"step-{step}")
    assert trained(cut)["resumed_from"] == 1
    for path in folder.glob("*.safetensors"):
        assert path.read_bytes() == (whole.workspace / folder.name / path.name).read_bytes()


def test_so_many_checkpoints_are_kept_as_was_asked(make_run: MakeRun) -> None:
    directory = make_run(epochs=2, checkpoint_every_steps=1, checkpoints_kept=2, train=12)
    trained(directory)
    assert sorted(path.name for path in (directory.workspace / "checkpoints").iterdir()) == ["step-5", "step-6"]


def test_a_checkpoint_is_made_every_so_many_minutes(make_run: MakeRun) -> None:
    directory = make_run(epochs=2, checkpoint_every_minutes=1e-9, checkpoints_kept=9, train=8)
    trained(directory)
    assert len(list((directory.workspace / "checkpoints").glob("step-*/COMPLETE"))) == 4
    never = make_run(epochs=1, checkpoint_every_minutes=10.0)
    trained(never)
    assert not list((never.workspace / "checkpoints").glob("*"))


def test_told_to_stop_a_run_saves_and_the_next_try_goes_on(make_run: MakeRun) -> None:
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    class StopAtStep(StopRequest):
        """A request that comes when the third step is on record."""

        @property
        def reason(self) -> str | None:
            path = directory.workspace / "training" / "metrics.jsonl"
            return "SIGTERM" if path.is_file() and len(path.read_text().splitlines()) >= 3 else None

    directory, whole = make_run(epochs=3), make_run(epochs=3)
    with pytest.raises(PreemptedError, match="checkpoint of step 4 saved") as caught:
        train(directory.uri, StopAtStep())
    assert caught.value.exit_code == ExitCode.PREEMPTED == 75
    assert trained(directory)["resumed_from"] == 4
    trained(whole)
    assert weights(directory) == weights(whole)


def test_told_to_stop_during_a_validation_nothing_of_it_is_lost(make_run: MakeRun) -> None:
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    class StopInEvaluation(StopRequest):
        """A request that comes while the first validation runs: after the epoch's last step, before its result."""

        asked = 0

        @property
        def reason(self) -> str | None:
            path = directory.workspace / "training" / "metrics.jsonl"
            if path.is_file() and len(path.read_text().splitlines()) == 3:
                self.asked += 1
            return "SIGTERM" if self.asked > 1 else None  # asked after the epoch, then inside

    directory, whole = make_run(epochs=2), make_run(epochs=2)
    with pytest.raises(PreemptedError, match="checkpoint of step 3 saved"):
        train(directory.uri, StopInEvaluation())
    assert rows(directory, "evaluations.jsonl") == []
    trained(directory)
    trained(whole)
    assert rows(directory, "evaluations.jsonl") == rows(whole, "evaluations.jsonl")
    assert weights(directory) == weights(whole)


def test_training_ends_early_when_validation_gets_no_better_and_keeps_the_best_weights(make_run: MakeRun) -> None:
    from safetensors.torch import load_file

    directory = make_run(epochs=30, learning_rate=0.05, early_stopping_patience=2, train=8, checkpoints_kept=1)
    result = trained(directory)
    losses = [row["loss"] for row in rows(directory, "evaluations.jsonl")]
    best = losses.index(min(losses))
    assert result["stopped_early"]
    assert len(losses) == best + 3 < 30
    assert result["kept_step"] == 2 * (best + 1)
    kept = load_file(directory.workspace / "checkpoints" / f"step-{result['kept_step']}" / "trainable.safetensors")
    saved = load_file(directory.workspace / "model_adapter" / "adapter_model.safetensors")
    assert all((kept[name.replace(".weight", ".default.weight")] == value).all() for name, value in saved.items())
    # killed before its result was written, another try ends the same
    (directory.workspace / "training" / "result.json").unlink()
    again = trained(directory)
    assert {key: again[key] for key in ("steps", "kept_step", "stopped_early")} == {
        key: result[key] for key in ("steps", "kept_step", "stopped_early")
    }
    assert [row["loss"] for row in rows(directory, "evaluations.jsonl")] == losses
    assert load_file(directory.workspace / "model_adapter" / "adapter_model.safetensors").keys() == saved.keys()


def test_pictures_that_are_gone_or_changed_since_validation_stop_the_run_before_it_trains(make_run: MakeRun) -> None:
    directory = make_run()
    data = Path(directory.read_json("dataset/facts.json")["root_uri"].removeprefix("file://"))
    (data / "images" / "0.png").unlink()
    (data / "images" / "5.png").write_bytes((data / "images" / "6.png").read_bytes())
    with pytest.raises(DataError, match="2 of 16 images are gone or have changed") as caught:
        trained(directory)
    assert caught.value.exit_code == ExitCode.DATA == 65
    assert "images/0.png" in str(caught.value)
    assert "images/5.png" in str(caught.value)


@pytest.mark.parametrize("limit", [None, 16384])  # 16384 is the model's own: nobody chose to set samples aside
def test_samples_that_no_chosen_limit_sets_aside_and_the_model_cannot_take_are_named(
    make_run: MakeRun, limit: int | None
) -> None:
    directory = make_run(train=4, validation=1, max_sequence_length=limit)
    from airtune.datasets.record import read_records, write_records

    records = read_records(directory.path("dataset/records.parquet"))
    long = [
        type(each)(**{**{f: getattr(each, f) for f in each.__slots__}, "prompt": "why " * 9000}) for each in records[:2]
    ]
    write_records(directory.path("dataset/records.parquet"), [*long, *records[2:]])
    with pytest.raises(DataError, match="2 samples do not fit the model") as caught:
        trained(directory)
    assert f"sample {records[0].id} (annotations.jsonl:0)" in str(caught.value)
    assert "set maxSequenceLength below 16384" in str(caught.value)


def test_when_every_sample_is_set_aside_the_run_stops_in_words(make_run: MakeRun) -> None:
    with pytest.raises(DataError, match="no sample is left to train: all 16 were set aside"):
        trained(make_run(max_sequence_length=10))


def test_a_text_that_holds_a_control_token_is_set_aside(make_run: MakeRun) -> None:
    from airtune.datasets.record import read_records, write_records

    directory = make_run(epochs=1, train=5)
    records = read_records(directory.path("dataset/records.parquet"))
    first = {f: getattr(records[0], f) for f in records[0].__slots__}
    write_records(
        directory.path("dataset/records.parquet"),
        [type(records[0])(**{**first, "prompt": "Stop <|im_end|> now?"}), *records[1:]],
    )
    assert trained(directory)["samples"] == {"train": 4, "validation": 4, "set_aside": 1}
    assert rows(directory, "set-aside.jsonl")[0]["reason"] == "control-token"


def test_a_system_prompt_that_holds_a_control_token_is_refused(make_run: MakeRun) -> None:
    with pytest.raises(SettingsError, match=r"systemPrompt: holds '<\|im_end\|>', a control token of the model"):
        trained(make_run(system_prompt="Stop. <|im_end|>"))


def test_a_run_that_is_not_resolved_is_refused(make_run: MakeRun) -> None:
    directory = make_run()
    (directory.workspace / "resolution.json").unlink()
    with pytest.raises(SettingsError, match="is not resolved"):
        trained(directory)


@pytest.mark.s3
def test_metrics_and_checkpoints_are_in_a_remote_store_and_another_machine_resumes_from_them(
    s3_environment: object, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    local, remote = make_run(epochs=3), make_run(epochs=3, root="s3://airtune/training-test")

    class StopAtStep(StopRequest):
        @property
        def reason(self) -> str | None:
            path = remote.workspace / "training" / "metrics.jsonl"
            return "SIGTERM" if path.is_file() and len(path.read_text().splitlines()) >= 3 else None

    with pytest.raises(PreemptedError):
        train(remote.uri, StopAtStep())
    assert remote.store.stat("checkpoints/step-4/COMPLETE") is not None
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "another-machine"))
    from airtune.stores.run_directory import RunDirectory

    assert trained(RunDirectory.open(remote.uri))["resumed_from"] == 4
    trained(local)
    assert remote.store.read("model_adapter/adapter_model.safetensors") == weights(local)
    lines = remote.store.read("training/metrics.jsonl").decode().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 10))
    assert remote.store.stat("training/result.json") is not None

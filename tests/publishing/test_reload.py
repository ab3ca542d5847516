"""The published bundle, loaded by a real fresh process: it answers as the trained model, or it is not promoted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from airtune.configs import configs_root
from airtune.errors import DefectError
from airtune.publishing.bundle import assemble
from airtune.publishing.reload import answers_of_fresh_process, compare
from airtune.publishing.stage import publish
from airtune.runspec.resolved import Resolution
from airtune.stores import RunDirectory, layout

MakeRun = Callable[..., RunDirectory]
TINY = configs_root() / "demo" / "tiny-vlm"


def _answers_here(bundle: Path, workspace: Path) -> Mapping[str, str]:
    """The same as the fresh process says, without its 20 seconds of imports."""
    from airtune.evaluation.reload import answer_from_bundle

    answers: Mapping[str, str] = answer_from_bundle(bundle, workspace)["answers"]
    return answers


@pytest.mark.training
@pytest.mark.s3
def test_19_a_fresh_process_answers_from_the_published_bundle_as_the_trained_model_does(
    s3_root: str, make_run: MakeRun
) -> None:
    trained = make_run(s3_root, "trained")
    assemble(trained, Resolution.from_json(trained.store.read(layout.RESOLUTION)).run, TINY)
    texts = _answers_here(trained.workspace, trained.workspace)
    assert len(texts) == 4
    assert any(texts.values())

    run = make_run(s3_root, "published", texts=texts)
    result = publish(run)
    assert (result.agreement, result.samples, result.promoted) == (1.0, 4, True)
    assert run.read_json(layout.RELOAD) == {"agreement": 1.0, "samples": 4, "different": []}

    other = make_run(s3_root, "other", texts=texts)
    path = other.workspace / layout.MODEL_ADAPTER / "adapter_model.safetensors"
    save_file({name: np.flip(tensor * 40).copy() for name, tensor in load_file(path).items()}, path)
    other.push(layout.MODEL_ADAPTER)
    with pytest.raises(DefectError, match="answers otherwise"):
        publish(other, answer=_answers_here)
    assert json.loads(run.model_store("Shapes-tiny-LoRA-v1").read(layout.CURRENT))["run_id"] == "published"


@pytest.mark.training
def test_a_bundle_that_cannot_be_loaded_says_what_the_process_said(tmp_path: Path) -> None:
    (tmp_path / layout.MODEL_FULL).mkdir()
    with pytest.raises(DefectError, match="could not be loaded in a fresh process") as caught:
        answers_of_fresh_process(tmp_path, tmp_path)
    assert "run.json" in str(caught.value)


def test_answers_are_compared_with_the_greedy_ones_of_the_tuned_model(file_root: str, make_run: MakeRun) -> None:
    run = make_run(file_root, texts={f"sample-{number}": f"text {number}" for number in range(4)})
    same = {f"sample-{number}": f"text {number}" for number in range(4)}
    assert compare(run, same) == {"agreement": 1.0, "samples": 4, "different": []}
    found = compare(run, {**same, "sample-1": "text 1 ", "unknown": "ignored"})
    assert found["agreement"] == 0.75
    assert found["different"] == [{"sample": "sample-1", "trained": "text 1", "published": "text 1 "}]


def test_predictions_without_greedy_answers_are_a_defect(file_root: str, make_run: MakeRun) -> None:
    run = make_run(file_root)
    row = {"sample": "a", "model": "tuned", "decoding": "sampled", "text": "x"}
    run.path(layout.PREDICTIONS).write_text(json.dumps(row) + "\n")
    with pytest.raises(DefectError, match="no greedy answers"):
        compare(run, {"a": "x"})

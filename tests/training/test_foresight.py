"""What the resolver foretold is what a run then does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from airtune.catalog import registry
from airtune.datasets.record import read_records
from airtune.resolution.base_model import read_base_model
from airtune.resolution.device import Device
from airtune.resolution.estimate import estimate
from airtune.resolution.lengths import lengths_of
from airtune.resolution.picture_tokens import PictureRule
from airtune.resolution.text_tokens import text_rule
from airtune.runspec.resolved import Resolution
from airtune.stores import layout

pytestmark = pytest.mark.training

MakeRun = Callable[..., Any]


def foretold(directory: Any) -> dict[str, Any]:
    """The estimate that ``airtune resolve`` would have made for a run directory."""
    run = Resolution.from_json(directory.store.read(layout.RESOLUTION)).run
    base = read_base_model(run.base_model, where="baseModel")
    records = read_records(directory.path(layout.RECORDS))
    lengths = lengths_of(records, run, text_rule(run.base_model), PictureRule(base, run.max_pixels))
    return estimate(run, registry.entry(run.architecture), base, lengths, Device(None, None, None, 0, "test"))


@pytest.mark.parametrize("form", [{"quantization_enabled": True}, {"training_mode": "SFT"}], ids=["LoRA in NF4", "SFT"])
def test_parameters_steps_and_lengths_are_as_foretold(make_run: MakeRun, form: dict[str, Any]) -> None:
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    directory = make_run(epochs=1, batch_size=4, train=8, lora_rank=8, **form)
    expected = foretold(directory)
    result = train(directory.uri, StopRequest())
    check = directory.read_json(layout.TRAINING_SELFCHECK)
    assert expected["trained_parameters"] == check["trained_parameters"]
    assert {
        part: {key: value for key, value in counted.items() if key != "weight_bytes"}
        for part, counted in expected["parts"].items()
    } == check["parts"]
    assert expected["steps"] == result["planned_steps"]
    tokens = expected["lengths"]["tokens"]
    assert tokens["least"] <= check["sample"]["tokens"] <= tokens["most"]


def test_rows_are_no_longer_than_the_estimate_of_memory_allows(make_run: MakeRun) -> None:
    from airtune.training.__main__ import train
    from airtune.training.stopping import StopRequest

    directory = make_run(epochs=1, batch_size=8, train=8)
    resolution = json.loads(directory.store.read(layout.RESOLUTION))
    directory.write_json(layout.RESOLUTION, {**resolution, "estimate": {"row_tokens": 100}})
    train(directory.uri, StopRequest())
    log = directory.path(layout.TRAINING_LOG).read_text()
    largest = re.search(r"the largest pass \(\d+ samples, (\d+) tokens\)", log)
    assert largest is not None
    assert 60 <= int(largest[1]) <= 100  # two samples in a row; without a limit all eight share one

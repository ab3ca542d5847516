"""Great Expectations over the records: the suites of ``include/configs/expectations``, one JSON a task.

A suite is Great Expectations' own format. An expectation's ``severity`` decides what its failure means: ``critical``
fails the run, ``warning`` is reported, ``info`` is recorded.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airtune.configs import config_file
from airtune.datasets.record import Record
from airtune.datasets.record_table import RecordTable
from airtune.errors import Problem, SettingsError
from airtune.runspec.answers import COORDINATE_RANGE
from airtune.runspec.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

SEVERITIES: Final = ("critical", "warning", "info")

_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and how it went.

    Attributes:
        expectation: its type, for example ``expect_column_values_to_be_unique``.
        column: what it looks at; None for the table as a whole.
        severity: one of :data:`SEVERITIES`.
        description: a sentence, from the suite.
        passed: whether the records hold to it.
        observed: what was found instead, in words; empty when it passed.
    """

    expectation: str
    column: str | None
    severity: str
    description: str
    passed: bool
    observed: str

    def to_json(self) -> dict[str, Any]:
        """One entry of ``checks`` in ``validation/result.json``."""
        return {
            "expectation": self.expectation,
            "column": self.column,
            "severity": self.severity,
            "description": self.description,
            "passed": self.passed,
            "observed": self.observed,
        }


def run_expectations(records: RecordTable, task: Task) -> list[Check]:
    """Hold the records against the suite of their task.

    Args:
        records: all of them, both splits.
        task: whose suite to take.

    Returns:
        One check an expectation, in the suite's order.

    Raises:
        SettingsError: the suite is not one that Great Expectations can run.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import, which reads it
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    path = config_file("expectations", f"{task.value}.json")
    expectations = _expectations(path)
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    suite = gx.ExpectationSuite(name=task.value, expectations=expectations)
    asset = context.data_sources.add_pandas("records").add_dataframe_asset("records")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame_of(records)})
    results = batch.validate(suite, result_format="SUMMARY").to_json_dict()["results"]
    return [_check(result) for result in results]


def frame_of(records: RecordTable) -> pd.DataFrame:
    """The table that the suites speak of: one row a record.

    Columns: ``id``, ``split``, ``prompt``, ``target``, ``answer`` (None for phrase-grounding), ``prompt_characters``,
    ``target_characters``, ``replaced_characters``, ``images`` (how many), ``image`` (digest of the first, or of the
    video), ``width``, ``height`` (pixels), ``aspect_ratio`` (longer over shorter side; these four None where nothing
    is shown), ``image_on_both_sides``, ``frames`` (of the video, else None), ``phrases``, ``boxes`` (how many),
    ``smallest_box`` (share of the image; None without boxes), ``source_file``, ``source_line``.
    """
    import pandas as pd

    sides: defaultdict[str, set[str]] = defaultdict(set)
    for record in records.records():
        for digest in record.shown:
            sides[digest].add(record.split)
    return pd.DataFrame([_row(record, sides) for record in records.records()])


def _row(record: Record, sides: Mapping[str, set[str]]) -> dict[str, Any]:
    truth = json.loads(record.truth)
    boxes = [box for item in truth.get("groundings", ()) for box in item["boxes"]]
    areas = [(x2 - x1) * (y2 - y1) / COORDINATE_RANGE**2 for x1, y1, x2, y2 in boxes]
    return {
        "id": record.id,
        "split": record.split,
        "prompt": record.prompt,
        "target": record.target,
        "answer": answer_of(truth),
        "prompt_characters": len(record.prompt),
        "target_characters": len(record.target),
        "replaced_characters": record.replaced,
        "images": len(record.images),
        "image": record.shown[0] if record.shown else None,
        "width": record.width if record.shown else None,
        "height": record.height if record.shown else None,
        "aspect_ratio": max(record.width, record.height) / min(record.width, record.height) if record.shown else None,
        "image_on_both_sides": any(len(sides[digest]) > 1 for digest in record.shown),
        "frames": record.frames if record.video is not None else None,
        "phrases": len(truth.get("groundings", ())),
        "boxes": len(boxes),
        "smallest_box": min(areas, default=None),
        "source_file": record.source_file,
        "source_line": record.source_line,
    }


def answer_of(truth: Mapping[str, Any]) -> str | None:
    """The text of a truth; None for phrase-grounding, whose answer is not one text."""
    return next((str(truth[key]) for key in ("answer", "caption", "text") if key in truth), None)


def _expectations(path: Path) -> list[Any]:
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        stated = json.loads(path.read_text(encoding="utf-8"))["expectations"]
        if not isinstance(stated, list) or not all(isinstance(item, dict) for item in stated):
            raise TypeError("'expectations' is not a list of objects")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            Problem(str(path), f"not a suite of expectations: {error}", fix='{"name": ..., "expectations": [...]}')
        ) from error
    expectations, problems = [], []
    for index, item in enumerate(stated):
        try:  # one by one: a suite would pass over what it cannot build, and only say so in its log
            expectations.append(ExpectationConfiguration(**{"severity": "critical", **item}).to_domain_obj())
        except Exception as error:  # whatever pydantic, marshmallow or Great Expectations itself thinks of
            problems.append(
                Problem(
                    f"{path}: expectations[{index}]",
                    f"Great Expectations cannot build it: {str(error)[:300]}",
                    value=str(item.get("type")),
                    fix="correct it",
                )
            )
    if problems:
        raise SettingsError(problems)
    return expectations


def _check(result: Mapping[str, Any]) -> Check:
    config = result["expectation_config"]
    kwargs = config["kwargs"]
    column = kwargs.get("column") or ", ".join(kwargs.get("column_list", ())) or None
    passed = bool(result["success"])
    return Check(
        expectation=config["type"],
        column=column,
        severity=config.get("severity") or "critical",
        description=config.get("description") or f"{config['type']} {column or ''}".strip(),
        passed=passed,
        observed="" if passed else _observed(result),
    )


def _observed(result: Mapping[str, Any]) -> str:
    raised = result.get("exception_info") or {}
    nested = [inner for inner in raised.values() if isinstance(inner, dict)] or [raised]
    messages = [inner["exception_message"] for inner in nested if inner.get("exception_message")]
    if messages:
        return f"could not be checked: {messages[0][:300]}"
    found = result.get("result") or {}
    if found.get("unexpected_count"):
        values = Counter(str(value)[:60] for value in found.get("partial_unexpected_list", ()))
        some = ", ".join(repr(value) for value in list(values)[:_EXAMPLES])
        share = found.get("unexpected_percent") or 0.0
        return f"{found['unexpected_count']} of {found.get('element_count')} ({share:.1f} %): {some}"
    if found.get("partial_missing_list"):
        return f"missing: {', '.join(map(str, found['partial_missing_list'][:_EXAMPLES]))}"
    return f"found {found.get('observed_value')}"

"""Great Expectations over the records: every expectation of a run's suite, and how it went.

An expectation's ``severity`` decides what its failure means: ``critical`` fails the run, ``warning`` is reported,
``info`` is recorded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.expectations.suites import Suite
from airtune.datasets.expectations.table import frame_of
from airtune.datasets.pictures.inspection import ImageFacts
from airtune.errors import Problem, SettingsError

if TYPE_CHECKING:
    import pyarrow as pa

_PLACE: Final = "airtune_place"
"""In an expectation's ``meta``: where it stands in its suite."""

_NUMBER: Final = "_number"
"""How the names of columns end that hold a number for each text."""

_EXAMPLES: Final = 5
_LONGEST_EXAMPLE: Final = 60


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and how it went.

    Attributes:
        expectation: its type, for example ``expect_column_values_to_be_unique``.
        column: what it looks at; None for the table as a whole.
        severity: one of :data:`airtune.datasets.expectations.suites.SEVERITIES`.
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


class Expectations:
    """A suite, built and ready to be held against records.

    Args:
        suite: what is expected.

    Raises:
        SettingsError: Great Expectations cannot build some of them; all are named.
    """

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._built = _built(suite)

    def check(
        self,
        batches: Iterable[pa.RecordBatch],
        images: Mapping[str, ImageFacts] = MappingProxyType({}),
        near: Iterable[Sequence[str]] = (),
        *,
        data_docs: Path | None = None,
    ) -> list[Check]:
        """Hold records against the suite.

        Args:
            batches: all of them, both splits, with the fields that
                :func:`airtune.datasets.expectations.table.record_fields` names for the suite's columns.
            images: what is known about their images, by digest.
            near: groups of digests of images that are nearly the same.
            data_docs: an empty folder for Great Expectations' own pages; None writes none.

        Returns:
            One check an expectation, in the suite's order.
        """
        gx = _great_expectations()
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        suite = gx.ExpectationSuite(name=self.suite.name, expectations=list(self._built))
        asset = context.data_sources.add_pandas("records").add_dataframe_asset("records")
        # One table in memory, not pieces of it: what is unique, or how many values there are, only the whole can say.
        frame = frame_of(batches, self.suite.columns, images, near)
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
        found = batch.validate(suite, result_format="SUMMARY")
        if data_docs is not None:
            from airtune.datasets.expectations.data_docs import write_data_docs

            write_data_docs(context, suite, found, data_docs)
        results = found.to_json_dict()["results"]  # in an order of its own
        return [_check(each) for each in sorted(results, key=lambda each: each["expectation_config"]["meta"][_PLACE])]


def _great_expectations() -> Any:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # before the import, which reads it
    import great_expectations as gx

    # Its log repeats, with a stack, what the results say in a sentence.
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    return gx


def _built(suite: Suite) -> tuple[Any, ...]:
    _great_expectations()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    expectations, problems = [], []
    for place, stated in enumerate(suite.expectations):
        try:  # one by one: a suite would pass over what it cannot build, and only say so in its log
            meta = {**(stated.config.get("meta") or {}), _PLACE: place}
            expectations.append(ExpectationConfiguration(**{**stated.config, "meta": meta}).to_domain_obj())
        except Exception as error:  # whatever pydantic, marshmallow or Great Expectations itself thinks of
            problems.append(
                Problem(
                    stated.where,
                    f"Great Expectations cannot build it: {str(error)[:300]}",
                    value=repr(stated.config["type"])[:100],
                    fix="correct it",
                )
            )
    if problems:
        raise SettingsError(problems)
    return tuple(expectations)


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
        column = result["expectation_config"]["kwargs"].get("column")
        values = [_telling(column, value) for value in found.get("partial_unexpected_list", ())]
        some = ", ".join(list(dict.fromkeys(_short(value) for value in values if value is not None))[:_EXAMPLES])
        share = found.get("unexpected_percent") or 0.0
        counted = f"{found['unexpected_count']:,} of {found.get('element_count'):,} ({share:.1f} %)"
        return f"{counted}: {some}" if some else counted
    if found.get("partial_missing_list"):
        return f"missing: {', '.join(map(str, found['partial_missing_list'][:_EXAMPLES]))}"
    return f"found {_short(found.get('observed_value'))}"


def _telling(column: str | None, value: object) -> object:
    """A value that was not expected, without the numbers that stand for texts: they tell nobody anything."""
    if isinstance(value, Mapping):
        return {name: each for name, each in value.items() if not name.endswith(_NUMBER)} or None
    return None if column is not None and column.endswith(_NUMBER) else value


def _short(value: object) -> str:
    text = f"{value:.0f}" if isinstance(value, float) and value.is_integer() else repr(value)
    return text if len(text) <= _LONGEST_EXAMPLE else f"{text[: _LONGEST_EXAMPLE - 1]}…"

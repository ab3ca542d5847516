"""Which expectations a run is held to: the default, its own, and what is wrong with a suite in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.datasets.expectations.test_holding import records_of

from airtune.datasets.expectations.holding import Expectations
from airtune.datasets.expectations.suites import suite_for
from airtune.datasets.expectations.table import COLUMNS, record_fields
from airtune.datasets.record import write_records
from airtune.datasets.record_table import RecordTable
from airtune.errors import NotPermittedError, SettingsError
from airtune.runspec.tasks import Task

WIDER = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "width", "min_value": 500},
    "severity": "critical",
    "description": "wide",
}


def written(folder: Path, *expectations: Any, **more: Any) -> str:
    path = folder / "own suite.json"
    path.write_text(json.dumps({"name": "own", "expectations": list(expectations), **more}))
    return path.as_uri()


def problem_of(folder: Path, *expectations: Any, **more: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        Expectations(suite_for(Task.VQA, written(folder, *expectations, **more)))
    return str(caught.value)


def test_a_runs_own_suite_is_laid_over_the_default(tmp_path: Path) -> None:
    narrower = {**WIDER, "kwargs": {"column": "width", "max_value": 9000}}
    default = suite_for(Task.VQA)
    own = suite_for(Task.VQA, written(tmp_path, WIDER, narrower))
    assert len(own.expectations) == len(default.expectations) + 1  # one takes a place, one is new
    at = [stated.config["description"] for stated in default.expectations].index("images are at least 28 pixels wide")
    assert own.expectations[at].config == WIDER
    assert own.expectations[-1].config == narrower
    assert [uri.rpartition("/")[2] for uri, _ in own.files] == ["vqa.json", "own%20suite.json"]
    assert own.columns == default.columns


def test_a_suite_that_says_so_stands_alone(tmp_path: Path) -> None:
    own = suite_for(Task.VQA, written(tmp_path, WIDER, meta={"replaces_default": True}))
    assert [stated.config for stated in own.expectations] == [WIDER]
    assert own.columns == {"width"}
    assert len(own.files) == 1


def test_a_row_condition_needs_its_columns_too(tmp_path: Path) -> None:
    condition = {"row_condition": 'split=="train" and boxes>3', "condition_parser": "pandas"}
    stated = {**WIDER, "kwargs": {**WIDER["kwargs"], **condition}}  # type: ignore[dict-item]
    own = suite_for(Task.VQA, written(tmp_path, stated, meta={"replaces_default": True}))
    assert own.columns == {"width", "split", "boxes"}


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        ({**WIDER, "kwargs": {"column": "widht"}}, "expectations[0]: the table has no such column (got 'widht')"),
        ({**WIDER, "kwargs": {"column": "widht"}}, "is 'width' meant?"),
        ({**WIDER, "kwargs": {"column_list": ["width", 3]}}, "the table has no such column (got 3)"),
        ({**WIDER, "severity": "fatal"}, "no such severity (got 'fatal'); allowed: critical or warning or info"),
        ({**WIDER, "type": "expect_wonders"}, "Great Expectations cannot build it"),
        ({**WIDER, "kwargs": {"column": "width", "min_value": [1]}}, "Great Expectations cannot build it"),
        ({**WIDER, "kwargs": 3}, "has no object 'kwargs'"),
        ({"kwargs": {}}, "has no 'type'"),
        (["type"], "has no 'type'"),
    ],
)
def test_what_is_wrong_with_an_expectation_is_said_with_its_place(tmp_path: Path, expectation: Any, said: str) -> None:
    assert said in problem_of(tmp_path, expectation)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = problem_of(tmp_path, {**WIDER, "severity": "fatal"}, {**WIDER, "kwargs": {"column": "x"}})
    assert "expectations[0]" in text
    assert "expectations[1]" in text


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"expectations": {}}', b"\xff\xfe", b'{"expectations": [], "meta": 3}', b"[" * 9999]
)
def test_a_file_that_is_no_suite_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="not a suite of expectations"):
        suite_for(Task.VQA, path.as_uri())


def test_a_suite_that_is_not_there_or_not_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        suite_for(Task.VQA, (tmp_path / "none.json").as_uri())
    with pytest.raises(SettingsError, match="not a URI"):
        suite_for(Task.VQA, "suite.json")
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", "s3://ours")
    with pytest.raises(NotPermittedError, match="does not read from there"):
        suite_for(Task.VQA, written(tmp_path, WIDER))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=5)
    | st.sampled_from(["width", "split", "expect_column_values_to_be_between", "info", "$x", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["column", "column_list", "min_value", "mostly", "type", "kwargs", "severity", "meta"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
LIMITS = {
    "expect_column_values_to_be_between": {"min_value": st.integers(-3, 99) | VALUES, "mostly": st.floats(0, 1)},
    "expect_column_values_to_be_in_set": {"value_set": st.lists(st.text(max_size=3)) | VALUES},
    "expect_column_values_to_match_regex": {"regex": st.sampled_from(["(", "a+"]) | VALUES},
    "expect_column_values_to_be_unique": {
        "row_condition": st.sampled_from(['split=="train"', "(", "x"]),
        "condition_parser": st.just("pandas"),
    },
}
ANY = st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "kwargs", "severity", "description", "meta"), VALUES))
PLAUSIBLE = st.sampled_from(sorted(LIMITS)).flatmap(
    lambda kind: st.fixed_dictionaries(
        {
            "type": st.just(kind),
            "kwargs": st.fixed_dictionaries({"column": st.sampled_from(list(COLUMNS)), **LIMITS[kind]}),
        },
        optional={"severity": st.sampled_from(["critical", "info"]), "description": st.text(max_size=5)},
    )
)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    suite=st.fixed_dictionaries({"expectations": st.lists(PLAUSIBLE, max_size=3)})
    | st.fixed_dictionaries({"expectations": st.lists(ANY, max_size=2) | VALUES})
    | VALUES
)
def test_whatever_a_suite_holds_it_is_used_or_refused_in_words(tmp_path: Path, suite: Any) -> None:
    path = tmp_path / "any.json"
    write_records(tmp_path / "records.parquet", records_of(Task.VQA))
    records = RecordTable(tmp_path / "records.parquet")
    path.write_text(json.dumps(suite))
    said: list[str] = []
    try:
        built = Expectations(suite_for(Task.VQA, path.as_uri()))
    except SettingsError as error:
        said = [str(problem) for problem in error.problems]
        event("refused")
    else:
        event("used")
        checks = built.check(records.batches(record_fields(built.suite.columns)))
        assert len(checks) == len(built.suite.expectations) > 0
        assert json.dumps([check.to_json() for check in checks], ensure_ascii=False).encode()
    assert all(text.encode() for text in said)

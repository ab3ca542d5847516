"""What holds for any input."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from airtune.errors import SettingsError
from airtune.runspec.document import RunDocument
from airtune.runspec.overrides import all_overrides, parse_assignments
from airtune.runspec.schema_export import run_schema
from airtune.runspec.settings import all_settings

EXAMPLE = json.loads((Path(__file__).parent / "examples" / "platform.json").read_text())
SCHEMA = Draft202012Validator(run_schema())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.just("auto"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(one: Any, other: Any) -> bool:
    """Equal, with equal types and equal order of keys."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@FEW
@given(extra=st.dictionaries(TEXT.map("x-{}".format), VALUES, max_size=3), place=st.integers(0, 6))
def test_unknown_keys_survive_a_round_trip_wherever_they_stand(extra: dict[str, Any], place: int) -> None:
    run = json.loads(json.dumps(EXAMPLE))
    flow = run["spec"]["flow"]
    model = flow["blocks"][3]
    [run, run["spec"], flow, model, model["settings"], model["settings"]["hyperparameters"],
     model["settings"]["evaluation"]][place].update(extra)  # fmt: skip
    document = RunDocument.parse(json.dumps(run))
    assert same(json.loads(document.to_json()), run)
    assert same(RunDocument.parse(document.to_json()).raw, run)


@FEW
@given(st.binary(max_size=200) | st.text(max_size=200) | VALUES.map(json.dumps))
def test_no_text_gives_anything_but_a_settings_error(text: str | bytes) -> None:
    with contextlib.suppress(SettingsError):
        RunDocument.parse(text)


@FEW
@given(path=st.sampled_from(sorted(all_settings())), value=VALUES)
def test_any_value_of_any_setting_is_read_or_refused_and_the_schema_never_refuses_what_is_read(
    path: str, value: Any
) -> None:
    run = json.loads(json.dumps(EXAMPLE))
    setting = all_settings()[path]
    places: dict[str | None, Any] = {"dataset": 0, "system-prompt": 1, "model": 3}
    at = run if setting.block is None else run["spec"]["flow"]["blocks"][places[setting.block]]["settings"]
    for key in setting.keys[:-1]:
        at = at.setdefault(key, {})
    at[setting.keys[-1]] = value
    try:
        document = RunDocument.from_object(run)
    except SettingsError:
        return
    assert same(document.raw, run)
    assert SCHEMA.is_valid(run)


@FEW
@given(st.dictionaries(st.sampled_from(sorted(all_overrides())) | TEXT, VALUES, max_size=4))
def test_any_overrides_are_applied_or_refused(given_values: dict[str, Any]) -> None:
    document = RunDocument.from_object(EXAMPLE)
    with contextlib.suppress(SettingsError):
        after = document.with_overrides(given_values)
        assert same(RunDocument.parse(after.to_json()).raw, after.raw)
    assert same(document.raw, EXAMPLE)


@FEW
@given(st.lists(st.builds("{}={}".format, st.sampled_from(sorted(all_overrides())), st.text(max_size=20)), max_size=3))
def test_any_assignments_are_read_or_refused(assignments: list[str]) -> None:
    with contextlib.suppress(SettingsError):
        RunDocument.from_object(EXAMPLE).with_overrides(parse_assignments(assignments))

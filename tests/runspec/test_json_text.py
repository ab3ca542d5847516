"""Reading JSON strictly."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from airtune.errors import SettingsError
from airtune.runspec.json_text import MAXIMUM_BYTES, MAXIMUM_DEPTH, check_plain, read_json, write_json


def refused(text: str | bytes) -> str:
    with pytest.raises(SettingsError) as caught:
        read_json(text, where="run.json")
    return str(caught.value)


def test_a_fault_is_named_with_line_and_column() -> None:
    assert refused('{"a": 1,\n "b": }').startswith("run.json line 2 column 7: is not JSON")


def test_an_empty_text_is_refused() -> None:
    assert "the end of the text" in refused("")


def test_a_key_that_stands_twice_is_named_with_its_path() -> None:
    assert (
        refused('{"a": [{"b": 1, "c": 2, "b": 3}]}') == "a[0].b: stands twice in the same object; keep one of the two"
    )


def test_a_key_that_stands_twice_in_a_value_that_was_replaced_is_found_too() -> None:
    message = refused('{"a": {"b": 1, "b": 2}, "a": 3}')
    assert "a: stands twice" in message
    assert "run.json: b: stands twice" in message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    assert "number" in refused(f'{{"a": {number}}}')


def test_bytes_that_are_no_utf8_are_refused() -> None:
    assert "byte 6" in refused(b'{"a":"\xff"}')
    assert "is not UTF-8" in refused('{"a": 1}'.encode("utf-16"))


def test_a_byte_order_mark_is_skipped() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}', where="run.json") == {"a": 1}


def test_half_a_surrogate_pair_is_refused_in_values_and_keys() -> None:
    assert "a: holds half of a surrogate pair" in refused(r'{"a": "\ud83d"}')
    assert "half of a surrogate pair" in refused(r'{"\ud83d": 1}')
    assert read_json(r'{"a": "\ud83d\ude00"}', where="run.json") == {"a": "\N{GRINNING FACE}"}


@pytest.mark.parametrize("depth", [MAXIMUM_DEPTH + 1, 2_000, 200_000])
def test_a_text_that_is_nested_too_deeply_is_refused(depth: int) -> None:
    assert "nested too deeply" in refused("[" * depth + "]" * depth)


def test_a_text_that_is_too_large_is_refused_before_it_is_read() -> None:
    assert "too large" in refused("x" * (MAXIMUM_BYTES + 1))


def test_the_order_of_keys_and_the_kinds_of_numbers_survive() -> None:
    text = '{\n  "b": 1,\n  "a": 1.0,\n  "c": 1e-07,\n  "d": -0.0,\n  "e": "ü"\n}\n'
    assert write_json(read_json(text, where="run.json")) == text


@pytest.mark.parametrize(
    "value", [{"a": {1, 2}}, {"a": (1,)}, {"a": datetime.date(2026, 1, 1)}, {"a": b"x"}, {"a": float("nan")}, {1: 2}]
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError):
        check_plain(value, where="run")


def test_an_object_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["a"] = value
    with pytest.raises(SettingsError, match="nested too deeply"):
        check_plain(value, where="run")

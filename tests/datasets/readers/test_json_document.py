"""One JSON object of any size, read piece by piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airtune.datasets.draft import writable_value
from airtune.datasets.readers import json_document
from airtune.datasets.readers.json_document import MalformedError, lists_of

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
TRAPS = st.sampled_from([{"a": '},{"'}, {"b": [{"c": 1}, {"d": "]"}]}, {"e": '\\"}'}, {}])
DOCUMENTS = st.dictionaries(st.text(max_size=4), st.lists(VALUES | TRAPS, max_size=12) | VALUES, max_size=4)


def pieces(content: bytes, length: int) -> Iterator[bytes]:
    return (content[start : start + length] for start in range(0, len(content), length))


def lists(content: bytes, length: int = 1 << 20) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for key, batch in lists_of(pieces(content, length)):
        found.setdefault(key, []).extend(batch)
    return found


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(1, 60), st.integers(1, 60), st.sampled_from([None, 1]))
def test_every_list_comes_whole_however_the_file_is_cut(
    document: dict[str, Any], length: int, piece: int, indent: int | None
) -> None:
    content = json.dumps(document, indent=indent).encode()
    before = json_document._PIECE
    json_document._PIECE = piece  # type: ignore[misc]
    try:
        found = lists(content, length)
    finally:
        json_document._PIECE = before  # type: ignore[misc]
    expected = {key: value for key, value in document.items() if isinstance(value, list) and value}
    assert writable_value(found) == writable_value(expected)


@given(DOCUMENTS, st.data())
@settings(max_examples=200, deadline=None)
def test_a_broken_file_is_refused_with_the_place(document: dict[str, Any], data: st.DataObject) -> None:
    content = json.dumps(document).encode()
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(MalformedError, match=r"\(line 1, column \d+\)"):
        lists(content[:cut])


@given(st.binary(max_size=60) | st.binary(max_size=20).map(lambda some: b'{"a": [' + some))
@settings(max_examples=300, deadline=None)
def test_no_file_however_broken_gives_anything_but_lists_or_a_refusal(content: bytes) -> None:
    found: dict[str, list[Any]] | str = {}
    try:
        found = lists(content, 7)
    except MalformedError as error:
        found = str(error)
    assert "line" in found if isinstance(found, str) else all(found.values())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": [\n{"b": 1},\n{"b": x}\n]}', "malformed JSON: Expecting value (line 3, column 7)"),
        (b'{"a": [{"b": "\xff"}]}', "not UTF-8 (line 1, column 15)"),
        (b"[]", "'{' is missing (line 1, column 1)"),
        (b'{"a": []} {}', "more text after the end of the object (line 1, column 11)"),
        (b'{"a": [{"b": 1},]}', "a value is missing (line 1, column 17)"),
        (b'{"a": %s' % (b"[" * 100), "nested deeper than 64 levels"),
        (b"", "the file breaks off (line 1, column 1)"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_column(content: bytes, words: str) -> None:
    with pytest.raises(MalformedError) as caught:
        lists(content)
    assert words in str(caught.value)


def test_a_number_that_is_none_and_half_a_letter_are_no_reason_to_refuse_a_file() -> None:
    [row] = lists(b'\xef\xbb\xbf{"a": [{"area": NaN, "name": "\\ud800"}]}')["a"]
    assert row["area"] != row["area"]
    assert row["name"] == "\N{REPLACEMENT CHARACTER}"

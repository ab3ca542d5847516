"""Lines of JSON, whatever state the file is in."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtune.datasets.draft import Reject
from airtune.datasets.readers.json_lines import json_lines


def test_lines_are_counted_from_one_and_blank_ones_passed_over() -> None:
    assert list(json_lines(b'{"a":1}\n\n  \r\n[2]\r\n3')) == [(1, {"a": 1}), (4, [2]), (5, 3)]
    assert list(json_lines(b"")) == []


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert list(json_lines(b'\xef\xbb\xbf{"a":1}\n')) == [(1, {"a": 1})]


def test_a_malformed_line_is_named_with_its_column_and_leaves_the_others_alone() -> None:
    lines = dict(json_lines(b'{"a":1}\n{"a":,}\n{"a":3}\n'))
    assert lines[1] == {"a": 1}
    assert lines[3] == {"a": 3}
    assert isinstance(lines[2], Reject)
    assert "column 6" in lines[2].message
    assert lines[2].reason == "annotation-malformed"


def test_a_file_that_is_one_document_is_taken_as_its_samples() -> None:
    values = [{"a": 1}, {"a": 2}]
    assert list(json_lines(json.dumps(values, indent=1).encode())) == [(1, values[0]), (2, values[1])]
    assert list(json_lines(json.dumps(values).encode())) == [(1, values[0]), (2, values[1])]
    assert list(json_lines(json.dumps(values[0], indent=1).encode())) == [(1, values[0])]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\xff\xfe{\x00}\x00", "UTF-16"),
        (b'{"a":"\xe9"}', "not UTF-8: byte 7"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "digit"),
        (b"[" * 100_000, "nest|malformed"),
        (b"[" * 90 + b"]" * 90, "nested deeper than 64"),
        (b"{", "malformed JSON at column 2"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(line: bytes, words: str) -> None:
    [(number, value)] = json_lines(line)
    assert number == 1
    assert isinstance(value, Reject)
    assert re.search(words, value.message), value.message


def test_half_a_surrogate_pair_and_control_characters_become_something_that_can_be_written() -> None:
    [(_, value)] = json_lines(rb'{"a\ud800":["x\udfffy", "z\u0000\u001b"]}')
    assert value == {"a\N{REPLACEMENT CHARACTER}": ["x\N{REPLACEMENT CHARACTER}y", "z  "]}
    [(_, pair)] = json_lines(rb'"\ud83d\ude00"')
    assert pair == "😀"


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ud8n0\n\r', max_size=60).map(str.encode))
def test_whatever_the_bytes_are_every_line_is_a_value_or_refused(content: bytes) -> None:
    for number, value in json_lines(content):
        assert number >= 1
        if not isinstance(value, Reject):
            json.dumps(value, ensure_ascii=False).encode("utf-8")

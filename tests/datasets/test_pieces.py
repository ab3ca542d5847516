"""Annotation files in pieces: what several processes read is what one would."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airtune.datasets.draft import Reject
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.readers.formats import READERS
from airtune.datasets.readers.json_lines import json_lines
from airtune.datasets.readers.pieces import Divisible, pieces_of, read_texts
from airtune.datasets.source import Source
from airtune.runspec.tasks import Task

LINES = st.sampled_from(
    [b'{"a":1}', b"", b"[1,2]", b'{"a":', b'{"b":"\xc3\xa4"}', b'{"c":"\xff"}', b"\xef\xbb\xbf{}", b"7"]
)


@settings(deadline=None)
@given(st.lists(st.lists(LINES, max_size=8).map(b"\n".join), min_size=1, max_size=4), st.integers(8, 60))
def test_files_in_pieces_have_the_values_and_line_numbers_of_whole_files(files: list[bytes], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(files):
            (Path(folder) / f"{number}.jsonl").write_bytes(content)
        source = Source.open(Path(folder).as_uri())
        keys = sorted(source.keys)
        pieces = [list(read_texts(source, piece)) for piece in pieces_of(source, keys, size)]
    found: dict[str, list[Any]] = {key: [] for key in keys}
    for text in (text for piece in pieces for text in piece):
        found[text.key] += map(told, text.values())
    assert found == {key: [*map(told, json_lines(content))] for key, content in zip(keys, files, strict=True)}


def told(value: tuple[int, Any]) -> tuple[int, Any]:
    number, found = value
    return (number, str(found)) if isinstance(found, Reject) else value


def test_a_large_file_of_lines_is_cut_and_a_document_is_not(tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text('{"a": 1}\n' * 100)
    (tmp_path / "list.json").write_text("[" + '{"a": 1},\n' * 99 + '{"a": 1}]')
    source = Source.open(tmp_path.as_uri())
    assert len(list(pieces_of(source, ["lines.jsonl"], 90))) == 10
    [(whole,)] = pieces_of(source, ["list.json"], 90)
    assert len(list(whole.values())) == 100


def test_a_large_file_that_leads_out_of_the_dataset_is_refused_as_a_small_one_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "outside.jsonl").write_text('{"a": 1}\n' * 100)
    (tmp_path / "data" / "in.jsonl").symlink_to(tmp_path / "outside.jsonl")
    source = Source.open((tmp_path / "data").as_uri())
    for size in (10, 10_000):
        [piece] = pieces_of(source, ["in.jsonl"], size)
        [text] = read_texts(source, piece)
        assert isinstance(text.content, Reject)
        assert text.content.reason == "annotation-outside"


def test_a_file_of_many_pieces_that_holds_no_conversations_is_passed_over_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "x"}]}\n')
    (tmp_path / "other.jsonl").write_text('{"name": 1}\n' * 30)
    monkeypatch.setattr("airtune.datasets.readers.chat_jsonl.PIECE", 100)
    reader = ChatReader(Source.open(tmp_path.as_uri()))
    assert [outcome.place.file for outcome in reader.read(Task.VQA)] == ["a.jsonl"]
    assert "1 JSON files hold no conversations and are passed over" in reader.notes()[0]


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if hasattr(reader, "read_piece")])
def test_a_reader_that_is_divided_can_be_sent_to_another_process(name: str, tmp_path: Path) -> None:
    (tmp_path / "dump/annotations").mkdir(parents=True)
    (tmp_path / "dump/annotations/a.jsonl").write_text('{"messages": 1}\n{}\n')
    reader: Any = READERS[name](Source.open(tmp_path.as_uri()))
    assert isinstance(reader, Divisible)
    other = pickle.loads(pickle.dumps(reader))
    found = [outcome for piece in reader.pieces() for outcome in other.read_piece(piece, Task.VQA)]
    assert found == list(reader.read(Task.VQA))
    assert found
    reader.take_over(other.hand_over())

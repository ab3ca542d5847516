"""Annotation files in pieces: what several processes read is what one would."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import pytest
from broken_datasets import SPECIMENS
from hypothesis import given, settings
from hypothesis import strategies as st

from airtune.datasets.draft import Reject
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.readers.formats import READERS
from airtune.datasets.readers.json_lines import json_lines
from airtune.datasets.readers.pieces import Divisible, pieces_of, read_texts, whole_files
from airtune.datasets.sources.source import Source
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
def test_a_reader_that_is_divided_can_be_sent_to_another_process(name: str) -> None:
    reader: Any = READERS[name](Source.open((SPECIMENS / name).as_uri()))
    assert isinstance(reader, Divisible)
    task = Task.PHRASE_GROUNDING if name in ("voc", "yolo") else Task.VQA
    whole = list(reader.read(task))
    notes = reader.notes()
    reader.hand_over()
    other = pickle.loads(pickle.dumps(reader))
    assert [outcome for piece in reader.pieces() for outcome in other.read_piece(piece, task)] == whole
    assert whole
    reader.take_over(other.hand_over())
    assert reader.notes() == notes


def test_a_file_that_is_too_large_for_one_image_is_refused_unread(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x" * (50 if name == "b" else 5))
    pieces = list(whole_files(Source.open(tmp_path.as_uri()), ["a", "b", "c"], most=20, piece=9))
    assert [[text.key for text in piece] for piece in pieces] == [["a"], ["b", "c"]]
    refused = pieces[1][0].content
    assert isinstance(refused, Reject)
    assert "50 bytes" in refused.message
    assert [text.content for piece in pieces for text in piece if text.key != "b"] == [None, None]


def texts_of(folder: Path, name: str, size: int = 90) -> list[tuple[int, Any]]:
    source = Source.open(folder.as_uri())
    texts = [text for piece in pieces_of(source, [name], size) for text in piece]
    return [
        told(found)
        for text in texts
        for found in ([(text.line, text.content)] if isinstance(text.content, Reject) else text.values())
    ]


@pytest.mark.parametrize("space", ["", "\n", "\n  "])
def test_a_list_that_is_too_large_to_be_read_whole_is_read_element_by_element(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, space: str
) -> None:
    values = [{"a": number, "b": ["ü\u0001", 2**70]} for number in range(50)]
    (tmp_path / "list.json").write_text("[" + space + f",{space}".join(map(json.dumps, values)) + space + "]")
    expected = texts_of(tmp_path, "list.json")
    monkeypatch.setattr("airtune.datasets.readers.pieces.LONGEST", 200)
    found = texts_of(tmp_path, "list.json")
    assert [number for number, _ in found] == list(range(1, 51)) == [number for number, _ in expected]
    assert [value["a"] for _, value in found] == list(range(50))
    assert found[0][1]["b"][0] == expected[0][1]["b"][0]


def test_a_large_list_that_is_broken_is_read_up_to_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airtune.datasets.readers.pieces.LONGEST", 200)
    (tmp_path / "list.json").write_text('[{"a": 1}, ' + '{"a": 2}, ' * 40 + '{"a": }]')
    *_, (_, last) = texts_of(tmp_path, "list.json")
    assert "malformed JSON" in last
    (tmp_path / "list.json").write_text('{"a": [\n' + "1,\n" * 200 + "1]}")
    assert texts_of(tmp_path, "list.json") == [
        (1, "a document that is neither lines nor a list of more than 200 bytes")
    ]


def test_a_line_without_end_is_set_aside_and_the_lines_after_it_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airtune.datasets.readers.pieces.LONGEST", 300)
    (tmp_path / "lines.jsonl").write_text('{"a": 1}\n{"a": 2}\n' + "x" * 5000 + '\n{"a": 4}\n' * 60)
    found = texts_of(tmp_path, "lines.jsonl")
    assert found[:4] == [(1, {"a": 1}), (2, {"a": 2}), (3, "a line of more than 300 bytes"), (4, {"a": 4})]
    (tmp_path / "lines.jsonl").write_text("y" * 5000 + '\n{"a": 2}')
    assert texts_of(tmp_path, "lines.jsonl") == [(1, "a line of more than 300 bytes"), (2, {"a": 2})]


def test_a_file_that_no_annotation_can_be_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(5_000_000_000)
    [(_, refusal)] = Source.open(tmp_path.as_uri()).read_many(["a.xml"])
    assert isinstance(refusal, Reject)
    assert "5,000,000,000 bytes" in refusal.message


def test_a_file_of_gigabytes_in_utf_16_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write("\ufeff{}\n".encode("utf-16-le"))
        file.truncate(3_000_000_000)
    [(line, refusal)] = texts_of(tmp_path, "a.jsonl")
    assert line == 1
    assert "UTF-16 and has 3,000,000,000 bytes" in refusal

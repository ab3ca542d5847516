"""In which encoding an annotation file is."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.datasets.conftest import ViFolder, line_of, vqa

from airtune.datasets.draft import Draft, Reject
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.sources.source import Source
from airtune.datasets.sources.text_encoding import as_utf8, decoded
from airtune.runspec.tasks import Task

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", MARKS)
def test_unicode_is_read_in_every_encoding_with_a_mark_and_without(encoding: str, mark: bool) -> None:
    text = '{"question": "Größe? 日本 😀"}\n'
    content = (MARKS[encoding] if mark else b"") + text.encode(encoding)
    assert as_utf8(content).decode() == decoded(content) == text


def test_what_breaks_off_in_utf_16_is_refused_with_its_byte() -> None:
    with pytest.raises(Reject, match="UTF-16 and breaks at its byte 7"):
        as_utf8(codecs.BOM_UTF16_LE + "{}".encode("utf-16-le") + b"\x00")


def test_latin_1_is_refused_with_the_byte_and_its_line() -> None:
    content = "filename,class\na.png,Größe\n".encode("latin-1")
    assert as_utf8(content) == content
    with pytest.raises(Reject, match="byte 24 of the file, in line 2, is 0xf6"):
        decoded(content)


@given(st.binary(max_size=60))
def test_any_bytes_become_text_or_are_refused_in_words(content: bytes) -> None:
    try:
        text = decoded(content)
    except Reject as refusal:
        text = refusal.message
    text.encode("utf-8")


@given(st.text(min_size=2, max_size=40, alphabet=st.characters(exclude_categories=["Cs"])))
def test_utf_8_is_never_taken_for_something_else(text: str) -> None:
    if "\0" not in text[:4]:
        assert decoded(text.encode()) == text.removeprefix("\ufeff")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_a_dataset_in_another_encoding_is_read_and_one_line_of_latin_1_leaves_the_others_alone(
    folder: ViFolder, encoding: str
) -> None:
    folder.image("dump", "a.png")
    line = json.dumps(line_of("a.png", vqa(("Größe?", "ä"))), ensure_ascii=False)
    path = folder.root / "dump/annotations/a.jsonl"
    path.parent.mkdir()
    path.write_bytes(f"{line}\n".encode(encoding))
    _, reader = reader_for(Source.open(folder.root.as_uri()), None)
    [sample] = reader.read(Task.VQA)
    assert isinstance(sample, Draft)
    assert sample.prompt == "Größe?"
    path.write_bytes(f"{line}\n".encode("latin-1") + f"{line}\n".encode())
    broken, whole = reader_for(Source.open(folder.root.as_uri()), None)[1].read(Task.VQA)
    assert "byte" in getattr(broken, "message", "")
    assert isinstance(whole, Draft)

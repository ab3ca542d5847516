"""Texts that were decoded wrongly before they came here."""

from __future__ import annotations

from tests.datasets.conftest import NewRun, ViFolder, vqa

from airtune.datasets.stage import validate
from airtune.stores import layout


def test_what_was_decoded_wrongly_is_a_warning_with_places_and_accents_are_not(
    folder: ViFolder, new_run: NewRun
) -> None:
    folder.fill("dump", 22)
    folder.sample("dump", "x1", vqa(("How gro\ufffd is it?", "1")))
    folder.sample("dump", "x2", vqa(("What?", "GrÃ¶ÃŸe")))
    folder.sample("dump", "x3", vqa(("Größe, Ângela, São, 20 °C, ÃO?", "é")))
    run = new_run(folder.root.as_uri())
    validate(run)
    warnings = [line for line in run.read_json(layout.VALIDATION_RESULT)["warnings"] if line.startswith("the texts of")]
    assert warnings == [
        "the texts of 1 samples hold the mark of a lost character (\ufffd): dump/annotations/x1.jsonl:1",
        "the texts of 1 samples look like UTF-8 that was read as Latin-1 (Ã¼ for ü): dump/annotations/x2.jsonl:1",
    ]

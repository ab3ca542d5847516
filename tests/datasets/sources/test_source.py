"""What lies in a dataset's folder beside files."""

from __future__ import annotations

import os

from tests.datasets.conftest import NewRun, ViFolder

from airtune.datasets.sources.source import Source
from airtune.datasets.stage import validate
from airtune.stores import layout


def test_links_that_lead_nowhere_what_is_no_file_and_names_that_are_no_text_are_passed_over_and_named(
    folder: ViFolder, new_run: NewRun
) -> None:
    folder.fill("dump", 22)
    annotations = folder.root / "dump/annotations"
    (annotations / "gone.jsonl").symlink_to("../../.git/annex/objects/x")
    (annotations / "loop.jsonl").symlink_to(annotations / "loop.jsonl")
    (annotations / "zero.jsonl").symlink_to("/dev/zero")
    os.mkfifo(annotations / "pipe.jsonl")
    (annotations / "fine.txt").symlink_to("d0000.jsonl")
    with open(os.fsencode(annotations) + b"/\xff.jsonl", "wb") as file:  # noqa: PTH123 - no pathlib for such a name
        file.write(b"{}\n")
    run = new_run(folder.root.as_uri())
    validate(run)
    [said] = [line for line in run.read_json(layout.VALIDATION_RESULT)["warnings"] if "passed over (links" in line]
    assert said.startswith("5 entries are passed over")
    assert "gone.jsonl" in said
    assert run.read_json(layout.FACTS)["samples_found"] == 22


def test_a_folder_of_files_has_nothing_to_say(folder: ViFolder) -> None:
    folder.fill("dump", 1)
    assert Source.open(folder.root.as_uri()).notes() == []

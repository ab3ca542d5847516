"""Great Expectations' own pages: only where they were asked for, and without the data's markup."""

from __future__ import annotations

import json
from pathlib import Path

from tests.datasets.conftest import NewRun, ViFolder, vqa

from airtune.datasets.stage import validate
from airtune.stores import layout

NASTY = "<script>alert(1)</script><b onclick='x()'>"


def test_the_pages_are_written_where_asked_for_and_show_no_data_as_markup(
    folder: ViFolder, tmp_path: Path, new_run: NewRun
) -> None:
    folder.fill("dump", 30)
    folder.sample("dump", "nasty", vqa((NASTY, NASTY)))
    values = {"column": "prompt", "value_set": ["What?", NASTY * 2]}
    own = {"type": "expect_column_values_to_be_in_set", "kwargs": values, "severity": "info", "description": NASTY}
    suite = tmp_path / "own.json"
    suite.write_text(json.dumps({"name": NASTY, "expectations": [own]}))
    run = new_run(folder.root.as_uri(), expectations=suite.as_uri(), dataDocs=True)
    validate(run)
    pages = {
        info.key for info in run.store.list() if info.key.startswith(layout.DATA_DOCS) and info.key.endswith("html")
    }
    assert f"{layout.DATA_DOCS}/index.html" in pages
    texts = [run.store.read(page).decode() for page in pages]
    assert any("alert(1)" in text for text in texts)  # it is shown
    assert not any("<script>alert" in text or "<b onclick" in text for text in texts)
    result = run.read_json(layout.VALIDATION_RESULT)
    [check] = [each for each in result["checks"] if each["description"] == NASTY]
    assert check["severity"] == "info"
    assert not check["passed"]
    assert NASTY[:50] in check["observed"]
    assert [suite["uri"].rpartition("/")[2] for suite in result["suites"]] == ["vqa.json", "own.json"]


def test_without_being_asked_for_there_are_none_and_old_ones_go(folder: ViFolder, new_run: NewRun) -> None:
    folder.fill("dump", 30)
    run = new_run(folder.root.as_uri())
    run.write_text(f"{layout.DATA_DOCS}/index.html", "of an earlier try")
    validate(run)
    assert not [info.key for info in run.store.list() if info.key.startswith(layout.DATA_DOCS)]

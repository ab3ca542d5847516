"""The reference of all settings in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from airtune.runspec.document import RunDocument
from airtune.runspec.reference import settings_reference, with_reference
from airtune.runspec.settings import all_settings

PAGE = (Path(__file__).parents[2] / "docs" / "run-json.md").read_text(encoding="utf-8")


def test_the_table_in_the_documentation_is_current() -> None:
    assert with_reference(PAGE) == PAGE, "run: python -m airtune.runspec.reference docs/run-json.md"


def test_every_setting_is_in_the_table_with_its_meaning() -> None:
    table = settings_reference()
    for setting in all_settings().values():
        assert setting.description
        assert f"`{'.'.join(setting.keys)}`" in table


def test_the_example_in_the_documentation_is_a_valid_run_json() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert RunDocument.from_object(json.loads(example)).notes == ()


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        with_reference("# a page")

"""docs/proofs.md: every setting and every number has its tests, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airtune.runspec.settings import all_settings

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "proofs.md").read_text(encoding="utf-8")
SETTINGS, MISTAKES = (
    [line for line in PAGE.split(title)[1].split("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    for title in ("## Every setting\n", "## The twenty mistakes\n")
)


def references(row: str) -> list[str]:
    return re.findall(r"`([a-z_/0-9]+\.py(?:::\w+)?)`", row.rstrip(" |").rpartition(" | ")[2])


def test_every_setting_has_a_row_and_every_row_is_a_setting() -> None:
    assert [re.findall(r"^\| `([^`]+)`", row)[0] for row in SETTINGS] == list(all_settings())


def test_each_of_the_twenty_mistakes_has_a_test_with_its_number() -> None:
    numbers = [int(row.split("|")[1]) for row in MISTAKES]
    assert numbers == list(range(1, 21))
    for number, row in zip(numbers, MISTAKES, strict=True):
        assert any(f"::test_{number:02}_" in reference for reference in references(row)), row


@pytest.mark.parametrize("row", [*SETTINGS, *MISTAKES], ids=lambda row: row.split("|")[1].strip(" `"))
def test_the_tests_that_are_named_exist(row: str) -> None:
    assert references(row)
    for reference in references(row):
        file, _, name = reference.partition("::")
        text = (TESTS / file).read_text(encoding="utf-8")
        assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), reference

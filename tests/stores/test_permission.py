"""Where datasets and base models may come from."""

from pathlib import Path

import pytest

from airtune.errors import NotPermittedError
from airtune.stores.permission import check_source, is_hub_id, source_problem


def test_without_a_rule_everything_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRTUNE_ALLOWED_SOURCES", raising=False)
    assert source_problem("s3://anything/at/all", where="source") is None


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("s3://data/a/b", True),
        ("s3://data", True),
        ("s3://data-of-others/a", False),
        ("file:///etc/passwd", False),
        ("Qwen/Qwen3-VL-2B-Instruct", True),
        ("Qwen2/Something", False),
    ],
)
def test_a_source_is_allowed_when_it_lies_in_a_place_of_the_rule(
    source: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", "s3://data, hf://Qwen")
    assert (source_problem(source, where="source") is None) == allowed


def test_a_symbolic_link_out_of_an_allowed_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", inside.as_uri())
    check_source((inside / "data").as_uri(), where="source")
    with pytest.raises(NotPermittedError, match="does not read from there"):
        check_source((inside / "link").as_uri(), where="source")


@pytest.mark.parametrize(
    ("source", "expected"),
    [("Qwen/Qwen3-VL-2B-Instruct", True), ("a/b/c", False), ("../b", False), ("/a/b", False), ("s3://a/b", False)],
)
def test_an_id_of_the_hub_is_told_from_a_path(source: str, expected: bool) -> None:
    assert is_hub_id(source) == expected

"""The stores that every promise of the interface is tested on."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from airtune.stores import Store, open_store


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def root_uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place of its own, once as a folder and once on a real S3 server."""
    if request.param == "file":
        monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
        return (tmp_path / "a store with spaces").as_uri()
    request.getfixturevalue("s3_environment")
    return f"s3://airtune/{secrets.token_hex(6)}"


@pytest.fixture
def store(root_uri: str) -> Store:
    """A store at that place."""
    return open_store(root_uri)

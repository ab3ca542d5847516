"""URIs: what they open, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airtune.errors import SettingsError
from airtune.stores import MissingError, local_path, open_store, read_uri
from airtune.stores.opening import join_uri, split_uri


@pytest.mark.parametrize(
    "uri",
    ["", "runs/x", "/abs/path", "http://host/x", "file:/x", "file://host/x", "file:///a/../b", "s3://", "s3:///x",
     "s3://UPPER/x", "s3://b", "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a\\b", "file:///x?y", "file:///a%00b"],
)  # fmt: skip
def test_what_is_no_uri_of_a_store_is_refused_in_words(uri: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_store(uri)
    assert caught.value.problems[0].message


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=40))
def test_any_folder_name_survives_the_way_through_a_file_uri(name: str) -> None:
    if name not in (".", ".."):
        path = Path("/tmp") / name
        assert local_path(path.as_uri()) == path
        assert local_path(join_uri("file:///tmp", name)) == path


def test_an_uri_of_a_file_gives_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a run.json").write_bytes(b"{}")
    assert read_uri((tmp_path / "a run.json").as_uri()) == b"{}"
    with pytest.raises(MissingError, match="absent"):
        read_uri((tmp_path / "absent").as_uri())


def test_an_uri_is_split_into_folder_and_name() -> None:
    assert split_uri("s3://bucket/a/b.json") == ("s3://bucket/a", "b.json")
    assert split_uri("s3://bucket/b.json") == ("s3://bucket", "b.json")
    assert split_uri("file:///a%20b/c%25.json") == ("file:///a%20b", "c%.json")
    for uri in ("s3://bucket", "s3://bucket/", "file:///"):
        with pytest.raises(SettingsError):
            split_uri(uri)

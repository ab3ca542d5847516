from __future__ import annotations

from pathlib import Path

import pytest

from airtune.configs import configs_root
from airtune.errors import NotPermittedError, SettingsError
from airtune.modeling.base_model import fetch_base_model
from airtune.stores.opening import open_store

TINY = configs_root() / "demo" / "tiny-vlm"


def test_a_folder_is_used_where_it_is() -> None:
    assert fetch_base_model(TINY.as_uri()) == TINY


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"baseModel: is no folder of a model: it has no config.json"):
        fetch_base_model(tmp_path.as_uri())


def test_what_the_installation_does_not_allow_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AIRTUNE_ALLOWED_SOURCES", f"{TINY.parent.as_uri()}, s3://models/")
    assert fetch_base_model(TINY.as_uri()) == TINY
    for refused in (tmp_path.as_uri(), "s3://models-of-others/x", "org/name"):
        with pytest.raises(NotPermittedError, match="does not read from there") as caught:
            fetch_base_model(refused)
        assert caught.value.exit_code == 77


@pytest.mark.s3
def test_a_model_on_s3_is_fetched_once_and_again_when_it_changes(s3_environment: object, tmp_path: Path) -> None:
    store = open_store("s3://airtune/models-to-train/tiny")
    store.upload_tree(TINY)
    store.write("training.bin", b"a pickle that nobody needs")
    folder = fetch_base_model("s3://airtune/models-to-train/tiny", tmp_path / "cache")
    needed = sorted(path.name for path in TINY.iterdir() if path.suffix != ".md")
    assert sorted(path.name for path in folder.iterdir()) == needed
    assert (folder / "model.safetensors").read_bytes() == (TINY / "model.safetensors").read_bytes()
    marker = folder / "config.json"
    written = marker.stat().st_mtime_ns
    assert fetch_base_model("s3://airtune/models-to-train/tiny", tmp_path / "cache") == folder
    assert marker.stat().st_mtime_ns == written
    store.write("generation_config.json", b'{"eos_token_id": 2, "max_new_tokens": 7}')
    other = fetch_base_model("s3://airtune/models-to-train/tiny", tmp_path / "cache")
    assert other != folder
    assert b'"max_new_tokens": 7' in (other / "generation_config.json").read_bytes()


@pytest.mark.s3
@pytest.mark.usefixtures("s3_environment")
def test_a_prefix_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no model here"):
        fetch_base_model("s3://airtune/nothing-here", tmp_path)

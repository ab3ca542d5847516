from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from airtune.configs import configs_root
from airtune.errors import SettingsError
from airtune.evaluation.contestants import Contestants, folder_fingerprint

TINY = configs_root() / "demo" / "tiny-vlm"


@pytest.fixture
def copies(tmp_path: Path) -> Contestants:
    shutil.copytree(TINY, tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"one")
    return Contestants(tmp_path / "base", tmp_path / "adapter", None)


def test_a_fingerprint_changes_with_whatever_changes_the_answers(copies: Contestants, tools: Any) -> None:
    run = tools.resolved_run()
    seen = {copies.fingerprint("base", run), copies.fingerprint("tuned", run)}
    for changed in ({"precision": "BFloat16"}, {"quantization_enabled": True}, {"max_pixels": 4096}):
        seen.add(copies.fingerprint("tuned", tools.resolved_run(**changed)))
    assert len(seen) == 5
    assert copies.adapter is not None
    (copies.adapter / "adapter_model.safetensors").write_bytes(b"two")
    seen.add(copies.fingerprint("tuned", run))
    (copies.base / "chat_template.jinja").write_text("another")
    seen |= {copies.fingerprint("base", run), copies.fingerprint("tuned", run)}
    assert len(seen) == 8


def test_a_fingerprint_does_not_change_with_what_publishing_adds(copies: Contestants, tools: Any) -> None:
    run = tools.resolved_run()
    before = copies.fingerprint("base", run), copies.fingerprint("tuned", run)
    assert copies.adapter is not None
    (copies.base / "run.json").write_text("{}")
    (copies.adapter / "README.md").write_text("read")
    assert (copies.fingerprint("base", run), copies.fingerprint("tuned", run)) == before


def test_large_files_are_told_apart_by_their_pieces(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    content = bytearray(20 * 2**20)
    file.write_bytes(content)
    seen = {folder_fingerprint(tmp_path)}
    for place in (0, len(content) - 1):
        content[place] = 1
        file.write_bytes(content)
        seen.add(folder_fingerprint(tmp_path))
    assert len(seen) == 3


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no weights \(\*\.safetensors\); run `airtune train`"):
        folder_fingerprint(tmp_path)

"""``airtune estimate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from machine import PROJECT

from airtune.cli import main

RUN = str(PROJECT / "include" / "configs" / "runs" / "demo.json")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An AIRTUNE_HOME of the test's own, and no GPU."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / ".airtune"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("AIRTUNE_GPU_MEMORY_GB", raising=False)


def test_a_run_json_is_estimated_without_a_run_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", RUN, "--gpu", "A100-40GB", "--json", "--set", "quantization=none"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["run"] == "VQA-tiny-LoRA-NF4-v1"
    assert found["lengths"]["exact"]
    assert found["steps"] == 304
    assert found["verdict"]["verdict"] == "Allow"
    assert found["pace"]["device"] == "A100"
    assert found["epoch"]["tokens"] < found["epoch"]["tokens_padded"]
    assert not list((tmp_path / ".airtune").glob("store/runs/*"))


def test_what_fits_no_card_is_said_and_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", RUN, "--gpu-memory", "0.5GB"]) == 0
    told = capsys.readouterr().out
    assert "verdict    Deny" in told
    assert "memory of one device" in told


def test_an_unknown_gpu_is_a_wrong_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", RUN, "--gpu", "Voodoo2"]) == 64
    assert "is no GPU that airtune knows" in capsys.readouterr().err

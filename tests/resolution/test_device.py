"""The GPU that a run will get."""

from __future__ import annotations

from pathlib import Path

import pytest

from airtune.errors import SettingsError
from airtune.resolution.device import find_device, read_answer


def test_an_answer_of_nvidia_smi_is_read_for_the_smallest_and_oldest_card() -> None:
    device = read_answer("NVIDIA A100-SXM4-40GB, 40960, 8.0\nTesla T4, 15360, 7.5\n")
    assert (device.name, device.memory_gb, device.compute_capability, device.count) == (
        "NVIDIA A100-SXM4-40GB", 16.1, 7.5, 2,
    )  # fmt: skip


@pytest.mark.parametrize("answer", ["", "No devices were found\n", "NVIDIA X, [N/A], [N/A]\n"])
def test_an_answer_without_a_gpu_means_none(answer: str) -> None:
    assert read_answer(answer).memory_gb is None


def test_a_gpu_of_unknown_age_is_a_gpu() -> None:
    assert read_answer("GPU, 24576, [N/A]\n").compute_capability is None


def test_without_nvidia_smi_there_is_no_gpu() -> None:
    assert find_device().memory_gb is None


def test_nvidia_smi_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 9.0'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    device = find_device()
    assert (device.name, device.memory_gb, device.source) == ("NVIDIA H200", 150.8, "nvidia-smi")


def test_the_environment_tells_of_a_gpu_that_this_process_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", "24")
    assert find_device().memory_gb == 24.0


@pytest.mark.parametrize("text", ["much", "0", "-3", "nan", "inf"])
def test_a_memory_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTUNE_GPU_MEMORY_GB", text)
    with pytest.raises(SettingsError, match="AIRTUNE_GPU_MEMORY_GB"):
        find_device()

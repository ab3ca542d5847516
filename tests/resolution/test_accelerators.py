"""GPUs by name."""

from __future__ import annotations

import pytest

from airtune.errors import SettingsError
from airtune.resolution.accelerators import find, parse, parse_memory


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H200", "H200"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("Radeon VII", None),
    ],
)
def test_a_gpu_is_found_by_the_name_its_driver_gives(name: str, found: str | None) -> None:
    accelerator = find(name)
    assert (accelerator.name if accelerator else None) == found


def test_a_gpu_sold_in_two_sizes_is_asked_for_with_its_memory() -> None:
    assert parse("A100-40GB")[1] == 40
    assert parse("a100 80gb")[1] == 80
    assert parse("L4")[1] == 24
    with pytest.raises(SettingsError, match="allowed: 40GB, 80GB"):
        parse("A100-24GB")
    with pytest.raises(SettingsError, match="is no GPU that airtune knows"):
        parse("Voodoo2")


@pytest.mark.parametrize(("text", "gigabytes"), [("24", 24), ("24GB", 24), ("24 gb", 24), ("16GiB", 17.179869184)])
def test_memory_is_said_in_gigabytes(text: str, gigabytes: float) -> None:
    assert parse_memory(text) == pytest.approx(gigabytes)


@pytest.mark.parametrize("text", ["", "0", "lots", "-4GB", "24TB"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no amount of memory"):
        parse_memory(text)

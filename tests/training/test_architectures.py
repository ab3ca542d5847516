"""Every architecture of the catalog, in every mode, through the real entry point: trained, saved, loaded again.

A slice (each architecture with LoRA or SFT and one more mode) belongs to the default suite; the whole matrix is
``-m nightly``. With ``--write-architectures`` that run writes ``docs/architectures.md``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from architecture_cells import MODES, Cell, Mode, refusal
from architectures_document import document

from airtune.catalog.registry import load_catalog

pytestmark = pytest.mark.training

DOCUMENT = Path(__file__).parents[2] / "docs" / "architectures.md"
CELLS_SCRIPT = Path(__file__).parents[1] / "support" / "architecture_cells.py"

KEYS = (*load_catalog(), "gemma4-experts")
"""Gemma 4 comes in two kinds: with embeddings per layer, and with experts."""
SLICE: dict[str, tuple[Mode, Mode]] = {
    "qwen25vl": ("LoRA", "NF4"), "qwen3vl": ("LoRA", "SFT"), "internvl35": ("LoRA", "FP4"), "llavanext": ("NF4", "SFT"),
    "qwen35": ("LoRA", "SFT"), "qwen36": ("LoRA", "NF4"), "gemma4": ("FP4", "SFT"), "gemma4-experts": ("LoRA", "SFT"),
    "deepseekocr": ("LoRA", "SFT"), "nvila": ("LoRA", "SFT"), "cosmosreason1": ("SFT", "FP4"),
    "cosmosreason2": ("LoRA", "NF4"),
}  # fmt: skip

Run = Callable[[str, Mode], Cell]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("architectures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRTUNE_HOME", str(folder / "home"))
        yield folder


@pytest.fixture(scope="module")
def run(root: Path) -> Run:
    """Trains a cell when it is asked for the first time."""
    from architecture_cells import run_cell
    from tiny_models import make_tiny

    cells: dict[tuple[str, Mode], Cell] = {}

    def of(key: str, mode: Mode) -> Cell:
        if (key, mode) not in cells:
            base = root / "bases" / key
            if not base.is_dir():
                make_tiny(key, base)
            cells[key, mode] = run_cell(key, architecture_of(key), base, mode, root)
        return cells[key, mode]

    return of


def architecture_of(key: str) -> str:
    return key.partition("-")[0]


def check_cell(cell: Cell) -> None:
    """A cell is trained as its mode promises, or refused in words because the catalog does not allow the mode."""
    entry = load_catalog()[architecture_of(cell.key)]
    if ("SFT" if cell.mode == "SFT" else "LoRA") not in entry.modes:
        assert cell.refused is not None
        assert f"{entry.display_name} cannot be trained in this mode" in cell.refused
        return
    assert cell.refused is None
    assert cell.last_loss < cell.first_loss / 2
    assert cell.answer.startswith("{")
    assert cell.selfcheck["sample"]["labels_as_written"]
    assert cell.selfcheck["sample"]["stop_token_trained"]
    assert cell.selfcheck["sample"]["tokens"] == cell.selfcheck["sample"]["tokens_predicted"]
    assert cell.selfcheck["trained_dtypes"] == ["torch.float32"]
    parts = cell.selfcheck["parts"]
    assert set(parts) - {"head"} == {"language", "vision", "projector"}  # a tied head has nothing of its own
    if cell.mode == "SFT":
        assert all(part["trained"] == part["parameters"] and not part["adapters"] for part in parts.values())
        assert cell.selfcheck["vision_modules"]["in_backward"] > 0
    else:
        assert {name for name, part in parts.items() if part["trained"]} == {"language"}
        assert {name for name, part in parts.items() if part["adapters"]} == {"language"}
        assert cell.selfcheck["vision_modules"]["in_backward"] == 0
    four_bit = {"language"} if cell.mode in ("NF4", "FP4") else set()
    assert {name for name, part in parts.items() if part["quantized"]} == four_bit
    if cell.mode != "SFT" and cell.key in ("qwen36", "deepseekocr", "gemma4-experts"):
        # Their experts are adapted: there are more adapters than linear layers in 4 bit.
        assert "experts" in Path(cell.folder, "model_adapter", "adapter_config.json").read_text(encoding="utf-8")


def load_again(root: Path) -> dict[str, dict[str, float]]:
    """What a fresh process says: by workspace, the largest difference of its logits for each way of loading."""
    paths = [Path(__file__).parents[2] / "src", CELLS_SCRIPT.parent]
    found = subprocess.run(
        [sys.executable, str(CELLS_SCRIPT), str(root)], capture_output=True, text=True, check=False, timeout=500,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    result: dict[str, dict[str, float]] = json.loads(found.stdout.splitlines()[-1])
    return result


def check_loaded_again(root: Path, cells: list[Cell]) -> None:
    found = load_again(root)
    saved = [cell for cell in cells if cell.refused is None]
    assert len(saved) > 10
    for cell in saved:
        differences = found[cell.folder]
        assert differences["airtune"] == 0
        if cell.mode == "LoRA":
            # As Datature's SDK loads an adapter, and as everyone else does.
            assert differences["transformers"] <= 1e-6
            assert differences["peft"] <= 1e-6


@pytest.mark.parametrize(("key", "mode"), [(key, mode) for key, modes in SLICE.items() for mode in modes])
def test_an_architecture_is_trained_as_its_mode_promises_or_refused_in_words(key: str, mode: Mode, run: Run) -> None:
    check_cell(run(key, mode))


def test_what_was_saved_gives_equal_logits_and_answers_in_a_fresh_process(root: Path, run: Run) -> None:
    check_loaded_again(root, [run(key, mode) for key, modes in SLICE.items() for mode in modes])


def test_every_architecture_is_in_the_slice_and_in_the_document() -> None:
    assert set(SLICE) == set(KEYS)
    text = DOCUMENT.read_text(encoding="utf-8")
    for entry in load_catalog().values():
        assert f"| {entry.display_name} (`{entry.key}`)" in text
        for mode in MODES:
            words = refusal(entry.key, mode)
            assert words is None or words.partition(" (got")[0].partition(": ")[2] in text


@pytest.mark.nightly
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("key", KEYS)
def test_the_whole_matrix(key: str, mode: Mode, run: Run) -> None:
    check_cell(run(key, mode))


@pytest.mark.nightly
@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("cosmos")])
@pytest.mark.parametrize(
    "changes",
    [{"precision": "BFloat16"}, {"precision": "BFloat16", "gradient_checkpointing": True}],
    ids=["half", "half-checkpointed"],
)
def test_half_precision_and_recomputed_activations_train_every_architecture(
    key: str, changes: dict[str, Any], root: Path, run: Run
) -> None:
    from architecture_cells import run_cell
    from tiny_models import make_tiny

    entry = load_catalog()[architecture_of(key)]
    base = root / "bases" / key
    if not base.is_dir():
        make_tiny(key, base)
    for mode in [mode for mode in ("NF4", "SFT") if ("LoRA" if mode == "NF4" else mode) in entry.modes]:
        where = root.with_name(f"{root.name}-half-{len(changes)}")
        cell = run_cell(key, entry.key, base, mode, where, epochs=4, **changes)
        assert cell.refused is None
        assert cell.last_loss < 0.75 * cell.first_loss


@pytest.mark.nightly
def test_the_whole_matrix_is_loaded_again_and_is_the_document(
    root: Path, run: Run, request: pytest.FixtureRequest
) -> None:
    cells = [run(key, mode) for key in KEYS for mode in MODES]
    for cell in cells:
        check_cell(cell)
    check_loaded_again(root, cells)
    text = document(cells)
    if request.config.getoption("--write-architectures"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text, "run it again with --write-architectures"

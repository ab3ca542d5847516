"""A model type that the catalog does not have: derived at resolution, trained by what resolution.json says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from architecture_cells import Mode, run_cell, say_again

from airtune.resolution.stage import resolve
from airtune.runspec.document import RunDocument
from airtune.runspec.resolved import Resolution
from airtune.stores import layout
from airtune.stores.run_directory import RunDirectory

pytestmark = pytest.mark.training

SMALL = Path(__file__).parents[1] / "runspec" / "examples" / "small.json"
SPREAD = {"least": 20, "mean": 20, "median": 20, "p95": 20, "most": 20}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("derived")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRTUNE_HOME", str(folder / "home"))
        yield folder


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    from tiny_models import make_tiny

    return make_tiny("idefics3", root / "idefics3")


@pytest.fixture(scope="module")
def resolution(root: Path, base: Path) -> Resolution:
    """What `airtune resolve` writes for a run.json that names the model by its own type."""
    (root / "any").mkdir()
    asked = {
        "dataset": (root / "any").as_uri(),
        "base-model": base.as_uri(),
        "architecture": "Idefics3",
        "size": "tiny",
    }
    document = RunDocument.from_object(json.loads(SMALL.read_text(encoding="utf-8"))).with_overrides(asked)
    run = RunDirectory.create((root / "resolved").as_uri(), "r1", document.to_json())
    counted = ("target_characters", "prompt_characters", "image_pixels")
    run.write_json(
        layout.FACTS,
        {"root_uri": (root / "any").as_uri(), "format": "vi", "train_images": 30, "train_samples": 30,
         "validation_samples": 6, "images_per_sample": 1, **dict.fromkeys(counted, SPREAD)},
    )  # fmt: skip
    resolve(run)
    return Resolution.from_json(run.store.read(layout.RESOLUTION))


def test_resolution_says_what_was_derived(resolution: Resolution) -> None:
    derived = resolution.run.derived_entry
    assert resolution.run.architecture == "idefics3"
    assert derived is not None
    assert derived["parts"]["vision"] == r"^(?:model\.)?(?:vision_model)\b"
    assert derived["parts"]["projector"] == r"^(?:model\.)?(?:connector)\b"
    assert derived["parts"]["language"] == r"^(?:model\.)?(?:text_model)\b"
    assert sorted(derived["lora_targets"]) == [
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj",
    ]  # fmt: skip
    (warning,) = [each for each in resolution.warnings if "not in the catalog" in each]
    assert "derived from its own files" in warning
    assert "Datature's SDK has no loader for it" in warning
    parts = resolution.estimate["parts"]
    assert {name for name, part in parts.items() if part["trained"]} == {"language"}


@pytest.mark.parametrize("mode", ["LoRA", "SFT", "NF4"])
def test_training_follows_it_and_what_was_saved_says_the_same(
    mode: Mode, root: Path, base: Path, resolution: Resolution
) -> None:
    from airtune.modeling.base_model import entry_for

    cell = run_cell("idefics3", "idefics3", base, mode, root, derived_entry=resolution.run.derived_entry)
    assert cell.refused is None
    assert cell.last_loss < cell.first_loss / 2
    parts: dict[str, Any] = cell.selfcheck["parts"]
    assert set(parts) == {"language", "vision", "projector", "head"}
    trained = set(parts) if mode == "SFT" else {"language"}
    assert {name for name, part in parts.items() if part["trained"]} == trained
    assert {name for name, part in parts.items() if part["quantized"]} == ({"language"} if mode == "NF4" else set())
    assert set(say_again(Path(cell.folder)).values()) == {0.0}
    # A reader of the published bundle has nothing but its files.
    full = Path(cell.folder) / layout.MODEL_FULL
    assert entry_for("idefics3", full if full.is_dir() else base).to_json() == resolution.run.derived_entry

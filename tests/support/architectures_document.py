"""``docs/architectures.md``, made of what the matrix of architectures showed and of the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from architecture_cells import MODES, Cell

from airtune.catalog.entry import CatalogEntry
from airtune.catalog.registry import load_catalog

_HEAD = """\
# Architectures

This page is written by the test run that it reports: `make test ARGS="-m nightly -n0
tests/training/test_architectures.py --write-architectures"`. Each cell is a tiny random model of the architecture, with
its own processor, trained by `airtune.training` on four samples. *ok* means: the loss fell to less than half; the model
answers; exactly the parts that the mode promises were trained, and exactly the language model was in 4 bit; what was
saved gives equal logits and equal answers in a fresh process, and an adapter also through PEFT's and transformers' own
loaders. NF4 and FP4 are LoRA on weights in 4 bit.

"""

_UNKNOWN = """
## A model that is not in the catalog

`airtune.baseModel` may name a model of another type, in a folder or in a store. Where its config.json and the names of
its weights leave no doubt (one vision encoder, one language model of plain linear layers, and what joins them), airtune
derives an entry from them: LoRA on the language model's linear layers, 4 bit for the language model alone, samples
padded. The derived entry stands in `resolution.json` and a warning says so. Anything else is refused with the reason
and with the file and the keys to add: `include/configs/catalog/<key>.yaml`, where every key is explained by the entries
that are there and by `airtune.catalog.entry.CatalogEntry`.
"""


def document(cells: Sequence[Cell]) -> str:
    """The page's text."""
    catalog = load_catalog()
    rows = ["| Architecture | LoRA | SFT | NF4 | FP4 | Shared rows | Features kept | Videos |", "|---|" + "---|" * 7]
    rows += [_row(entry, cells) for entry in catalog.values()]
    text = _HEAD + "\n".join(rows) + "\n"
    text += (
        "\n*Shared rows*: samples with a common beginning share it (see training.md). *Features kept*: what a frozen\n"
    )
    text += "vision tower sees is computed once a picture. *Videos*: as the platform has it.\n"
    text += "\n## In words\n\n" + "\n".join(line for entry in catalog.values() for line in _words(entry, cells)) + "\n"
    return text + _UNKNOWN


def _of(entry: CatalogEntry, cells: Sequence[Cell], mode: str) -> list[Cell]:
    return [cell for cell in cells if cell.key.partition("-")[0] == entry.key and cell.mode == mode]


def _row(entry: CatalogEntry, cells: Sequence[Cell]) -> str:
    shown = []
    for mode in MODES:
        found = _of(entry, cells, mode)
        shown.append("refused" if any(cell.refused for cell in found) else "ok" if found else "not run")
    shown += ["yes" if each else "no" for each in (entry.packing, entry.vision_features, entry.video)]
    return f"| {entry.display_name} (`{entry.key}`) | {' | '.join(shown)} |"


def _words(entry: CatalogEntry, cells: Sequence[Cell]) -> list[str]:
    lines = [f"- **{entry.display_name}**: `{entry.hf_class}`, sizes {', '.join(entry.sizes)}."]
    if "LoRA" in entry.modes:
        lines.append(f"  LoRA adapts {', '.join(f'`{name}`' for name in entry.lora_targets)} of the language model.")
    if entry.note:
        lines.append(f"  {entry.note[0].upper()}{entry.note[1:].rstrip('.')}.")
    refused = {}
    for mode in MODES:
        for cell in _of(entry, cells, mode):
            if cell.refused:
                refused[mode] = cell.refused.partition(" (got")[0].partition(": ")[2]
    lines += [f"  {mode} is refused: {words}." for mode, words in refused.items()]
    return lines

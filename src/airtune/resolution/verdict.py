"""Whether a run fits a GPU: Allow, Warn or Deny, with the reason and the cheapest change that would make it fit.

Training itself cuts packed rows to what fits, lowers the micro-batch (raising accumulation, so that nothing is learned
otherwise) and then turns gradient checkpointing on, so a run that fits only after that is warned of and not refused.
What a person has to decide (4 bit, LoRA instead of full fine-tuning, another model, another GPU) is named in the order
of the platform's advice, cheapest for quality first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from airtune.catalog.entry import CatalogEntry
from airtune.resolution.accelerators import CARD_SIZES
from airtune.runspec.resolved import ResolvedRun

Word = Literal["Allow", "Warn", "Deny"]
ALLOW: Final = "Allow"
WARN: Final = "Warn"
DENY: Final = "Deny"

COMFORT: Final = 0.9
"""Share of a GPU's memory up to which a run fits without a warning: the estimate may be 10 % too low."""
ROOM: Final = 0.5
"""Share below which a larger batch would fit."""


@dataclass(frozen=True)
class Verdict:
    """What is thought of a run on a GPU.

    Attributes:
        verdict: the word; None where no GPU is known.
        memory_gb: of the GPU, in 1e9 bytes, or None.
        needed_gb: the predicted peak of the run as it was asked for.
        reason: in a sentence without a full stop.
        change: the cheapest change that makes it fit, by setting; None where it fits, or where no setting helps.
        change_in_words: the same for people, or what else would help; None where nothing has to change.
        automatic: whether training makes that change by itself.
        smallest_card_gb: memory of the smallest usual card on which the run as it was asked for fits comfortably.
    """

    verdict: Word | None
    memory_gb: float | None
    needed_gb: float
    reason: str
    change: dict[str, Any] | None
    change_in_words: str | None
    automatic: bool
    smallest_card_gb: int | None

    def to_json(self) -> dict[str, Any]:
        """For ``resolution.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """One way to need less.

    Attributes:
        run: what would run.
        settings: what a run.json would say, by the settings' short names.
        words: for people.
        automatic: whether training does it by itself.
    """

    run: ResolvedRun
    settings: dict[str, Any]
    words: str
    automatic: bool


Need = Callable[[ResolvedRun, float | None], int]
"""The predicted peak in bytes of a run on a GPU with so many GB; None: where nothing limits it."""


def judge(run: ResolvedRun, entry: CatalogEntry, memory_gb: float | None, need: Need) -> Verdict:
    """The verdict.

    Args:
        run: as it was asked for.
        entry: what its architecture allows, and its other sizes.
        memory_gb: of the smallest GPU in 1e9 bytes; None without a GPU.
        need: predicts.
    """
    needed = need(run, memory_gb) / 1e9
    card = next((size for size in CARD_SIZES if need(run, size) / 1e9 <= COMFORT * size), None)

    def verdict(word: Word | None, reason: str, change: Change | None = None, words: str | None = None) -> Verdict:
        return Verdict(
            verdict=word,
            memory_gb=memory_gb,
            needed_gb=round(needed, 3),
            reason=reason,
            change=change.settings if change else None,
            change_in_words=change.words if change else words,
            automatic=change.automatic if change else False,
            smallest_card_gb=card,
        )

    if memory_gb is None:
        return verdict(None, f"about {needed:.1f} GB of GPU memory are needed, and no GPU is known")
    said = f"about {needed:.1f} GB of the GPU's {memory_gb:g} GB are needed"
    if needed <= COMFORT * memory_gb:
        room = ": there is room for a larger batch" if needed < ROOM * memory_gb else ""
        return verdict(ALLOW, f"{said}{room}")
    if needed <= memory_gb:
        change = _cheapest(run, entry, COMFORT, memory_gb, need)
        return verdict(WARN, f"{said}: that is tight", change)
    change = _cheapest(run, entry, COMFORT, memory_gb, need) or _cheapest(run, entry, 1.0, memory_gb, need)
    said = f"about {needed:.1f} GB are needed and the GPU has {memory_gb:g}"
    if change is not None and change.automatic:
        return verdict(WARN, f"{said}; training will by itself take the change below", change)
    least = need(_smallest(run), memory_gb) / 1e9
    reason = f"{said}; one sample at a time with gradient checkpointing still takes {least:.1f} GB"
    if change is None:
        smaller = "a smaller model" if len(entry.sizes) > 1 else "another model"
        bigger = next((size for size in CARD_SIZES if least <= COMFORT * size), None)
        gpu = f"a GPU with {bigger} GB" if bigger else "several GPUs"
        return verdict(DENY, reason, words=f"{smaller}, or {gpu}")
    return verdict(DENY, reason, change)


def changes(run: ResolvedRun, entry: CatalogEntry) -> Iterator[Change]:
    """Ways to need less memory, cheapest for quality first; each goes on from the one before."""
    settings: dict[str, Any] = {}
    current = run
    while current.batch_size > 1:
        batch = (current.batch_size + 1) // 2
        accumulation = -(-run.batch_size * run.gradient_accumulation // batch)
        current = current.model_copy(update={"batch_size": batch, "gradient_accumulation": accumulation})
        settings = {"batchSize": batch, "gradientAccumulation": accumulation}
        words = f"batchSize {batch} and gradientAccumulation {accumulation} (the same effective batch)"
        yield Change(current, dict(settings), words, automatic=True)
    if not current.gradient_checkpointing:
        current = current.model_copy(update={"gradient_checkpointing": True})
        settings["gradientCheckpointing"] = True
        yield Change(current, dict(settings), _words(settings), automatic=True)
    if current.training_mode == "LoRA" and not current.quantization_enabled:
        current = current.model_copy(update={"quantization_enabled": True, "quantization_type": "NF4"})
        settings["quantization"] = "NF4"
        yield Change(current, dict(settings), _words(settings), automatic=False)
    if current.training_mode == "SFT" and "LoRA" in entry.modes:
        for four_bit in (False, True):
            current = current.model_copy(update={"training_mode": "LoRA", "quantization_enabled": four_bit})
            settings["trainingMode"] = "LoRA"
            if four_bit:
                settings["quantization"] = "NF4"
            yield Change(current, dict(settings), _words(settings), automatic=False)


def _cheapest(run: ResolvedRun, entry: CatalogEntry, share: float, memory_gb: float, need: Need) -> Change | None:
    """The first change after which the run fits; what it takes beyond that change is given back where it can be."""
    for change in changes(run, entry):
        if need(change.run, memory_gb) / 1e9 <= share * memory_gb:
            return change if change.automatic else _restored(run, change, share, memory_gb, need)
    return None


def _restored(run: ResolvedRun, change: Change, share: float, memory_gb: float, need: Need) -> Change:
    """The same change of mode or 4 bit with the batch and the checkpointing that were asked for, where they fit."""
    keys = ("trainingMode", "quantization")
    settings = {key: value for key, value in change.settings.items() if key in keys}
    asked = change.run.model_copy(
        update={
            "batch_size": run.batch_size,
            "gradient_accumulation": run.gradient_accumulation,
            "gradient_checkpointing": run.gradient_checkpointing,
        }
    )
    if need(asked, memory_gb) / 1e9 <= share * memory_gb:
        return Change(asked, settings, _words(settings), automatic=False)
    words = f"{_words(settings)}; training then lowers the micro-batch by itself"
    return Change(change.run, settings, words, automatic=False)


def _smallest(run: ResolvedRun) -> ResolvedRun:
    whole = run.batch_size * run.gradient_accumulation
    return run.model_copy(update={"batch_size": 1, "gradient_accumulation": whole, "gradient_checkpointing": True})


def _words(settings: dict[str, Any]) -> str:
    said = {
        "trainingMode": "LoRA instead of SFT",
        "quantization": "the base model in 4 bit (NF4)",
        "batchSize": f"batchSize {settings.get('batchSize')}",
        "gradientAccumulation": f"gradientAccumulation {settings.get('gradientAccumulation')}",
        "gradientCheckpointing": "gradientCheckpointing true",
    }
    return " and ".join(said[key] for key in settings)

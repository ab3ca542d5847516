"""Cheap checks at the start of every run, in the log and in ``training/selfcheck.json``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from transformers import TrainerCallback

from airtune.errors import DefectError, Problem
from airtune.modeling.encoding import IGNORED, NO_PICTURE, Encoder
from airtune.modeling.parts import OTHER, count_by_part
from airtune.training.first_step import FirstStep, Gradients
from airtune.training.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airtune.catalog.entry import CatalogEntry
    from airtune.runspec.resolved import ResolvedRun

_MOST_NAMED: Final = 50
_PREVIEW: Final = 200

log = logging.getLogger("airtune.training.selfcheck")


class SelfCheck(TrainerCallback):  # type: ignore[misc]
    """Collects what it finds in ``report``, and stops the run where what was promised is not so.

    Args:
        model: as it will be trained.
        run: the resolved run.
        entry: the catalog entry, which says where the parts are.
        write: is given the report whenever it has grown.
    """

    def __init__(
        self, model: Any, run: ResolvedRun, entry: CatalogEntry, write: Callable[[dict[str, Any]], None]
    ) -> None:
        self._run = run
        self._entry = entry
        self._write = write
        self._first: FirstStep | None = None
        counts = count_by_part(model, entry)
        self.report: dict[str, Any] = {
            "training_mode": run.training_mode,
            "parts": {part: asdict(count) for part, count in sorted(counts.items())},
            "trained_parameters": sum(count.trained for count in counts.values()),
            "trained_dtypes": sorted({str(p.dtype) for p in model.parameters() if p.requires_grad}),
        }
        self._check_parts(counts)

    def table(self) -> list[str]:
        """What is trained, by part, as lines of text."""
        lines = [f"{'part':<10} {'parameters':>14} {'trained':>14} {'adapters':>9} {'4-bit':>6}"]
        lines += [
            f"{part:<10} {count['parameters']:>14,} {count['trained']:>14,} {count['adapters']:>9} "
            f"{count['quantized']:>6}"
            for part, count in self.report["parts"].items()
        ]
        return lines

    def look_at_sample(self, samples: Samples, encoder: Encoder, predicted: Mapping[str, int]) -> None:
        """What one sample's labels say, whether its stop token is trained, and whether its length is as predicted.

        Args:
            samples: the first one with a picture is looked at, or the first where none has one.
            encoder: which made them.
            predicted: tokens of each sample by its id, from the size of its pictures.

        Raises:
            AirtuneError: the sample cannot be made.
            DefectError: it is not what was promised.
        """
        index = next((number for number, record in enumerate(samples.records) if record.shown), 0)
        record, sample = samples.records[index], samples[index]
        if sample.failure is not None:
            raise sample.failure
        encoded = sample.encoded
        if encoded is None or encoded.labels is None:
            raise DefectError(Problem("selfcheck", "a training sample has no labels"))
        learned = encoded.labels[encoded.labels != IGNORED].tolist()
        text = encoder.processor.tokenizer.decode(learned)
        read = encoded.tokens["input_ids"][(encoded.labels == IGNORED) & (encoded.picture == NO_PICTURE)]
        of_pictures = int((encoded.picture != NO_PICTURE).sum())
        videos = len(record.shown) - len(record.images)
        prompt = encoder.prompt_text(self._run.system_prompt, len(record.images), record.prompt, videos=videos)
        of_text = encoder.text_length(prompt) - len(record.shown) + len(encoder.target_ids(record.target))
        self.report["sample"] = {
            "id": record.id,
            "tokens": encoded.length,
            "tokens_predicted": predicted[record.id],
            "image_tokens": of_pictures,
            "image_tokens_predicted": predicted[record.id] - of_text,
            "reads": encoder.processor.tokenizer.decode(read),
            "label_tokens": len(learned),
            "labels": text,
            "labels_as_written": text == record.target + encoder.end.text,
            "stop_token_trained": tuple(learned[-len(encoder.end.ids) :]) == encoder.end.ids,
            "end_of_turn": encoder.end.text,
            "end_of_turn_from_template": encoder.end.from_template,
        }
        self._write(self.report)
        log.info(
            "sample %s: %s tokens, %s of them of pictures; it teaches %r",
            record.id,
            encoded.length,
            of_pictures,
            text if len(text) <= _PREVIEW else f"{text[:_PREVIEW]}... ({len(learned)} tokens)",
        )
        self._check_sample(self.report["sample"])

    def note(self, name: str, finding: Any) -> None:
        """Adds what others have found to the report."""
        self.report[name] = finding
        self._write(self.report)

    def watch_first_step(self, model: nn.Module) -> None:
        """Notes which modules take part in the first forward and backward pass.

        Where pictures are encoded outside the model's forward the vision modules still run under these eyes; with
        features that were kept from before none runs.
        """
        self._first = FirstStep(model, self._entry)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the first backward pass, before the first update."""
        del args, control, kwargs
        if self._first is None:
            return
        first, self._first = self._first, None
        found = first.gradients()
        self.report["gradients"] = {
            "step": int(state.global_step) + 1,
            "trained_tensors": found.trained,
            "without_gradient": list(found.missing),
            "tolerated": dict(list(found.tolerated.items())[:_MOST_NAMED]),
            "tolerated_tensors": len(found.tolerated),
            "zero_gradient_tensors": len(found.zero),
        }
        self.report["vision_modules"] = {
            "all": len(first.seeing),
            "ran": len(first.seeing_ran),
            "in_backward": len(first.seeing_in_backward),
        }
        self._write(self.report)
        log.info(
            "the first gradients reach %s of %s trained tensors; %s of %s vision modules are in the backward pass",
            found.trained - len(found.missing) - len(found.tolerated),
            found.trained,
            len(first.seeing_in_backward),
            len(first.seeing),
        )
        if found.tolerated:
            reasons = sorted(set(found.tolerated.values()))
            log.info("%s tensors rightly get none: %s", len(found.tolerated), "; ".join(reasons))
        self._check_first_step(found, first.seeing_in_backward)

    def _check_sample(self, sample: Mapping[str, Any]) -> None:
        problems = []
        if not sample["stop_token_trained"]:
            problems.append(f"the token that ends an answer is not trained: {sample['labels']!r}")
        if sample["tokens"] != sample["tokens_predicted"]:
            problems.append(
                f"a sample of {sample['tokens_predicted']} tokens by its pictures' size has {sample['tokens']}; of its "
                f"pictures {sample['image_tokens']} instead of {sample['image_tokens_predicted']}"
            )
        if problems:
            raise DefectError([Problem("selfcheck", problem) for problem in problems])

    def _check_first_step(self, found: Gradients, in_backward: set[str]) -> None:
        problems = []
        if found.missing:
            problems.append(f"{len(found.missing)} trained tensors get no gradient: {', '.join(found.missing[:5])}")
        if len(found.zero) + len(found.tolerated) == found.trained:
            problems.append("the loss does not depend on anything that is trained")
        if self._run.training_mode == "LoRA" and in_backward:
            named = ", ".join(sorted(in_backward)[:5])
            problems.append(f"the frozen vision tower takes part in the backward pass: {named}")
        if problems:
            raise DefectError([Problem("selfcheck", problem) for problem in problems])

    def _check_parts(self, counts: dict[str, Any]) -> None:
        problems = []
        if self._run.training_mode == "LoRA":
            trained = {part for part, count in counts.items() if count.trained}
            if trained != {"language"}:
                problems.append(f"LoRA trains {sorted(trained)} instead of the language model alone")
        elif any(count.trained != count.parameters for count in counts.values()):
            problems.append("full fine-tuning leaves parameters untrained")
        quantized = {part for part, count in counts.items() if count.quantized}
        if quantized != ({"language"} if self._run.quantization_enabled else set()):
            problems.append(f"held in 4 bit: {sorted(quantized)}")
        if OTHER in counts:
            problems.append("some parameters belong to no part of the catalog's module map")
        if self.report["trained_dtypes"] != [str(torch.float32)]:
            problems.append(f"trained parameters are {self.report['trained_dtypes']} instead of float32")
        if problems:
            raise DefectError([Problem("selfcheck", problem) for problem in problems])

"""Cheap checks at the start of every run, in the log and in ``training/selfcheck.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import TrainerCallback

from airtune.errors import DefectError, Problem
from airtune.modeling.encoding import IGNORED, Encoder
from airtune.modeling.parts import OTHER, SEEING, count_by_part, plain_name
from airtune.training.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from airtune.catalog.entry import CatalogEntry
    from airtune.runspec.resolved import ResolvedRun


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
        self._hooks: list[Any] = []
        self._ran: set[str] = set()
        self._in_backward: set[str] = set()
        self._seeing = 0
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

    def look_at_sample(self, samples: Samples, encoder: Encoder, predicted: int) -> None:
        """What one sample's labels say, whether its stop token is trained, and whether its length is as predicted."""
        record, sample = samples.records[0], samples[0]
        if sample.failure is not None:
            raise sample.failure
        encoded = sample.encoded
        if encoded is None or encoded.labels is None:
            raise DefectError(Problem("selfcheck", "a training sample has no labels"))
        learned = encoded.labels[encoded.labels != IGNORED].tolist()
        text = encoder.processor.tokenizer.decode(learned)
        self.report["sample"] = {
            "id": record.id,
            "tokens": encoded.length,
            "tokens_predicted": predicted,
            "label_tokens": len(learned),
            "labels": text,
            "labels_as_written": text == record.target + encoder.end.text,
            "stop_token_trained": tuple(learned[-len(encoder.end.ids) :]) == encoder.end.ids,
            "end_of_turn": encoder.end.text,
            "end_of_turn_from_template": encoder.end.from_template,
        }
        if not self.report["sample"]["stop_token_trained"]:
            raise DefectError(Problem("selfcheck", "the token that ends an answer is not trained", value=repr(text)))
        if encoded.length != predicted:
            raise DefectError(
                Problem("selfcheck", f"a sample of {predicted} tokens by its picture's size has {encoded.length}")
            )
        self._write(self.report)

    def watch_first_step(self, model: nn.Module) -> None:
        """Notes which vision modules run in the first step, and which of them take part in its backward pass.

        Where pictures are encoded outside the model's forward they still run under these eyes; with features that
        were kept from before none runs.
        """
        for name, module in model.named_modules():
            plain = plain_name(name)
            if self._entry.part_of(plain) in SEEING and any(True for _ in module.parameters(recurse=False)):
                self._seeing += 1
                self._hooks.append(module.register_forward_hook(self._note(plain)))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the first backward pass, before the first update."""
        del args, control
        if "gradients" in self.report:
            return
        for hook in self._hooks:
            hook.remove()
        trained = [(name, p) for name, p in kwargs["model"].named_parameters() if p.requires_grad]
        without = [name for name, parameter in trained if parameter.grad is None]
        self.report["gradients"] = {
            "step": int(state.global_step) + 1,
            "trained_tensors": len(trained),
            "without_gradient": without,
        }
        self.report["vision_modules"] = {
            "all": self._seeing,
            "ran": len(self._ran),
            "in_backward": len(self._in_backward),
        }
        self._write(self.report)
        if self._run.training_mode == "LoRA":
            if without:
                raise DefectError(
                    Problem("selfcheck", f"{len(without)} adapters get no gradient: {', '.join(without[:5])}")
                )
            if self._in_backward:
                raise DefectError(
                    Problem("selfcheck", "the frozen vision tower takes part in the backward pass: "
                            + ", ".join(sorted(self._in_backward)[:5]))
                )  # fmt: skip

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

    def _note(self, name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            del module, inputs
            self._ran.add(name)
            tensors = output if isinstance(output, tuple) else (output,)
            if any(isinstance(tensor, torch.Tensor) and tensor.grad_fn is not None for tensor in tensors):
                self._in_backward.add(name)

        return note

"""A row: what the model computes in one forward and backward pass, and what it is to predict where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from airtune.modeling.encoding import IGNORED, Encoded, Encoder, Vision, join_pictures
from airtune.modeling.tree_attention import Tree, TreeAttention
from airtune.modeling.vision_features import ENCODER_OUTPUTS, PictureEncoder, is_encoded, joined, without_features

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Row:
    """The inputs of one pass: n samples below each other, padded to t tokens, or one tree of t tokens (n = 1).

    Attributes:
        inputs: what the model gets of the tokens: ``input_ids`` (n, t), masks, positions ...
        pictures: the pictures in the order of their tokens.
        digests: sha256 (hex) of each picture's file; empty where nobody knows them.
        sources: shape (k,): the places, in the flattened (n * t) hidden states, from which a token is predicted.
        targets: shape (k,): the tokens to predict. A place may have several, each at its own index.
        tree: how the tokens hang together, if they are a tree.
        attention: how the model is told of the tree.
    """

    inputs: dict[str, torch.Tensor]
    pictures: tuple[Vision, ...]
    digests: tuple[str, ...]
    sources: torch.Tensor
    targets: torch.Tensor
    tree: Tree | None = None
    attention: TreeAttention | None = None

    @property
    def tokens(self) -> int:
        """How many tokens the model computes for this row, padding included."""
        return int(self.inputs["input_ids"].numel())

    def model_inputs(self) -> dict[str, Any]:
        """The model's arguments: with the pixels of its pictures, or with their features where these are known.

        A tree's mask is made here, where the row is: it is too large to be sent about.
        """
        arguments: dict[str, Any] = dict(self.inputs)
        if self.tree is not None and self.attention is not None:
            arguments["attention_mask"] = self.attention.masks(self.tree)
        if not self.pictures or not all(map(is_encoded, self.pictures)):
            return {**arguments, **join_pictures(self.pictures)}
        seen = join_pictures([without_features(picture) for picture in self.pictures])
        return {**arguments, **seen, ENCODER_OUTPUTS: joined(self.pictures)}

    def encoded(self, seeing: PictureEncoder) -> Row:
        """The same row with the features of its pictures instead of their pixels: each picture is encoded once."""
        known: dict[str, Vision] = {}
        pictures = []
        for number, picture in enumerate(self.pictures):
            digest = self.digests[number] if self.digests else str(number)
            if digest not in known:
                known[digest] = picture if is_encoded(picture) else seeing.encode(picture)
            pictures.append(known[digest])
        return replace(self, pictures=tuple(pictures))

    def unlearned(self) -> Row:
        """The same row with nothing to predict: its loss and its gradients are 0."""
        return replace(self, sources=self.sources[:0], targets=self.targets[:0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Row:
        """The same row on a device."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Row:
        """The same row in memory from which a GPU copies without waiting; torch's data loader asks for it."""
        return self._mapped(torch.Tensor.pin_memory)

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Row:
        return Row(
            {name: change(value) for name, value in self.inputs.items()},
            tuple({name: change(value) for name, value in picture.items()} for picture in self.pictures),
            self.digests,
            change(self.sources),
            change(self.targets),
            None if self.tree is None else self.tree.mapped(change),
            self.attention,
        )


def padded_row(encoder: Encoder, samples: Sequence[Encoded], digests: Sequence[str] = ()) -> Row:
    """One sample below the other, padded on the right to the longest: what every architecture can compute.

    Args:
        encoder: pads.
        samples: with labels.
        digests: of all their pictures.
    """
    batch = encoder.pad(samples, "right")
    labels = batch.pop("labels")
    predicts = torch.zeros_like(labels, dtype=torch.bool)
    predicts[:, :-1] = labels[:, 1:] != IGNORED  # the first token of a row is predicted from nothing
    sources = predicts.flatten().nonzero().squeeze(1)
    pictures = tuple(picture for sample in samples for picture in sample.vision)
    return Row(batch, pictures, tuple(digests), sources, labels.flatten()[sources + 1])

"""What the resolver needs to know of a dataset: numbers of ``dataset/facts.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from airtune.errors import DefectError, Problem
from airtune.stores import layout


@dataclass(frozen=True)
class DataFacts:
    """Numbers of a validated dataset.

    Attributes:
        root_uri: where it lies.
        format: its format.
        train_images: distinct training images.
        train_samples: training samples (several a picture are possible).
        validation_samples: samples that are held back.
        target_characters: 95th percentile of the trained answers' lengths.
        prompt_characters: 95th percentile of the questions' lengths.
        image_pixels: 95th percentile of the images' areas; None without images.
        images_per_sample: most images that a sample has.
        fingerprint: of the samples; None where an earlier airtune validated them.
        evaluation_set_digest: of those that are held back; likewise.
        smallest_side: of all images, in pixels; None without images.
    """

    root_uri: str
    format: str
    train_images: int
    train_samples: int
    validation_samples: int
    target_characters: float | None
    prompt_characters: float | None
    image_pixels: float | None
    images_per_sample: int
    fingerprint: str | None = None
    evaluation_set_digest: str | None = None
    smallest_side: float | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> DataFacts:
        """From the content of ``dataset/facts.json``.

        Raises:
            DefectError: a number is missing: the file was not written by this version of airtune.
        """
        try:
            return cls(
                root_uri=facts["root_uri"],
                format=facts["format"],
                train_images=facts["train_images"],
                train_samples=facts["train_samples"],
                validation_samples=facts["validation_samples"],
                target_characters=_p95(facts["target_characters"]),
                prompt_characters=_p95(facts["prompt_characters"]),
                image_pixels=_p95(facts["image_pixels"]),
                images_per_sample=facts["images_per_sample"],
                fingerprint=facts.get("fingerprint"),
                evaluation_set_digest=facts.get("evaluation_set_digest"),
                smallest_side=min(
                    (spread["least"] for side in ("image_width", "image_height") if (spread := facts.get(side))),
                    default=None,
                ),
            )
        except (KeyError, TypeError) as error:
            raise DefectError(
                Problem(layout.FACTS, f"lacks {error}", fix="run `airtune validate` again, then `airtune resolve`")
            ) from None

    def to_json(self) -> dict[str, Any]:
        """The facts for ``resolution.json``."""
        return asdict(self)


def _p95(spread: Mapping[str, float] | None) -> float | None:
    return None if spread is None else spread["p95"]

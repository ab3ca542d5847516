"""Some thousand records at once, and what columns and charts take from them: for all of them, not row by row."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from airtune.datasets.pictures.inspection import ImageFacts

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Groundings:
    """What the answers of a batch locate.

    Attributes:
        phrases: how many each record has.
        boxes: how many each record has, of all its phrases.
        texts: the phrases, one record after the other.
        edges: the boxes, likewise: (boxes, 4) integers ``[x1, y1, x2, y2]`` in 0..1024.
    """

    phrases: np.ndarray[Any, Any]
    boxes: np.ndarray[Any, Any]
    texts: list[str]
    edges: np.ndarray[Any, Any]


class Batch:
    """Some records, as their table holds them.

    Args:
        records: with the fields that are asked for.
        images: what is known about the images, by digest.
        alike: groups of digests of pictures that are nearly the same, by each of their digests.
    """

    def __init__(
        self,
        records: pa.RecordBatch,
        images: Mapping[str, ImageFacts] = MappingProxyType({}),
        alike: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._records = records
        self._images = images
        self._alike = alike

    def __getitem__(self, field: str) -> pa.Array:
        return self._records[field]

    def __len__(self) -> int:
        return int(self._records.num_rows)

    def values(self, field: str) -> np.ndarray[Any, Any]:
        """A field that holds numbers."""
        return self._records[field].to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @cached_property
    def validates(self) -> np.ndarray[Any, Any]:
        """Whether each record is of the validation split."""
        import pyarrow.compute as pc

        return pc.equal(self["split"], "validation").to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @cached_property
    def shown(self) -> tuple[pa.Array, np.ndarray[Any, Any]]:
        """The digests of everything that is shown, one after the other, and how many each record has."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        images, film = self["image_digests"], self["video_digest"]
        counts = np.asarray(pc.list_value_length(images).fill_null(0)).astype(np.int64)
        if film.null_count == len(self):
            return images.flatten(), counts
        rows = [
            [video] if video is not None else pictures
            for video, pictures in zip(film.to_pylist(), images.to_pylist(), strict=True)
        ]
        films = pc.is_valid(film).to_numpy(zero_copy_only=False)
        return pa.array([digest for row in rows for digest in row], pa.string()), np.where(films, 1, counts)

    @cached_property
    def first_shown(self) -> pa.Array:
        """The digest of the first thing that each record shows; null where it shows nothing."""
        import numpy as np
        import pyarrow as pa

        digests, counts = self.shown
        starts = np.cumsum(counts) - counts
        return digests.take(pa.array(starts, mask=counts == 0))

    @cached_property
    def answers(self) -> pa.Array:
        """The text of each answer; null for phrase-grounding."""
        import pyarrow as pa

        # One at a time: thousands of parsed answers kept at once cost Python's garbage collector ten times the parsing.
        return pa.array((answer_of(orjson.loads(truth)) for truth in self["truth"].to_pylist()), pa.string())

    @cached_property
    def groundings(self) -> Groundings:
        """All phrases and boxes of the answers; none for tasks without."""
        import numpy as np

        phrases, boxes = array("i"), array("i")
        edges = array("h")
        texts: list[str] = []
        for truth in self["truth"].to_pylist():
            found = orjson.loads(truth).get("groundings", ())
            before = len(edges)
            for item in found:
                texts.append(item["phrase"])
                for box in item["boxes"]:
                    edges.extend(box)
            phrases.append(len(found))
            boxes.append((len(edges) - before) // 4)
        return Groundings(
            phrases=np.frombuffer(phrases, dtype=np.int32),
            boxes=np.frombuffer(boxes, dtype=np.int32),
            texts=texts,
            edges=np.frombuffer(edges, dtype=np.int16).reshape(-1, 4),
        )

    def where_shown(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The values as floats, not a number where nothing is shown."""
        import numpy as np

        return np.where(self.shown[1] > 0, values, np.nan)

    def of_image(self, take: Callable[[ImageFacts], Any], kind: str) -> pa.Array:
        """Something about the first image that each record shows; null where it shows none.

        Args:
            take: it, from what is known about the image.
            kind: Arrow's name of its type.
        """
        import pyarrow as pa

        known = self.first_shown.dictionary_encode()
        facts = [self._images.get(digest) for digest in known.dictionary.to_pylist()]
        values = pa.array([None if found is None else take(found) for found in facts], pa.type_for_alias(kind))
        return values.take(known.indices)

    def alike(self) -> pa.Array:
        """How many other pictures are nearly the same as the first one that each record shows."""
        import pyarrow as pa
        import pyarrow.compute as pc

        known = self.first_shown.dictionary_encode()
        counts = [len(self._alike.get(digest, ("",))) - 1 for digest in known.dictionary.to_pylist()]
        return pc.fill_null(pa.array(counts, pa.int32()).take(known.indices), 0)


def answer_of(truth: Mapping[str, Any]) -> str | None:
    """The text of a truth; None for phrase-grounding, whose answer is not one text."""
    return next((str(truth[key]) for key in ("answer", "caption", "text") if key in truth), None)


def text_numbers(texts: pa.Array, spelt: Mapping[str, str] = MappingProxyType({})) -> np.ndarray[Any, Any]:
    """A 64-bit number for each text: equal texts have equal numbers, and two of a million different ones hardly ever.

    Args:
        texts: without nulls.
        spelt: texts that count as another one.
    """
    import numpy as np
    import pandas as pd

    known = texts.dictionary_encode()
    distinct = known.dictionary.to_pylist()
    if spelt:
        distinct = [spelt.get(text, text) for text in distinct]
    hashes = pd.util.hash_array(np.array(distinct, dtype=object), categorize=False).view(np.int64)
    return np.asarray(hashes[known.indices.to_numpy(zero_copy_only=False)])


def thinned(batches: Iterable[pa.RecordBatch], every: int) -> Iterator[pa.RecordBatch]:
    """Every so manieth row, counted over all batches, beginning with the first."""
    import numpy as np

    begin = 0
    for batch in batches:
        yield batch.take(np.arange(-begin % every, batch.num_rows, every))
        begin += batch.num_rows

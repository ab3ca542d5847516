"""The table that suites of expectations speak of: one row a sample, made from the records a batch at a time.

Only the columns that a suite speaks of are made, and the suites that ship speak of narrow ones (numbers), so that a
million samples fit into memory whatever their texts are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from airtune.datasets.pictures.inspection import ImageFacts
from airtune.datasets.record_batch import Batch, text_numbers
from airtune.runspec.answers import COORDINATE_RANGE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    Values: TypeAlias = pa.Array | np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        meaning: what stands in it, in words.
        reads: the fields of a record that it is made from.
        make: its values for one batch of records; None where only all of them together tell.
    """

    meaning: str
    reads: tuple[str, ...]
    make: Callable[[Batch], Values] | None


def record_fields(columns: Collection[str]) -> tuple[str, ...]:
    """The fields of a record that these columns are made from: nothing else need be read."""
    fields = {field: None for name in columns for field in COLUMNS[name].reads}
    return tuple(fields) or ("id",)


def frame_of(
    batches: Iterable[pa.RecordBatch],
    columns: Collection[str],
    images: Mapping[str, ImageFacts] = MappingProxyType({}),
    near: Iterable[Sequence[str]] = (),
) -> pd.DataFrame:
    """The table.

    Args:
        batches: the records, with the fields that :func:`record_fields` names.
        columns: which of :data:`COLUMNS` are wanted.
        images: what is known about the images, by digest.
        near: groups of digests of pictures that are nearly the same.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    wanted = [name for name in COLUMNS if name in columns] or ["id"]
    alike = {digest: group for group in near for digest in group}
    sides = {name: _Sides(of) for name, of in {_SAME: {}, _ALIKE: alike}.items() if name in wanted}
    makers = {name: make for name in wanted if (make := COLUMNS[name].make) is not None}
    parts: dict[str, list[Any]] = {name: [] for name in makers}
    for records in batches:
        batch = Batch(records, images, alike)
        for name, make in makers.items():
            parts[name].append(make(batch))
        for found in sides.values():
            found.add(batch)
    series: dict[str, Any] = {}
    for name in wanted:
        if name in sides:
            series[name] = pd.Series(sides[name].shared())
            continue
        pieces = parts.pop(name)
        if not pieces:
            series[name] = pd.Series(dtype=object)
        elif isinstance(pieces[0], np.ndarray):
            series[name] = pd.Series(np.concatenate(pieces))
        else:
            series[name] = pa.chunked_array(pieces).to_pandas()
    return pd.DataFrame(series)


class _Sides:
    """Which pictures and videos stand in training and in validation.

    Args:
        alike: groups of what counts as the same, by each of their digests; empty: only equal digests do.
    """

    def __init__(self, alike: Mapping[str, Sequence[str]]) -> None:
        self._spelt = {digest: group[0] for digest, group in alike.items()}
        self._shown: list[Any] = []
        self._rows: list[Any] = []
        self._validates: list[Any] = []
        self._count = 0

    def add(self, batch: Batch) -> None:
        """Takes in the next records."""
        import numpy as np

        digests, counts = batch.shown
        self._shown.append(text_numbers(digests, self._spelt))
        self._rows.append(np.repeat(np.arange(self._count, self._count + len(batch)), counts))
        self._validates.append(batch.validates)
        self._count += len(batch)

    def shared(self) -> np.ndarray[Any, Any]:
        """Of each record, whether something that it shows stands on both sides."""
        import numpy as np

        if not self._count:
            return np.zeros(0, dtype=bool)
        rows = np.concatenate(self._rows)
        _, codes = np.unique(np.concatenate(self._shown), return_inverse=True)
        validates = np.concatenate(self._validates)[rows]
        seen = np.zeros((2, codes.max(initial=-1) + 1), dtype=bool)
        seen[0, codes[~validates]] = True
        seen[1, codes[validates]] = True
        both = np.zeros(self._count, dtype=bool)
        both[rows[(seen[0] & seen[1])[codes]]] = True
        return both


def _number(texts: Callable[[Batch], pa.Array]) -> Callable[[Batch], Values]:
    def make(batch: Batch) -> Values:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        found = texts(batch)
        missing = pc.is_null(found).to_numpy(zero_copy_only=False)
        numbers = np.zeros(len(batch), dtype=np.int64)
        numbers[~missing] = text_numbers(found.drop_null())
        return pa.array(numbers, mask=missing)

    return make


def _characters(field: str) -> Callable[[Batch], Values]:
    def make(batch: Batch) -> Values:
        import numpy as np
        import pyarrow.compute as pc

        return np.asarray(pc.utf8_length(batch[field])).astype(np.int32)

    return make


def _words(texts: pa.Array) -> Values:
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(texts)
    # Splitting takes a third of the time of counting by a regular expression; of an empty text it makes one word.
    counts = pc.list_value_length(pc.utf8_split_whitespace(trimmed))
    return pc.if_else(pc.equal(pc.binary_length(trimmed), 0), 0, counts)


def _as_is(field: str) -> Callable[[Batch], Values]:
    return lambda batch: batch[field]


def _narrow(field: str) -> Callable[[Batch], Values]:
    def make(batch: Batch) -> Values:
        import numpy as np

        return batch.values(field).astype(np.int32)

    return make


def _side(field: str) -> Callable[[Batch], Values]:
    return lambda batch: batch.where_shown(batch.values(field))


def _aspect_ratio(batch: Batch) -> Values:
    import numpy as np

    width, height = (batch.values(name) for name in ("width", "height"))
    return batch.where_shown(np.maximum(width, height) / np.maximum(1, np.minimum(width, height)))


def _images(batch: Batch) -> Values:
    import pyarrow.compute as pc

    return pc.list_value_length(batch["images"])


def _frames(batch: Batch) -> Values:
    import pyarrow.compute as pc

    return pc.if_else(pc.is_valid(batch["video_digest"]), batch["frames"], None)


def _phrases(batch: Batch) -> Values:
    return batch.groundings.phrases


def _boxes(batch: Batch) -> Values:
    return batch.groundings.boxes


def _areas(pick: str) -> Callable[[Batch], Values]:
    """Of each record the area of one of its boxes, as a share of the picture; not a number without boxes.

    Args:
        pick: which one: ``minimum`` or ``maximum``.
    """

    def make(batch: Batch) -> Values:
        import numpy as np

        found = batch.groundings
        edges = found.edges.astype(np.float64)
        areas = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1]) / COORDINATE_RANGE**2
        picked = np.full(len(batch), np.nan)
        have = found.boxes > 0
        if have.any():
            starts = (np.cumsum(found.boxes) - found.boxes)[have]
            picked[have] = getattr(np, pick).reduceat(areas, starts)
        return picked

    return make


def _of_image(take: Callable[[ImageFacts], Any], kind: str) -> Callable[[Batch], Values]:
    return lambda batch: batch.of_image(take, kind)


def _first_shown(batch: Batch) -> pa.Array:
    return batch.first_shown


_SHOWN: Final = ("image_digests", "video_digest")
_SAME: Final = "image_on_both_sides"
_ALIKE: Final = "similar_on_both_sides"
_SIZE: Final = ("width", "height", *_SHOWN)

COLUMNS: Final[dict[str, Column]] = {
    "id": Column("name of the sample", ("id",), _as_is("id")),
    "split": Column("`train` or `validation`", ("split",), _as_is("split")),
    "prompt": Column("the user's text", ("prompt",), _as_is("prompt")),
    "prompt_characters": Column("its length", ("prompt",), _characters("prompt")),
    "prompt_words": Column("words in it", ("prompt",), lambda batch: _words(batch["prompt"])),
    "prompt_number": Column(
        "a number made from it: equal texts have equal numbers", ("prompt",), _number(lambda batch: batch["prompt"])
    ),
    "target": Column("the assistant's text, as it is trained", ("target",), _as_is("target")),
    "target_characters": Column("its length", ("target",), _characters("target")),
    "target_words": Column("words in it", ("target",), lambda batch: _words(batch["target"])),
    "target_number": Column(
        "a number made from it: equal texts have equal numbers", ("target",), _number(lambda batch: batch["target"])
    ),
    "answer": Column("the text of the answer; none for phrase-grounding", ("truth",), lambda batch: batch.answers),
    "answer_words": Column("words in it; none for phrase-grounding", ("truth",), lambda batch: _words(batch.answers)),
    "answer_number": Column(
        "a number made from it: equal texts have equal numbers", ("truth",), _number(lambda batch: batch.answers)
    ),
    "replaced_characters": Column("characters of the answer that were replaced", ("replaced",), _narrow("replaced")),
    "images": Column("how many images it shows", ("images",), _images),
    "image": Column("sha256 of the first one, or of the video", _SHOWN, _first_shown),
    "image_number": Column("a number made from that: equal files have equal numbers", _SHOWN, _number(_first_shown)),
    "width": Column("of it as it is seen, in pixels", _SIZE, _side("width")),
    "height": Column("likewise", _SIZE, _side("height")),
    "aspect_ratio": Column("longer over shorter side", _SIZE, _aspect_ratio),
    "image_format": Column(
        "by its content, for example `JPEG`", _SHOWN, _of_image(lambda facts: facts.format, "string")
    ),
    "image_bytes": Column("size of its file", _SHOWN, _of_image(lambda facts: facts.bytes, "int64")),
    "image_changes": Column(
        "how many conversions it needed", _SHOWN, _of_image(lambda facts: len(facts.changes), "int32")
    ),
    "brightness": Column(
        "mean luminance of it, 0 (black) to 255", _SHOWN, _of_image(lambda facts: facts.brightness, "double")
    ),
    "similar_images": Column("other pictures that are nearly the same", _SHOWN, lambda batch: batch.alike()),
    _SAME: Column("whether training and validation both show one of its pictures", ("split", *_SHOWN), None),
    _ALIKE: Column("the same of pictures that are nearly the same", ("split", *_SHOWN), None),
    "frames": Column("of the video; none without one", ("frames", "video_digest"), _frames),
    "phrases": Column("located phrases", ("truth",), _phrases),
    "boxes": Column("boxes of all phrases", ("truth",), _boxes),
    "smallest_box": Column("its share of the image, 0 to 1; none without boxes", ("truth",), _areas("minimum")),
    "largest_box": Column("likewise", ("truth",), _areas("maximum")),
    "source_file": Column("key of the annotation file", ("source_file",), _as_is("source_file")),
    "source_line": Column("line in it", ("source_line",), _narrow("source_line")),
}
"""The columns of the table, by name; docs/datasets.md lists them."""

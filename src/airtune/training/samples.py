"""The samples of one split as a torch dataset, and the batches made of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from torch.utils.data import Dataset

from airtune.datasets.pictures.images import Images
from airtune.datasets.record import Record
from airtune.errors import AirtuneError, DataError, Problem
from airtune.modeling.encoding import Encoded, Encoder, Picture, size_in_bytes
from airtune.training.features.files import FeatureFiles
from airtune.training.packing import Packer
from airtune.training.rows import padded_row

CACHE_BYTES: Final = 512 * 2**20
"""How much of processed pictures and of texts is kept, so that a small dataset is decoded once and not every epoch."""

ROWS: Final = "rows"
TOKENS: Final = "tokens"
SAMPLE_IDS: Final = "sample_ids"
FAILURE: Final = "failure"

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Sample:
    """One encoded sample, or the reason why there is none (an error does not survive the way out of a worker).

    Attributes:
        id: of its record.
        encoded: the sample as numbers.
        digests: sha256 (hex) of its pictures' files, in the order of ``encoded.vision``.
        failure: why there is no sample.
        learned: False: it is computed, for a process that has nothing else to do, and teaches nothing.
    """

    id: str
    encoded: Encoded | None
    digests: tuple[str, ...] = ()
    failure: AirtuneError | None = None
    learned: bool = True


class Unlearned(int):
    """The index of a sample that is to be computed and teach nothing."""


class Samples(Dataset[Sample]):
    """Encodes records when they are asked for; processed pictures and tokens are kept while there is room.

    Args:
        records: in the order of their indices.
        encoder: see :class:`airtune.modeling.encoding.Encoder`.
        images: where the pictures are; each is held against its digest when it is read.
        system_prompt: stands before every sample.
        longest: tokens that a sample may have.
        cache_bytes: room for processed pictures and tokens, in each process that encodes.

    Attributes:
        features: where vision features are kept; a picture that is there is neither read nor decoded.
    """

    features: FeatureFiles | None = None

    def __init__(
        self,
        records: Sequence[Record],
        encoder: Encoder,
        images: Images,
        system_prompt: str,
        longest: int,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.records = list(records)
        self._encoder = encoder
        self._images = images
        self._system_prompt = system_prompt
        self._longest = longest
        self._pictures: Kept[str, Picture] = Kept(cache_bytes * 3 // 4)
        self._texts: Kept[int, Encoded] = Kept(cache_bytes // 4)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Sample:
        record = self.records[index]
        try:
            learned = not isinstance(index, Unlearned)
            return Sample(record.id, self._encoded(index, record), record.shown, learned=learned)
        except AirtuneError as error:
            return Sample(record.id, None, failure=_named(error, record))

    def look(self, key: str, digest: str) -> Picture:
        """A picture read, decoded and processed now; usable from several threads.

        Args:
            key: of the image, relative to the dataset's root.
            digest: sha256 (hex) that its file must have.

        Raises:
            DataError: it cannot be read, or the processor cannot take it.
        """
        return self._encoder.see(self._images.load(key, digest))

    def _encoded(self, index: int, record: Record) -> Encoded:
        images = zip(record.images, record.image_digests, strict=True)
        pictures = [self._picture(key, digest) for key, digest in images]
        pictures += [self._film(film, record.shown[0]) for film in self._images.films(record)]
        text = self._texts.get(index)
        if text is not None:
            return replace(text, vision=tuple(picture.vision for picture in pictures))
        encoded = self._encoder.encode(self._system_prompt, record.prompt, pictures, record.target)
        if encoded.length > self._longest:
            raise DataError(
                Problem("sample", f"has {encoded.length} tokens, more than was predicted from its picture's size",
                        allowed=f"<= {self._longest}", fix="lower maxPixels or raise maxSequenceLength")
            )  # fmt: skip
        text = replace(encoded, vision=())
        self._texts.put(index, text, size_in_bytes(text.tokens) * 2)  # labels and owners are as large as two inputs
        return encoded

    def _picture(self, key: str, digest: str) -> Picture:
        kept = (self.features.get(digest) if self.features is not None else None) or self._pictures.get(digest)
        if kept is not None:
            return kept
        picture = self.look(key, digest)
        self._pictures.put(digest, picture, picture.bytes)
        return picture

    def _film(self, film: Any, digest: str) -> Picture:
        kept = self._pictures.get(digest)
        if kept is None:
            kept = self._encoder.see(film)
            self._pictures.put(digest, kept, kept.bytes)
        return kept


class Kept(Generic[Key, Value]):
    """What was made before, the least recently used leaving first when room (bytes) runs out."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """What was kept under this key."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, size: int) -> None:
        """Keeps this value of ``size`` bytes, if it fits at all."""
        if key in self._kept or size > self._room:
            return
        while self._used + size > self._room:
            _, (_, freed) = self._kept.popitem(last=False)
            self._used -= freed
        self._kept[key] = (value, size)
        self._used += size


class Batches:
    """Makes micro-batches of samples: rows, with the samples' names for error messages.

    Args:
        encoder: see :class:`airtune.modeling.encoding.Encoder`.
        packer: packs samples into shared rows; None pads them, where the architecture cannot do otherwise.

    Attributes:
        packer: the same; with another one, the next batches are packed in another way.
    """

    def __init__(self, encoder: Encoder, packer: Packer | None = None) -> None:
        self._encoder = encoder
        self.packer = packer

    @property
    def packs(self) -> bool:
        """Whether samples share rows."""
        return self.packer is not None

    def limit(self, row_tokens: int | None) -> None:
        """From the next batch on a packed row has at most so many tokens; None: as many as before."""
        if self.packer is not None and row_tokens is not None:
            self.packer = replace(self.packer, row_tokens=row_tokens)

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """One micro-batch.

        Returns:
            ``rows`` (list of :class:`airtune.training.rows.Row`, each for one forward and backward), ``sample_ids``,
            and ``tokens``, the samples' tokens without padding; or ``failure`` when a sample could not be made.
        """
        failure = next((sample.failure for sample in samples if sample.failure is not None), None)
        if failure is not None:
            return {FAILURE: failure}
        encoded = [sample.encoded for sample in samples if sample.encoded is not None]
        digests = [sample.digests for sample in samples]
        if self.packer is not None:
            rows = self.packer.rows(encoded, digests)
        else:
            rows = [padded_row(self._encoder, encoded, [digest for known in digests for digest in known])]
        if not all(sample.learned for sample in samples):
            return {ROWS: [row.unlearned() for row in rows], SAMPLE_IDS: [], TOKENS: 0}
        return {
            ROWS: rows,
            SAMPLE_IDS: [sample.id for sample in samples],
            TOKENS: sum(each.length for each in encoded),
        }


def _named(error: AirtuneError, record: Record) -> AirtuneError:
    """The same error, saying which sample it is about."""
    where = f"sample {record.id} ({record.source_file}:{record.source_line})"
    problems = [
        Problem(where, problem.message, problem.value, problem.allowed, problem.fix)
        if problem.where == "sample"
        else problem
        for problem in error.problems
    ]
    return DataError(problems) if isinstance(error, DataError) else type(error)(problems)

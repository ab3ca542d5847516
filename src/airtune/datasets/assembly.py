"""From drafts and looked-at images to records: what is used, what is set aside, and which side each sample is on.

In two passes over files, so that a dataset of any size takes the same memory. The first makes samples of drafts, or
sets them aside. Only then is it known which images belong together and whether two samples are alike; the second pass
gives every sample its side and its name, whole columns at a time. In memory is what there is once an image, and of a
sample the 16 bytes that tell it from others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airtune.datasets.annotations.control_tokens import ControlTokens
from airtune.datasets.aside import Aside, AsideWriter
from airtune.datasets.crew import Crew
from airtune.datasets.pictures.inspection import ImageFacts, Inspected
from airtune.datasets.record_table import RecordTable, RecordWriter
from airtune.datasets.samples import Chunk, Made, make_samples
from airtune.datasets.splitting.sides import Sides, sides_of
from airtune.datasets.splitting.split import SplitRule
from airtune.datasets.spool import Spool, keys_of
from airtune.runspec.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

WORTH_SPREADING: Final = 20_000
"""Samples from which on several processes make them."""

_NAME: Final = 16
"""Characters of its digest that name a sample."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """All samples of a dataset.

    Attributes:
        records: those that are used, in the order of their split, and within it in that of the reader.
        aside: the others, in the order of the reader.
        rule: how the split came about.
        scaled: samples whose image is the annotated one at another size.
    """

    records: RecordTable
    aside: Aside
    rule: SplitRule
    scaled: int


def assemble(
    spool: Spool,
    inspected: Inspected,
    *,
    task: Task,
    user_prompt: str | None,
    ratio: float | None,
    near: Sequence[Sequence[str]],
    controls: ControlTokens,
    folder: Path,
    crew: Crew,
) -> Assembly:
    """Make records of all samples that can be trained.

    Args:
        spool: what the reader found.
        inspected: what became of every image.
        task: of the run.
        user_prompt: the user's text for samples that bring none; None leaves it empty.
        ratio: the share of images for validation where the dataset brings no split; None takes the default.
        near: groups of images (by digest) that are nearly the same: where the split is made here, they stay together.
        controls: what must not stand in a text as it is.
        folder: where records.parquet and set-aside.jsonl are written; it exists.
        crew: who does the work.
    """

    def jobs() -> Iterator[Chunk]:
        for path in spool.chunks:
            yield Chunk(path, {key: inspected[key] for key in keys_of(path)}, task, user_prompt, controls)

    samples = _Samples()
    with AsideWriter(folder / "set-aside.jsonl") as aside:
        for made in crew.each(make_samples, jobs(), spread=spool.samples >= WORTH_SPREADING):
            samples.add(made)
            for row in made.aside:
                aside.add(row)
    images = {facts.digest: facts for facts in inspected.values() if isinstance(facts, ImageFacts)}
    sides = sides_of(
        samples.shown(), samples.batches, images=images, alike=near, delivered=spool.delivered, ratio=ratio
    )
    path = folder / "records.parquet"
    _write(path, samples, sides)
    return Assembly(RecordTable(path), aside.aside, sides.rule, samples.scaled)


class _Samples:
    """Records without their ids, in the order of the reader, in files of arrow."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self.scaled = 0

    def add(self, made: Made) -> None:
        """Take what was made of the next chunk."""
        self.scaled += made.scaled
        if made.samples is not None:
            self._paths.append(made.samples)

    def batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for path in self._paths:
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
                yield from reader

    def shown(self) -> Iterator[list[str]]:
        """What must not stand on both sides of a split: images or video, by content; of text alone the text."""
        import pyarrow.compute as pc

        for batch in self.batches():
            for group in batch["group"].unique().to_pylist():
                yield [group]
            several = batch["image_digests"].filter(pc.greater(pc.list_value_length(batch["image_digests"]), 1))
            yield from several.to_pylist()

    def names(self) -> np.ndarray[Any, Any]:
        """The beginning of every sample's digest."""
        import numpy as np

        parts = [_names(batch) for batch in self.batches()]
        return np.concatenate(parts) if parts else np.empty(0, f"S{_NAME}")


def _names(batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
    import numpy as np
    import pyarrow.compute as pc

    return np.asarray(pc.utf8_slice_codeunits(batch["digest"], 0, _NAME).to_pylist(), dtype=f"S{_NAME}")


def _write(path: Path, samples: _Samples, sides: Sides) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    naming = _Naming(samples.names())
    later = path.with_name("validation.arrow")
    with RecordWriter(path) as writer:
        with pa.OSFile(str(later), "wb") as file, _Stream(file) as validation:
            for batch in samples.batches():
                table = pa.table(batch)
                group = _mapped(table["group"], sides.groups)
                delivered = pc.fill_null(table["split"], "train")
                split = _mapped(group, sides.of_groups) if sides.of_groups is not None else delivered
                table = table.set_column(table.schema.get_field_index("group"), "group", group)
                table = table.set_column(table.schema.get_field_index("split"), "split", split)
                table = table.append_column("id", naming.of(batch))
                trains = pc.equal(split, "train")
                writer.write(table.filter(trains))
                validation.write(table.filter(pc.invert(trains)))
        with pa.OSFile(str(later), "rb") as file:
            if validation.written:
                with pa.ipc.open_stream(file) as rest:
                    for batch in rest:
                        writer.write(pa.table(batch))
    later.unlink()


class _Stream:
    """A stream of arrow whose schema is that of the first table."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._writer: Any = None

    @property
    def written(self) -> bool:
        return self._writer is not None

    def __enter__(self) -> _Stream:
        return self

    def write(self, table: pa.Table) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._file, table.schema)
        self._writer.write_table(table)

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _mapped(column: Any, values: Mapping[str, str]) -> Any:
    """The column with every text replaced by what it stands for; each distinct text is looked up once."""
    import pyarrow as pa

    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    meant = pa.array([values[text] for text in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([meant.take(encoded.indices)], pa.string())


class _Naming:
    """Names samples by their digests; of samples that are alike the second is ``...-2``."""

    def __init__(self, names: np.ndarray[Any, Any]) -> None:
        import numpy as np

        ordered = np.sort(names)
        self._alike = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        self._seen: Counter[bytes] = Counter()

    def of(self, batch: pa.RecordBatch) -> Any:
        import numpy as np
        import pyarrow as pa

        names = _names(batch)
        texts = names.astype("U").astype(object)
        for index in np.flatnonzero(np.isin(names, self._alike)) if len(self._alike) else ():
            self._seen[names[index]] += 1
            if self._seen[names[index]] > 1:
                texts[index] = f"{texts[index]}-{self._seen[names[index]]}"
        return pa.array(texts, pa.string())

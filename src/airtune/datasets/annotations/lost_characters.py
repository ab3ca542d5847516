"""Texts that were decoded wrongly before they came here: what was lost cannot be had again, but it can be said."""

from __future__ import annotations

from typing import Final

from airtune.datasets.record_table import RecordTable

_SIGNS: Final = (
    ("\ufffd", "hold the mark of a lost character (\ufffd)"),
    ("[ÂÃ][\u0080-\u00bf]", "look like UTF-8 that was read as Latin-1 (Ã¼ for ü)"),
)
"""A regular expression of RE2, and what it is a sign of."""

_TEXTS: Final = ("prompt", "target")
_EXAMPLES: Final = 3


def lost_character_warnings(records: RecordTable) -> list[str]:
    """Which samples have such texts, in sentences with places; none where none has."""
    import pyarrow.compute as pc

    counts = [0] * len(_SIGNS)
    places: list[list[str]] = [[] for _ in _SIGNS]
    for batch in records.batches([*_TEXTS, "source_file", "source_line"]):
        for number, (sign, _) in enumerate(_SIGNS):
            found = pc.or_(*(pc.match_substring_regex(batch[name], sign) for name in _TEXTS))
            counts[number] += pc.sum(found).as_py() or 0
            if len(places[number]) < _EXAMPLES:
                rows = batch.filter(found).slice(0, _EXAMPLES - len(places[number]))
                files, lines = rows["source_file"].to_pylist(), rows["source_line"].to_pylist()
                places[number] += [f"{file}:{line}" for file, line in zip(files, lines, strict=True)]
    return [
        f"the texts of {count} samples {what}: {', '.join(named)}"
        for count, named, (_, what) in zip(counts, places, _SIGNS, strict=True)
        if count
    ]

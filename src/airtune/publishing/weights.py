"""Which files are a model's weights, and whether they are all there: safetensors only, read without torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from airtune.errors import Problem, SettingsError

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"

PICKLED: Final = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
"""Files that run code when they are loaded: never copied, never loaded."""

_LONGEST_HEADER: Final = 200_000_000  # bytes; the format's own limit is 100 MB


def weight_files(folder: Path, *, where: str = "baseModel") -> list[str]:
    """The names of a model's weight files: ``model.safetensors``, or the index and every shard it names.

    Args:
        folder: of the model.
        where: how errors name the setting.

    Raises:
        SettingsError: there are none, only pickled ones, or some are missing or cut short; all are named.
    """
    if (folder / SINGLE).is_file():
        names, tensors = [SINGLE], None
    elif (folder / INDEX).is_file():
        tensors = _shards(folder, where)
        names = [INDEX, *sorted(set(tensors.values()))]
    else:
        raise SettingsError(_no_weights(folder, where))
    problems = list(_faults(folder, [name for name in names if name != INDEX], tensors))
    if problems:
        raise SettingsError(problems)
    return names


def refuse_pickles(folder: Path) -> None:
    """Makes sure that a folder which will be published has no file that runs code when it is loaded.

    Raises:
        SettingsError: it has; each is named.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix in PICKLED)
    if found:
        raise SettingsError(
            Problem(str(path), "is a pickle, which can run code when it is loaded, and is not published",
                    fix="save it as safetensors")
            for path in found
        )  # fmt: skip


def header(path: Path) -> dict[str, Any]:
    """A safetensors file's header: tensor name -> dtype, shape, data_offsets.

    Raises:
        ValueError: the file is not safetensors, or is shorter than its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, _LONGEST_HEADER):
            raise ValueError("its header is cut short")
        found = json.loads(stream.read(length))
    if not isinstance(found, dict):
        raise ValueError("its header is no object")  # noqa: TRY004  the file is wrong, not the caller
    found.pop("__metadata__", None)
    ends = [entry["data_offsets"][1] for entry in found.values()]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"it has {size:,} bytes and should have {8 + length + max(ends, default=0):,}")
    return found


def _shards(folder: Path, where: str) -> dict[str, str]:
    """Tensor name -> shard, as the index has it; every shard is a plain safetensors name."""
    path = folder / INDEX
    try:
        tensors = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        tensors = {str(name): str(shard) for name, shard in tensors.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(Problem(where, "the index of its shards cannot be read", value=str(path))) from error
    odd = sorted(
        {shard for shard in tensors.values() if Path(shard).name != shard or not shard.endswith(".safetensors")}
    )
    if odd or not tensors:
        raise SettingsError(
            Problem(where, "the index names a shard that is no safetensors file beside it", value=repr(shard)[:200],
                    allowed="model-00001-of-0000N.safetensors", fix=f"see {path}")
            for shard in odd or [""]
        )  # fmt: skip
    return tensors


def _faults(folder: Path, shards: Iterable[str], tensors: dict[str, str] | None) -> Iterable[Problem]:
    for shard in shards:
        path = folder / shard
        if not path.is_file():
            yield Problem(str(path), "a shard of the model's weights is missing", fix="copy the whole model again")
            continue
        try:
            found = header(path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield Problem(str(path), f"is not a whole safetensors file: {error}", fix="copy the whole model again")
            continue
        missing = [name for name, named in (tensors or {}).items() if named == shard and name not in found]
        if missing:
            yield Problem(
                str(path), f"lacks {len(missing)} of the tensors that the index says are in it", value=missing[0]
            )


def _no_weights(folder: Path, where: str) -> Problem:
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED) if folder.is_dir() else []
    if pickled:
        return Problem(
            where,
            "has only pickled weights, which can run code when they are loaded",
            value=str(folder / pickled[0]),
            allowed="safetensors",
            fix="convert them once with save_pretrained(safe_serialization=True), on a machine you trust them on",
        )
    return Problem(where, f"has no weights ({SINGLE}, or {INDEX} with its shards)", value=str(folder))

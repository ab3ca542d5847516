"""What stands beside YOLO's labels: the classes' names, and which images are for which split."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, ClassVar, Final

import yaml

from airtune.datasets.annotations.sentences import class_name
from airtune.datasets.draft import Reject, short
from airtune.datasets.sources.source import WHERE, Source
from airtune.datasets.sources.text_encoding import as_utf8
from airtune.errors import DataError, Problem

_LARGEST_FILE: Final = 512 * 1024
_SPLITS: Final = ("train", "val", "test")
_KEYPOINT_SIZES: Final = (2, 3)
_NUMBER: Final = re.compile(r"[0-9]{1,6}")


@dataclass
class YoloNames:
    """What a dataset says of its classes and splits.

    Attributes:
        names: of the classes, by number.
        files: where they stand.
        splits: the folders (ending in ``/``) or single images of ``train``, ``val`` and ``test``, by data.yaml.
        pose: how many numbers follow the class in a pose file; 0 where the dataset is none.
        refused: files that cannot be read, with what is wrong.
    """

    LISTS: ClassVar[frozenset[str]] = frozenset(
        {"classes.txt", "class.txt", "obj.names", "classes.names", "labels.txt"}
    )
    """Files of one name a line."""

    names: dict[int, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)
    pose: int = 0
    refused: list[str] = field(default_factory=list)

    def name(self, number: float) -> str:
        """The name of a class.

        Raises:
            Reject: it has none.
        """
        found = self.names.get(int(number)) if number.is_integer() else None
        if found is not None:
            return class_name(found)
        if self.refused:
            raise Reject("annotation-shape", self.refused[0])
        if not self.names:
            raise Reject("annotation-shape", "the classes have no names: there is neither data.yaml nor classes.txt")
        have = f"{len(self.names)} names in {self.files[0]}"
        raise Reject("annotation-shape", f"the class {number:g} has no name: there are {have}")

    def split_of(self, image: str) -> str | None:
        """``train``, ``val`` or ``test``, or None where data.yaml names neither the image nor its folder."""
        stem = image.rpartition(".")[0] or image
        for split, places in self.splits.items():
            if any(image.startswith(place) if place.endswith("/") else place in (image, stem) for place in places):
                return split
        return None


def names_of_classes(source: Source) -> YoloNames:
    """What the dataset's data.yaml, classes.txt and obj.names say.

    Raises:
        DataError: two of them give a class different names.
    """
    found = YoloNames()
    keys = [key for key in source.keys if key.rpartition("/")[2].lower() in YoloNames.LISTS]
    documents = [key for key in source.keys if key.lower().endswith((".yaml", ".yml"))]
    for key in (*sorted(documents, key=_depth), *sorted(keys, key=_depth)):
        try:
            if key in documents:
                document = _document(source, key)
                names = _names(document)
                if names is None:
                    continue
                if not found.files:
                    found.splits = _splits(source, document, key)
                    found.pose = _pose(document)
            else:
                names = dict(enumerate(_text(source, key).rstrip().splitlines()))
        except Reject as refusal:
            found.refused.append(f"{key}: {refusal.message}")
            continue
        _agree(source, found, names, key)
        found.names = found.names or names
        found.files.append(key)
    return found


def _depth(key: str) -> tuple[int, str]:
    return key.count("/"), key


def _agree(source: Source, found: YoloNames, names: dict[int, str], key: str) -> None:
    both = found.names.keys() & names.keys()
    wrong = [number for number in both if found.names[number].strip() != names[number].strip()]
    if wrong:
        number = min(wrong)
        raise DataError(
            Problem(
                WHERE,
                f"the classes have different names: {number} is {short(found.names[number])} in {found.files[0]}, and "
                f"{short(names[number])} in {key}",
                value=source.uri,
                fix="delete the file that does not hold for these labels",
            )
        )


def _text(source: Source, key: str) -> str:
    if source.keys[key] > _LARGEST_FILE:
        raise Reject("annotation-malformed", f"the file has {source.keys[key]:,} bytes, too many for names")
    try:
        return as_utf8(source.read(key)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Reject("annotation-malformed", f"not UTF-8: byte {error.start + 1}") from error


def _document(source: Source, key: str) -> Mapping[str, Any]:
    try:
        document = yaml.load(_text(source, key), Loader=_Loader)  # noqa: S506 - it makes nothing but texts
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Reject("annotation-malformed", f"malformed YAML: {' '.join(str(error).split())[:200]}") from error
    return document if isinstance(document, Mapping) else {}


class _Loader(yaml.BaseLoader):
    """YAML that knows texts, lists and mappings alone: the class ``no`` stays a name.

    Aliases are refused: a few lines of them can stand for gigabytes.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are refused")
        return super().compose_node(parent, index)


def _names(document: Mapping[str, Any]) -> dict[int, str] | None:
    names = document.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, Mapping):
        return None
    found = {}
    for number, name in names.items():
        if not _NUMBER.fullmatch(str(number)) or not isinstance(name, str):
            raise Reject("annotation-shape", f"names holds {short(str(number))}: {short(str(name))}")
        found[int(number)] = name
    return found


def _pose(document: Mapping[str, Any]) -> int:
    shape = document.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(_NUMBER.fullmatch(str(size)) for size in shape):
        points, size = map(int, shape)
        return 4 + points * size if size in _KEYPOINT_SIZES else 0
    return 0


def _splits(source: Source, document: Mapping[str, Any], key: str) -> dict[str, tuple[str, ...]]:
    folders = {parent.as_posix() for image in source.keys for parent in PurePosixPath(image).parents}
    base = key.rpartition("/")[0]
    path = document.get("path")
    root = path if isinstance(path, str) else ""
    found: dict[str, tuple[str, ...]] = {}
    for split in _SPLITS:
        value = document.get(split, document.get("valid") if split == "val" else None)
        places = []
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, str) and entry.strip():
                places += _places(source, folders, base, root, entry.strip())
        if places:
            found[split] = tuple(places)
    return found


def _places(source: Source, folders: set[str], base: str, root: str, entry: str) -> list[str]:
    """What an entry means: a folder, or the images that a list names.

    Paths in data.yaml are often those of the machine that it was written on. The longest end of one that is there
    counts.
    """
    at = _within(entry.replace("\\", "/"), folders | set(source.keys), base, root)
    if at is None:
        return []
    if at not in source.keys:
        return [f"{at}/"]
    if not at.lower().endswith(".txt"):
        return []
    keys, parent = set(source.keys), at.rpartition("/")[0]
    lines = (line.strip().replace("\\", "/") for line in _text(source, at).splitlines())
    return [key for line in lines if line and (key := _within(line, keys, parent, root)) is not None]


def _within(path: str, there: set[str], base: str, root: str) -> str | None:
    for start in (base, posixpath.join(base, root), ""):
        joined = posixpath.normpath(posixpath.join(start, path))
        if joined in there and joined != ".":
            return joined
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for skipped in range(len(parts)):
        tail = "/".join(parts[skipped:])
        for start in dict.fromkeys((base, "")):
            joined = posixpath.normpath(posixpath.join(start, tail))
            if joined in there:
                return joined
    return None

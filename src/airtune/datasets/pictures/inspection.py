"""Every image and video of a dataset, looked at once: read whole, decoded whole, its facts kept.

What was looked at in an earlier run and has not changed since is not looked at again.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Final

from airtune.datasets.crew import Crew
from airtune.datasets.draft import Draft, Reject
from airtune.datasets.pictures.decoding import UnusableImageError, decode
from airtune.datasets.pictures.image_facts import Content, ImageFacts, Inspected
from airtune.datasets.pictures.image_formats import SUFFIXES
from airtune.datasets.pictures.images import Images
from airtune.datasets.pictures.known_images import KnownImages
from airtune.datasets.pictures.signature import signature_of
from airtune.datasets.pictures.videos import look
from airtune.datasets.sources.table_cells import cell_of
from airtune.environment import Environment
from airtune.runspec.tasks import Task
from airtune.stores.hashing import sha256_of_file
from airtune.stores.parallel import in_threads

__all__ = ["KNOWN", "ImageFacts", "Inspected", "check_size", "inspect", "known_images"]

KNOWN: Final = ("cache", "known-images.sqlite3")
"""Where in airtune's home the results of earlier runs are."""

_SAME_SHAPE: Final = 0.02
"""How far, relatively, two aspect ratios may differ and still be one picture at two sizes."""

WORTH_SPREADING: Final = 4000
"""Images in a folder from which on processes look at them. Threads do as well for photographs, which are decoded
outside Python's lock, but small pictures are mostly Python's own work."""

_CHUNK: Final = 1000
_JOB: Final = 32


@dataclass(frozen=True, slots=True)
class _File:
    """One that must be looked at; ``seen`` is its version, if it has one that can be trusted."""

    key: str
    seen: str | None
    film: bool


@dataclass(frozen=True, slots=True)
class _Found:
    """What became of a file; without a digest where it could not be read. ``is_new``: whether it had to be decoded."""

    file: _File
    digest: str | None
    content: Content
    is_new: bool


def known_images(images: Images) -> AbstractContextManager[KnownImages]:
    """What all runs have found out about the images below this root; written at the end."""
    return KnownImages.at(_known_place(), images.root_uri)


def inspect(
    images: Images,
    keys: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
    *,
    videos: Iterable[str] = (),
    crew: Crew | None = None,
    known_in: Path | None = None,
) -> Inspected:
    """Look at every image and video, several at a time.

    Interrupted, it keeps what it has found so far for the next run.

    Args:
        images: where they are.
        keys: which images.
        videos: which videos.
        progress: told after each how many are done, and how many there are.
        crew: processes for folders of many images; None takes threads whatever there is.
        known_in: the file of what is known; default: that of all runs, in airtune's home.

    Returns:
        By key, its facts, or the reason why it cannot be used; in the order of the keys.
    """
    films = set(videos)
    wanted = sorted(films | set(keys))
    found: Inspected = {}

    def is_there(key: str, content: Content) -> None:
        found[key] = _named(key, content)
        if progress:
            progress(len(found), len(wanted))

    place = known_in or _known_place()
    with KnownImages.at(place, images.root_uri) as known:
        rest = _changed(images, wanted, films, known, is_there)
        begun = list(islice(rest, WORTH_SPREADING))
        rest = chain(begun, rest)
        spread = crew is not None and not images.remote and len(begun) == WORTH_SPREADING
        looked = _in_processes(images, rest, place, crew) if spread and crew else _in_threads(images, rest, known)
        with closing(looked):  # interrupted, it takes its work back from the crew before the crew goes
            for each in looked:
                if each.digest is not None:
                    known.remember(each.file.key, each.file.seen, each.digest, each.content if each.is_new else None)
                is_there(each.file.key, each.content)
    return {key: found[key] for key in wanted}


def _known_place() -> Path:
    return Environment.read().home.joinpath(*KNOWN)


def _changed(
    images: Images, wanted: list[str], films: set[str], known: KnownImages, is_there: Callable[[str, Content], None]
) -> Iterator[_File]:
    """The files that must be looked at; what is known of the others goes to ``is_there``."""
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        versions = images.versions(chunk)
        rest = set(chunk)
        for key, content in known.unchanged(versions):
            rest.discard(key)
            is_there(key, content)
        yield from (_File(key, versions.get(key), key in films) for key in chunk if key in rest)


def _in_threads(images: Images, files: Iterable[_File], known: KnownImages) -> Generator[_Found]:
    for _, found in in_threads(lambda file: _look_at(images, file, known), files, images.readers):
        yield found


def _in_processes(images: Images, files: Iterable[_File], place: Path, crew: Crew) -> Generator[_Found]:
    rest = iter(files)
    jobs = ((images, place, job) for job in iter(lambda: list(islice(rest, _JOB)), []))
    for results in crew.each(_look_at_all, jobs):
        yield from results


def _look_at_all(job: tuple[Images, Path, list[_File]]) -> list[_Found]:
    images, place, files = job
    known = _knowledge(place, images.root_uri)
    return [_look_at(images, file, known) for file in files]


@functools.lru_cache(maxsize=1)
def _knowledge(place: Path, root_uri: str) -> KnownImages:
    """Of this process, which only asks: what it finds is written where the results come together."""
    return KnownImages(place, root_uri)


def _look_at(images: Images, file: _File, known: KnownImages) -> _Found:
    """Read a file whole and, unless its content is known, decode it whole."""
    digest: str | None = None
    try:
        if file.film:
            path = images.path(file.key)
            digest = sha256_of_file(path)
            before = known.content(digest)
            return _Found(file, digest, before or look(path, name=file.key), before is None)
        images.refuse_early(file.key)
        data = images.read(file.key)
        digest = hashlib.sha256(data).hexdigest()
        before = known.content(digest)
        return _Found(file, digest, before or _look(data, file.key, digest), before is None)
    except UnusableImageError as error:
        if isinstance(error.__cause__, MemoryError):
            digest = None  # that may be the machine's fault, and is no knowledge
        return _Found(file, digest, Reject(error.reason, error.problems[0].message), is_new=True)


def _look(data: bytes, key: str, digest: str) -> ImageFacts:
    picture = decode(data, name=key)
    width, height = picture.image.size
    looks = signature_of(picture.image)
    return ImageFacts(
        digest=digest,
        width=width,
        height=height,
        stored_size=picture.stored_size,
        changes=picture.changes,
        format=picture.format,
        bytes=len(data),
        phash=looks.phash,
        colours=looks.colours,
        brightness=looks.brightness,
    )


def _named(key: str, content: Content) -> Content:
    """What depends on the file's name and not on its content."""
    if not isinstance(content, ImageFacts) or cell_of(key) is not None:  # a cell has no name of its own
        return content
    suffix = PurePosixPath(key).suffix.lower()
    if suffix in SUFFIXES.get(content.format, (suffix,)):
        return content
    return replace(content, changes=(*content.changes, "suffix"))


def check_size(draft: Draft, facts: ImageFacts, task: Task) -> str | None:
    """Hold an image against the size that its annotation states.

    Returns:
        None, or ``scaled`` where the image is the annotated one at another size (fractions still hold).

    Raises:
        Reject: it cannot be the image that was annotated; or it was annotated unturned, so that nobody can tell in
            which of the two frames its boxes are.
    """
    stated = draft.annotated_size
    seen = (facts.width, facts.height)
    if stated is None or stated == seen:
        return None
    if stated == facts.stored_size:
        if task is Task.PHRASE_GROUNDING:
            raise Reject(
                "image-orientation",
                f"annotated as {_by(stated)}, but its EXIF orientation turns it to {_by(seen)}: "
                "its boxes may be meant for either",
            )
        return None
    ratio = (stated[0] * seen[1]) / (stated[1] * seen[0])
    if abs(ratio - 1) <= _SAME_SHAPE:
        return "scaled"
    raise Reject("image-size-differs", f"annotated as {_by(stated)} pixels, but it has {_by(seen)}")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"

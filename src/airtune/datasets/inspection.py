"""Every image and video of a dataset, looked at once: read whole, decoded whole, its facts kept.

What was looked at in an earlier run and has not changed since is not looked at again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from airtune.datasets.decoding import UnusableImageError, decode
from airtune.datasets.draft import Draft, Reject
from airtune.datasets.image_facts import Content, ImageFacts, Inspected
from airtune.datasets.image_formats import SUFFIXES
from airtune.datasets.images import Images
from airtune.datasets.known_images import KnownImages
from airtune.datasets.parallel import in_threads
from airtune.datasets.signature import signature_of
from airtune.datasets.videos import look
from airtune.environment import Environment
from airtune.runspec.tasks import Task
from airtune.stores.hashing import sha256_of_file

__all__ = ["KNOWN", "ImageFacts", "Inspected", "check_size", "inspect", "known_images", "look_at"]

KNOWN: Final = ("cache", "known-images.sqlite3")
"""Where in airtune's home the results of earlier runs are."""

_SAME_SHAPE: Final = 0.02
"""How far, relatively, two aspect ratios may differ and still be one picture at two sizes."""

_CHUNK: Final = 1000


def known_images(images: Images) -> AbstractContextManager[KnownImages]:
    """What all runs have found out about the images below this root; written at the end."""
    return KnownImages.at(Environment.read().home.joinpath(*KNOWN), images.root_uri)


def inspect(
    images: Images,
    keys: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
    *,
    videos: Iterable[str] = (),
    known_in: Path | None = None,
) -> Inspected:
    """Look at every image and video, several at a time.

    Interrupted, it keeps what it has found so far for the next run.

    Args:
        images: where they are.
        keys: which images.
        videos: which videos.
        progress: told after each how many are done, and how many there are.
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

    with known_images(images) if known_in is None else KnownImages.at(known_in, images.root_uri) as known:

        def work(job: tuple[str, str | None]) -> tuple[str | None, Content, bool]:
            return look_at(images, job[0], known, film=job[0] in films)

        changed = _changed(images, wanted, known, is_there)
        for (key, seen), (digest, content, is_new) in in_threads(work, changed, images.readers):
            if digest is not None:
                known.remember(key, seen, digest, content if is_new else None)
            is_there(key, content)
    return {key: found[key] for key in wanted}


def _changed(
    images: Images, wanted: list[str], known: KnownImages, is_there: Callable[[str, Content], None]
) -> Iterator[tuple[str, str | None]]:
    """The files that must be looked at, each with its version; what is known of the others goes to ``is_there``."""
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        versions = images.versions(chunk)
        rest = set(chunk)
        for key, content in known.unchanged(versions):
            rest.discard(key)
            is_there(key, content)
        yield from ((key, versions.get(key)) for key in chunk if key in rest)


def look_at(images: Images, key: str, known: KnownImages, *, film: bool = False) -> tuple[str | None, Content, bool]:
    """Read a file whole and, unless its content is known, decode it whole.

    Args:
        images: where it is.
        key: which.
        known: what is known of contents.
        film: whether it is a video.

    Returns:
        The sha256 (hex) of its content (None where it cannot be read), what it is, and whether that is new.
    """
    digest: str | None = None
    try:
        if film:
            path = images.path(key)
            digest = sha256_of_file(path)
            before = known.content(digest)
            return digest, before or look(path, name=key), before is None
        data = images.read(key)
        digest = hashlib.sha256(data).hexdigest()
        before = known.content(digest)
        return digest, before or _look(data, key, digest), before is None
    except UnusableImageError as error:
        if isinstance(error.__cause__, MemoryError):
            digest = None  # that may be the machine's fault, and is no knowledge
        return digest, Reject(error.reason, error.problems[0].message), True


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
    if not isinstance(content, ImageFacts):
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

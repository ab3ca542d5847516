"""Every object below a prefix, asked for folder by folder where there are many: S3 gives a thousand names an answer.

Pages of one listing follow each other, each begun where the last one ended. Folders do not depend on each other, so
several are listed at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from airtune.stores.parallel import in_threads

Page = dict[str, Any]
AskForPage = Callable[[str, dict[str, str]], Page]
"""Asks for one page below a prefix, with further arguments of ``ListObjectsV2``."""

_AT_A_TIME: Final = 16
_MOST_FOLDERS: Final = 500
"""Where a folder holds more, they are small, and a request for each would be more requests than pages."""


def list_objects(ask: AskForPage, prefix: str) -> list[Any]:
    """The entries (``Key``, ``Size``, ``ETag`` ...) of all objects whose keys begin with ``prefix``.

    Args:
        ask: repeats what fails, and raises what cannot be repeated.
        prefix: ends with a slash, or is empty.

    Returns:
        They come in no certain order.
    """
    first = ask(prefix, {})
    if not first.get("IsTruncated"):
        return list(first.get("Contents", []))
    found, folders = _folder(ask, prefix, first)
    while folders:
        deeper: list[str] = []
        for _, (entries, inner) in in_threads(lambda folder: _folder(ask, folder, None), folders, _AT_A_TIME):
            found += entries
            deeper += inner
        folders = deeper
    return found


def _folder(ask: AskForPage, prefix: str, first: Page | None) -> tuple[list[Any], list[str]]:
    """What lies in a folder, and which folders in it are still to be listed."""
    whole = first or ask(prefix, {})
    if not whole.get("IsTruncated"):
        return list(whole.get("Contents", [])), []
    page = ask(prefix, {"Delimiter": "/"})
    entries, folders = list(page.get("Contents", [])), [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    while page.get("IsTruncated"):
        if len(folders) > _MOST_FOLDERS:
            return _one_after_the_other(ask, prefix, whole), []
        page = ask(prefix, {"Delimiter": "/", "ContinuationToken": page["NextContinuationToken"]})
        entries += page.get("Contents", [])
        folders += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
    if len(folders) > _MOST_FOLDERS:
        return _one_after_the_other(ask, prefix, whole), []
    return entries, folders


def _one_after_the_other(ask: AskForPage, prefix: str, page: Page) -> list[Any]:
    entries = list(page.get("Contents", []))
    while page.get("IsTruncated"):
        page = ask(prefix, {"ContinuationToken": page["NextContinuationToken"]})
        entries += page.get("Contents", [])
    return entries

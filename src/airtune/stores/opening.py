"""From a URI to a store, a local path, or the bytes behind it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from airtune.errors import Problem, SettingsError
from airtune.stores.base import Store, check_key
from airtune.stores.file_store import FileStore

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(uri: str) -> Store:
    """The store at ``uri``; nothing is asked of a server yet.

    Args:
        uri: ``file:///absolute/folder`` or ``s3://bucket/prefix``.

    Raises:
        SettingsError: it is neither.
    """
    path = local_path(uri)
    if path is not None:
        return FileStore(path)
    bucket, prefix = split_s3(uri)
    from airtune.stores.s3_store import S3Store

    return S3Store(bucket, prefix)


def read_uri(uri: str) -> bytes:
    """The content of the one object at ``uri``.

    Raises:
        MissingError: there is nothing.
        SettingsError: the URI is not one.
    """
    folder, name = split_uri(uri)
    return open_store(folder).read(name)


def local_path(uri: str) -> Path | None:
    """The absolute path behind a ``file://`` URI; None for an ``s3://`` one.

    Raises:
        SettingsError: it is neither, or a ``file://`` URI of another machine.
    """
    if not isinstance(uri, str) or not uri.startswith(("file://", "s3://")):
        raise SettingsError(
            Problem(
                "URI",
                "not a URI that airtune knows",
                value=repr(uri)[:200],
                allowed="file:///absolute/path or s3://bucket/prefix",
            )
        )
    if uri.startswith("s3://"):
        return None
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if (
        parts.netloc not in ("", "localhost")
        or not path.startswith("/")
        or "\0" in path
        or parts.query
        or parts.fragment
    ):
        raise SettingsError(
            Problem(
                "URI",
                "a file URI has three slashes and an absolute path",
                value=uri[:200],
                allowed="file:///absolute/path",
            )
        )
    if ".." in path.split("/"):
        raise SettingsError(Problem("URI", "a file URI has no ..", value=uri[:200]))
    return Path(path)


def split_s3(uri: str) -> tuple[str, str]:
    """Bucket and prefix (without slashes at its ends) of ``s3://bucket/prefix``.

    Raises:
        SettingsError: the bucket's name or the prefix is impossible.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(
            Problem(
                "URI",
                "does not begin with the name of a bucket",
                value=repr(bucket)[:100],
                allowed="3 to 63 of a-z, 0-9, . and -",
                fix=f"see {uri[:200]}",
            )
        )
    prefix = prefix.rstrip("/")
    return bucket, check_key(prefix, where=uri[:200]) if prefix else ""


def split_uri(uri: str) -> tuple[str, str]:
    """The URI of the folder above, and the last part's plain name.

    Raises:
        SettingsError: there is no part below the root or the bucket.
    """
    path = local_path(uri)
    if path is not None:
        if not path.name:
            raise SettingsError(Problem("URI", "names no file", value=uri[:200]))
        return path.parent.as_uri(), path.name
    bucket, prefix = split_s3(uri)
    folder, _, name = prefix.rpartition("/")
    if not name:
        raise SettingsError(Problem("URI", "names a bucket, not an object in it", value=uri[:200]))
    return f"s3://{bucket}/{folder}" if folder else f"s3://{bucket}", name


def join_uri(uri: str, key: str) -> str:
    """The URI of ``key`` below ``uri`` (with the escapes that ``file://`` needs)."""
    path = local_path(uri)
    check_key(key, where=uri[:200])
    return (path / key).as_uri() if path is not None else f"{uri.rstrip('/')}/{key}"

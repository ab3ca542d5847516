"""Where things lie: files and S3 behind one small interface, and the run directory's layout."""

from airtune.stores.base import (
    MARKER,
    FileRecord,
    MissingError,
    ObjectInfo,
    Progress,
    ProgressCallback,
    Store,
)
from airtune.stores.opening import local_path, open_store, read_uri
from airtune.stores.run_directory import RunDirectory

__all__ = [
    "MARKER",
    "FileRecord",
    "MissingError",
    "ObjectInfo",
    "Progress",
    "ProgressCallback",
    "RunDirectory",
    "Store",
    "local_path",
    "open_store",
    "read_uri",
]

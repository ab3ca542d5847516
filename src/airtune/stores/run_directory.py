"""The run directory: everything that stages share, in a store, with a local workspace beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airtune.environment import Environment
from airtune.errors import DefectError, Problem, SettingsError, StoreError
from airtune.stores import layout, synchronizing
from airtune.stores.base import MissingError, ProgressCallback, Store, check_key
from airtune.stores.opening import join_uri, local_path, open_store
from airtune.stores.workspace import WorkspaceIndex

_CAS_ATTEMPTS = 100


class RunDirectory:
    """One run: ``<root>/runs/<run_id>``.

    Attributes:
        uri: where it is.
        run_id: its name.
        store: the store that begins at the run directory.
        root: the store that holds ``runs/`` and ``models/``.
        workspace: a local folder with the same layout. For ``file://`` it *is* the run directory, and
            :meth:`fetch` and :meth:`push` have nothing to do. Otherwise it lies below ``AIRTUNE_HOME/work``
            and may be lost at any time.
    """

    def __init__(self, root_uri: str, run_id: str) -> None:
        root_uri = root_uri.rstrip("/")
        self.run_id = layout.check_run_id(run_id)
        self.uri = join_uri(root_uri, f"{layout.RUNS}/{run_id}")
        self.root: Store = open_store(root_uri)
        self.store: Store = self.root.sub(f"{layout.RUNS}/{run_id}")
        folder = local_path(self.uri)
        self._remote = folder is None
        if folder is None:
            digest = hashlib.sha256(self.uri.encode()).hexdigest()[:12]
            folder = Environment.read().home / "work" / f"{run_id}-{digest}"
        self.workspace: Path = folder

    @classmethod
    def open(cls, uri: str) -> RunDirectory:
        """The run at ``uri``.

        Raises:
            SettingsError: the URI does not end in ``runs/<run_id>``.
            MissingError: there is no run there.
        """
        run = cls._at(uri)
        if run.store.stat(layout.RUN_JSON) is None:
            raise MissingError(
                Problem(run.uri, "there is no run here (no run.json)", fix="check the address, and AIRTUNE_STORE")
            )
        return run

    @classmethod
    def create(cls, root_uri: str, run_id: str, document_json: str) -> RunDirectory:
        """Make the run ``run_id`` of this run.json; the same call again returns the same run.

        Args:
            root_uri: the store's root, as in ``AIRTUNE_STORE``.
            run_id: a name that is new, or that was made from the same run.json.
            document_json: the run.json as text.

        Raises:
            SettingsError: ``run_id`` exists with another run.json, or cannot be a folder's name.
        """
        run = cls(root_uri, run_id)
        data = document_json.encode("utf-8")
        if not run.store.create(layout.REQUEST, data) and not _same_json(run.store.read(layout.REQUEST), data):
            raise SettingsError(
                Problem("run_id", "a run of this name exists, made from another run.json", value=run_id,
                        fix="choose another run_id; the settings of a run are fixed once it has begun")
            )  # fmt: skip
        run.store.create(layout.RUN_JSON, data)
        return run

    @classmethod
    def _at(cls, uri: str) -> RunDirectory:
        cleaned = uri.rstrip("/")
        rest, _, run_id = cleaned.rpartition("/")
        root, _, runs = rest.rpartition("/")
        if runs != layout.RUNS or not root:
            raise SettingsError(
                Problem("run URI", "not the address of a run", value=repr(uri)[:200], allowed="<store>/runs/<run_id>")
            )
        return cls(root, run_id)

    def path(self, name: str) -> Path:
        """Where ``name`` lies in the workspace (it may not be there; its folder is made)."""
        path = self.workspace / check_key(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def exists(self, name: str) -> bool:
        """Whether the store has the file ``name``."""
        return self.store.stat(name) is not None

    def fetch(self, *names: str, progress: ProgressCallback | None = None) -> int:
        """Bring files or folders from the store to the workspace, only what differs.

        A name that does not exist in the store is no error: ask the workspace afterwards. Work that was not
        pushed yet stays (see :func:`airtune.stores.synchronizing.fetch`).

        Args:
            names: files or folders; none means the whole run directory.
            progress: told of the bytes as they come.

        Returns:
            How many files came.
        """
        if not self._remote:
            return 0
        index = WorkspaceIndex(self.workspace)
        return sum(synchronizing.fetch(self.store, self.workspace, index, name, progress) for name in names or ("",))

    def push(self, *names: str, progress: ProgressCallback | None = None) -> int:
        """Upload files or folders from the workspace to the store, only what differs; markers go last.

        Args:
            names: files or folders, at least one.
            progress: told of the bytes as they go.

        Returns:
            How many files went.

        Raises:
            MissingError: one of them does not exist in the workspace.
        """
        missing = [name for name in names if not (self.workspace / check_key(name)).exists()]
        if missing or not names:
            raise MissingError(
                [Problem(str(self.workspace / name), "there is nothing to upload") for name in missing or [""]]
            )
        if not self._remote:
            return 0
        index = WorkspaceIndex(self.workspace)
        return sum(synchronizing.push(self.store, self.workspace, index, name, progress) for name in names)

    def remove(self, name: str) -> None:
        """Remove a file or folder from the store and the workspace; a marker goes first."""
        self.store.delete_tree(name)
        if self._remote:
            open_store(self.workspace.as_uri()).delete_tree(name)

    def read_json(self, name: str) -> Any:
        """The JSON document ``name``, fresh from the store.

        Raises:
            MissingError: it is not there: the stage that writes it has not run.
            DefectError: it is not JSON.
        """
        return _parsed(self.store.read(name), f"{self.uri}/{name}")

    def write_json(self, name: str, document: Any) -> None:
        """Write a JSON document (indented, keys in the given order) to the store and the workspace."""
        self.write_bytes(name, _as_json(document))

    def write_json_here(self, name: str, document: Any) -> None:
        """Write a JSON document to the workspace alone, whole: :meth:`push` takes it to the store.

        For what is written in the middle of work that a store which is away must not hold up.
        """
        open_store(self.workspace.as_uri()).write(name, _as_json(document))

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text to the store and the workspace."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file to the store and the workspace; unchanged content is not written again."""
        if self._remote:
            open_store(self.workspace.as_uri()).write(name, data)
        before = self.store.stat(name)
        if before is None or before.size != len(data) or self.store.read(name) != data:
            self.store.write(name, data)

    def update(self, name: str, change: Callable[[bytes | None], bytes]) -> bytes:
        """Change a file that others may change at the same time, by compare-and-swap until it succeeds.

        Args:
            name: the file.
            change: from the content now (None: not there) to the new content; called again when another was faster.

        Returns:
            The content as it was written.

        Raises:
            StoreError: others were faster a hundred times.
        """
        return update(self.store, name, change)

    def model_store(self, name: str) -> Store:
        """The store of the model ``name``: ``models/<name>/`` beside ``runs/``.

        Raises:
            SettingsError: ``name`` cannot be the name of a folder.
        """
        return self.root.sub(f"{layout.MODELS}/{layout.check_model_name(name)}")


def update(store: Store, key: str, change: Callable[[bytes | None], bytes]) -> bytes:
    """See :meth:`RunDirectory.update`; for any store."""
    for _ in range(_CAS_ATTEMPTS):
        found = store.read_versioned(key)
        data = change(found[0] if found else None)
        if found is not None and found[0] == data:
            return data
        if store.replace(key, data, found[1] if found else None):
            return data
    raise StoreError(Problem(f"{store.uri}/{key}", f"changed {_CAS_ATTEMPTS} times under our hands", fix="try again"))


def _as_json(document: Any) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parsed(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise DefectError(Problem(where, f"is not JSON: {error}", fix="delete it and run its stage again")) from error


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return one == other

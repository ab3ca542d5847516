"""Finds out whether a store keeps the promise that ``create`` and ``replace`` rest on.

Without it two runs that finish together could both believe to have moved ``current.json``. AWS S3 and
SeaweedFS keep it (the latter is tested with racing writers). There is no safe way around a server that
ignores the conditions, so airtune refuses to promote there, in words, instead of pretending.
"""

from __future__ import annotations

import secrets

from airtune.errors import NotPermittedError, Problem
from airtune.stores.base import Store


def check_conditional_writes(store: Store) -> None:
    """Try one refused creation and one refused replacement on a key of its own, which is removed again.

    Raises:
        NotPermittedError: the server writes although the condition does not hold.
    """
    key = f"probe-{secrets.token_hex(8)}"
    try:
        kept = store.create(key, b"first") and not store.create(key, b"second")
        found = store.read_versioned(key)
        if kept and found is not None:
            kept = store.replace(key, b"third", found[1]) and not store.replace(key, b"fourth", found[1])
    finally:
        store.delete(key)
    if not kept:
        raise NotPermittedError(
            Problem(
                store.uri,
                "this store ignores conditional writes (If-None-Match, If-Match), so a model cannot be promoted safely",
                fix="use a server that honours them: AWS S3, SeaweedFS 4, MinIO",
            )
        )

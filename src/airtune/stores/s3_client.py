"""S3 clients of boto3, one per set of credentials, and what to call the server in a message.

Everything is configured by the variables that boto3 documents: ``AWS_ENDPOINT_URL_S3``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``, ``AWS_PROFILE`` ...
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit

from airtune.environment import Environment

_LOG = logging.getLogger("airtune.stores")

MAX_CONCURRENCY: Final = 8
"""Parts of one file in flight at once."""
PART_SIZE: Final = 16 * 1024 * 1024
"""Bytes of a part; with 4 files at a time and 8 parts each at most 512 MiB are in flight."""

_lock = threading.Lock()
_clients: dict[tuple[str | None, ...], Any] = {}

_VARIABLES: Final = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "AIRTUNE_STORE_PATIENCE",
)


def s3_client() -> Any:
    """The client for the environment as it is now; clients are shared between threads and kept.

    It asks once: repeating is left to :mod:`airtune.stores.s3_retrying`, which says so and knows when to stop.
    """
    return _client(1)


def bulk_client() -> Any:
    """The same for large files: it repeats a single part for about half a minute, which outlives a server's restart."""
    return _client(8)


def _client(attempts: int) -> Any:
    key = (str(attempts), *(os.environ.get(name) for name in _VARIABLES))
    with _lock:
        client = _clients.get(key)
        if client is None:
            client = _clients[key] = _make_client(attempts)
        return client


def transfer_config() -> Any:
    """How files are cut into parts: memory is bounded by ``MAX_CONCURRENCY`` parts a file."""
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(
        multipart_threshold=PART_SIZE,
        multipart_chunksize=PART_SIZE,
        max_concurrency=MAX_CONCURRENCY,
        preferred_transfer_client="classic",
    )


def endpoint_of(client: Any) -> str:
    """The server's address for messages, without anything secret in it."""
    parts = urlsplit(str(client.meta.endpoint_url))
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


def _make_client(attempts: int) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    from airtune.errors import Problem, SettingsError

    patience = Environment.read().store_patience
    own_server = bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    try:
        session = boto3.session.Session()
        client = session.client(
            "s3",
            region_name=session.region_name or os.environ.get("AWS_REGION") or "us-east-1",
            config=Config(
                connect_timeout=5,
                read_timeout=min(60.0, max(5.0, patience)),
                max_pool_connections=4 * MAX_CONCURRENCY,
                retries={"mode": "standard", "total_max_attempts": attempts},
                s3={"addressing_style": "path"} if own_server else {},
                user_agent_extra="airtune",
            ),
        )
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            Problem(
                "AWS_ENDPOINT_URL_S3",
                f"S3 cannot be configured: {type(error).__name__}",
                fix="check the AWS_* variables",
            )
        ) from error
    if attempts > 1:
        client.meta.events.register_last("needs-retry.s3", _ReportRetry(endpoint_of(client)))
    return client


class _ReportRetry:
    """Says, at most once in five seconds, that a request is being repeated."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._said = 0.0

    def __call__(self, caught_exception: Exception | None = None, **_: Any) -> None:
        if caught_exception is not None and time.monotonic() - self._said > 5:
            self._said = time.monotonic()
            _LOG.warning("S3 at %s: %s, trying again", self._endpoint, type(caught_exception).__name__)

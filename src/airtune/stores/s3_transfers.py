"""What goes along with moving a file: counting its bytes, and finding out why it failed."""

from __future__ import annotations

from collections.abc import Callable


class ByteCounter:
    """Passes bytes on, and takes them back when a transfer begins again."""

    def __init__(self, on_bytes: Callable[[int], None] | None) -> None:
        self._on_bytes = on_bytes
        self._passed = 0

    def __call__(self, count: int) -> None:
        """So many more bytes have been moved."""
        self._passed += count
        if self._on_bytes:
            self._on_bytes(count)

    def take_back(self) -> None:
        """The transfer failed: what was told did not count."""
        if self._on_bytes and self._passed:
            self._on_bytes(-self._passed)
        self._passed = 0


def cause_of(error: Exception) -> Exception:
    """The botocore error inside one of boto3's transfer errors, so that it can be judged."""
    from boto3.exceptions import S3UploadFailedError

    if isinstance(error, S3UploadFailedError) and isinstance(error.__cause__ or error.__context__, Exception):
        inner = error.__cause__ or error.__context__
        return inner if isinstance(inner, Exception) else error
    return error

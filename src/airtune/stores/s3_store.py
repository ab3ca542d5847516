"""A prefix in an S3 bucket as a store: boto3, conditional writes, parts in parallel.

Conditional writes are S3's own: ``If-None-Match: *`` for :meth:`S3Store.create` and ``If-Match`` for
:meth:`S3Store.replace`. AWS S3, SeaweedFS, MinIO and Ceph honour them; a server that silently ignores
them is found out by :func:`airtune.stores.conditional.check_conditional_writes`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from airtune.errors import Problem, StoreError
from airtune.stores.base import PRIVATE_PREFIX, FolderNames, MissingError, ObjectInfo, Store, check_key, join
from airtune.stores.s3_client import PART_SIZE, bulk_client, endpoint_of, s3_client, transfer_config
from airtune.stores.s3_listing import list_objects
from airtune.stores.s3_retrying import Result, error_code, missing_bucket, persistently, status_of
from airtune.stores.s3_transfers import ByteCounter, cause_of

_CHUNK = 1024 * 1024
_WRITER = "airtune-writer"
ObjectInfos = list[ObjectInfo]
_BEYOND_THE_END = 416
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})


class S3Store(Store):
    """Everything below ``s3://bucket/prefix``.

    Args:
        bucket: must exist.
        prefix: without slashes at its ends; may be empty.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.uri = f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}"
        self._bucket_seen = False

    def read(self, key: str) -> bytes:
        """See :class:`Store`."""
        found = self.read_versioned(key)
        if found is None:
            raise self._missing(key)
        return found[0]

    def read_part(self, key: str, start: int, length: int) -> bytes:
        """See :class:`Store`."""
        from botocore.exceptions import ClientError

        def get(client: Any) -> bytes:
            wanted = f"bytes={start}-{start + length - 1}"
            try:
                answer = client.get_object(Bucket=self.bucket, Key=self._key(key), Range=wanted)
            except ClientError as error:
                if status_of(error) != _BEYOND_THE_END:
                    raise
                return b""
            with closing(answer["Body"]) as body:
                return bytes(body.read())  # with a length given, an answer that was cut short would pass

        found = self._unless_absent(key, get)
        if found is None:
            raise self._missing(key)
        return found

    def write(self, key: str, data: bytes) -> None:
        """See :class:`Store`."""
        self._put(key, data)

    def stat(self, key: str) -> ObjectInfo | None:
        """See :class:`Store`."""
        answer = self._head(key)
        return None if answer is None else ObjectInfo(key, int(answer["ContentLength"]), _etag(answer))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See :class:`Store`; placeholders of folders (keys that end in ``/``) are left out."""
        folder = join(self.prefix, check_key(prefix, where=self.uri)) if prefix else self.prefix
        found = self._list_folder(f"{folder}/" if folder else "")
        if prefix and not found and (info := self.stat(prefix)) is not None:
            return iter([info])
        return iter(found)

    def folders(self, prefix: str = "") -> FolderNames:
        """See :class:`Store`; one request for each thousand names."""
        folder = join(self.prefix, check_key(prefix, where=self.uri)) if prefix else self.prefix
        folder = f"{folder}/" if folder else ""
        names: list[str] = []
        more: dict[str, str] = {}
        while True:
            page = self._call(prefix, partial(self._page, folder=folder, more={"Delimiter": "/", **more}))
            names += [entry["Prefix"][len(folder) :].rstrip("/") for entry in page.get("CommonPrefixes", [])]
            if not page.get("IsTruncated"):
                return sorted(name for name in names if name and not name.startswith(PRIVATE_PREFIX))
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        """See :class:`Store`."""
        self._call(key, lambda client: client.delete_object(Bucket=self.bucket, Key=self._key(key)))

    def create(self, key: str, data: bytes) -> bool:
        """See :class:`Store`."""
        return self._put_if(key, data, {"IfNoneMatch": "*"})

    def read_versioned(self, key: str) -> tuple[bytes, str] | None:
        """See :class:`Store`; content and version come with one answer."""

        def get(client: Any) -> tuple[bytes, str]:
            answer = client.get_object(Bucket=self.bucket, Key=self._key(key))
            with closing(answer["Body"]) as body:  # not `with body`: that gives the stream that checks no length
                return body.read(), _etag(answer)

        return self._unless_absent(key, get)

    def replace(self, key: str, data: bytes, version: str | None) -> bool:
        """See :class:`Store`."""
        if version is None:
            return self.create(key, data)
        return self._put_if(key, data, {"IfMatch": f'"{version}"'})

    def upload_file(self, path: Path, key: str, on_bytes: Callable[[int], None] | None = None) -> ObjectInfo:
        """See :class:`Store`; large files go in parallel parts, and the size that arrived is checked.

        A file may grow while it is sent (a log): then what was there at the beginning arrives.
        """
        size = path.stat().st_size
        if size < PART_SIZE:
            data = path.read_bytes()
            answer = self._put(key, data)
            if on_bytes:
                on_bytes(len(data))
            return ObjectInfo(key, len(data), _etag(answer))

        def put(client: Any) -> ObjectInfo:
            counter = ByteCounter(on_bytes)
            try:
                bulk_client().upload_file(
                    str(path), self.bucket, self._key(key), Config=transfer_config(), Callback=counter
                )
            except Exception as error:
                counter.take_back()
                raise cause_of(error) from error
            answer = client.head_object(Bucket=self.bucket, Key=self._key(key))
            return ObjectInfo(key, int(answer["ContentLength"]), _etag(answer))

        info = self._call(key, put)
        if info.size != size and path.stat().st_size == size:
            raise StoreError(
                Problem(f"{self.uri}/{key}", f"{size} bytes were sent, {info.size} arrived", fix="run the stage again")
            )
        return info

    def download_file(self, key: str, path: Path, on_bytes: Callable[[int], None] | None = None) -> ObjectInfo:
        """See :class:`Store`; content and version belong together even when the object changes meanwhile."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{PRIVATE_PREFIX}{secrets.token_hex(8)}"

        def get(client: Any) -> ObjectInfo:
            counter = ByteCounter(on_bytes)
            try:
                info = self._download(client, key, temporary, counter)
            except Exception as error:
                counter.take_back()
                raise cause_of(error) from error
            return info

        try:
            found = self._unless_absent(key, get)
            if found is None:
                raise self._missing(key)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return found

    def sub(self, prefix: str) -> S3Store:
        """See :class:`Store`."""
        return S3Store(self.bucket, join(self.prefix, check_key(prefix, where=self.uri)))

    def _key(self, key: str) -> str:
        return join(self.prefix, check_key(key, where=self.uri))

    def _call(self, what: str, call: Callable[[Any], Result]) -> Result:
        client = s3_client()
        return persistently(client, self.bucket, join(self.prefix, what), lambda: call(client))

    def _unless_absent(self, key: str, call: Callable[[Any], Result]) -> Result | None:
        """``call``'s result, or None when there is no such key; a missing bucket is an error."""
        from botocore.exceptions import ClientError

        try:
            result = self._call(key, call)
        except ClientError as error:
            if error_code(error) not in _ABSENT and status_of(error) != 404:
                raise
            self._check_bucket()
            return None
        self._bucket_seen = True
        return result

    def _check_bucket(self) -> None:
        """A HEAD cannot tell a missing key from a missing bucket: ask once."""
        from botocore.exceptions import ClientError

        if self._bucket_seen:
            return
        try:
            self._call("", lambda client: client.head_bucket(Bucket=self.bucket))
        except ClientError as error:
            if status_of(error) == 404:
                raise missing_bucket(endpoint_of(s3_client()), self.bucket) from error
            raise
        self._bucket_seen = True

    def _head(self, key: str) -> Any:
        return self._unless_absent(key, lambda client: client.head_object(Bucket=self.bucket, Key=self._key(key)))

    def _put(self, key: str, data: bytes, **conditions: Any) -> Any:
        return self._call(
            key, lambda client: client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data, **conditions)
        )

    def _put_if(self, key: str, data: bytes, condition: dict[str, str]) -> bool:
        """Write under a condition; whether this call wrote.

        Each write carries a name of its own: a repeated request whose first try did arrive, although the
        answer was lost, knows its own work again.
        """
        from botocore.exceptions import ClientError

        writer = secrets.token_hex(16)
        try:
            self._put(key, data, Metadata={_WRITER: writer}, **condition)
        except ClientError as error:
            if status_of(error) not in (404, 412):
                raise
            there = self._head(key)
            return there is not None and there.get("Metadata", {}).get(_WRITER) == writer
        return True

    def _list_folder(self, folder: str) -> ObjectInfos:
        start = len(self.prefix) + 1 if self.prefix else 0

        def ask(prefix: str, more: dict[str, str]) -> Any:
            return self._call(prefix[start:].rstrip("/"), partial(self._page, folder=prefix, more=more))

        found = []
        for entry in list_objects(ask, folder):
            key = entry["Key"][start:]
            name = key.rsplit("/", 1)[-1]
            if name and not name.startswith(PRIVATE_PREFIX):
                found.append(ObjectInfo(key, int(entry["Size"]), _etag(entry)))
        self._bucket_seen = True
        return sorted(found, key=lambda info: info.key.encode())

    def _page(self, client: Any, folder: str, more: dict[str, str]) -> Any:
        return client.list_objects_v2(Bucket=self.bucket, Prefix=folder, **more)

    def _download(self, client: Any, key: str, temporary: Path, counter: ByteCounter) -> ObjectInfo:
        name = self._key(key)
        before = client.head_object(Bucket=self.bucket, Key=name)
        size = int(before["ContentLength"])
        if size > PART_SIZE:
            bulk_client().download_file(self.bucket, name, str(temporary), Config=transfer_config(), Callback=counter)
            after = client.head_object(Bucket=self.bucket, Key=name)
            if _etag(after) != _etag(before):
                raise ConnectionError("the object changed while it was read")
            return ObjectInfo(key, size, _etag(before))
        answer = client.get_object(Bucket=self.bucket, Key=name)
        with closing(answer["Body"]) as body, temporary.open("wb") as writer:
            while chunk := body.read(_CHUNK):
                writer.write(chunk)
                counter(len(chunk))
        return ObjectInfo(key, int(answer["ContentLength"]), _etag(answer))

    def _missing(self, key: str) -> MissingError:
        return MissingError(Problem(f"{self.uri}/{key}", f"does not exist at {endpoint_of(s3_client())}"))


def _etag(answer: Any) -> str:
    return str(answer["ETag"]).strip('"')

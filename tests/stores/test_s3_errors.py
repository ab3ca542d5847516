"""S3 that refuses, lacks the bucket, or does not answer: said in words, with the right exit code, in bounded time."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airtune.embedded.seaweedfs import S3Server
from airtune.errors import AirtuneError, NotPermittedError, SettingsError, StoreError
from airtune.stores import RunDirectory, Store, open_store

pytestmark = pytest.mark.s3

OPERATIONS: list[Callable[[Store, Path], object]] = [
    lambda store, file: store.read("key"),
    lambda store, file: store.stat("key"),
    lambda store, file: list(store.list()),
    lambda store, file: store.write("key", b"1"),
    lambda store, file: store.create("key", b"1"),
    lambda store, file: store.replace("key", b"1", "abc"),
    lambda store, file: store.delete("key"),
    lambda store, file: store.upload_file(file, "key"),
    lambda store, file: store.download_file("key", file.with_name("down")),
]
NAMES = ["read", "stat", "list", "write", "create", "replace", "delete", "upload_file", "download_file"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 20_000_000)  # large enough to go in parts
    return path


def _check_words(error: AirtuneError, url: str, bucket: str, secrets: list[str]) -> None:
    said = f"{error} {error.to_json()} {error!r} {error.__cause__!r}"
    assert url in str(error)
    assert bucket in str(error)
    for secret in secrets:
        assert secret not in said


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_a_wrong_secret_is_not_permitted(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, file: Path, operation: Callable[[Store, Path], object]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-right-secret")
    with pytest.raises(NotPermittedError) as caught:
        operation(open_store("s3://airtune/wrong"), file)
    _check_words(caught.value, s3_environment.url, "airtune", ["not-the-right-secret", s3_environment.keys.secret_key])


@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_a_missing_bucket_is_a_settings_error(
    s3_environment: S3Server, file: Path, operation: Callable[[Store, Path], object]
) -> None:
    with pytest.raises(SettingsError, match="does not exist") as caught:
        operation(open_store("s3://not-there/prefix"), file)
    _check_words(caught.value, s3_environment.url, "not-there", [s3_environment.keys.secret_key])


def test_an_unknown_user_is_not_permitted(s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NOBODY")
    with pytest.raises(NotPermittedError, match="airtune"):
        open_store("s3://airtune").read("key")


def test_no_credentials_at_all_is_not_permitted(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(NotPermittedError, match="AWS_ACCESS_KEY_ID"):
        open_store("s3://airtune").read("key")


def test_a_run_in_a_missing_bucket_is_told_apart_from_a_missing_run(s3_environment: S3Server) -> None:
    with pytest.raises(SettingsError, match="bucket not-there does not exist"):
        RunDirectory.open("s3://not-there/runs/r1")
    with pytest.raises(SettingsError, match="there is no run here"):
        RunDirectory.open("s3://airtune/runs/no-such-run")


def test_an_unreachable_server_is_a_store_error_in_bounded_time(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        monkeypatch.setenv("AIRTUNE_STORE_PATIENCE", "2")
        begun = time.monotonic()
        with pytest.raises(StoreError) as caught:
            open_store("s3://airtune/x").read("key")
        assert time.monotonic() - begun < 5
        _check_words(caught.value, url, "airtune", [s3_environment.keys.secret_key])


def test_a_server_that_accepts_and_says_nothing_is_a_store_error_in_bounded_time(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(50)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setenv("AIRTUNE_STORE_PATIENCE", "1")
        begun = time.monotonic()
        with pytest.raises(StoreError, match="did not answer"):
            open_store("s3://airtune/x").stat("key")
        assert time.monotonic() - begun < 12


def test_a_connection_that_breaks_in_the_middle_is_taken_up_again(
    s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 20_000
    store = open_store("s3://airtune/broken")
    store.write("key", data)
    with _Breaking(s3_environment.url, breaks=3) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        store.download_file("key", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
        assert store.read("key") == data


class _Breaking:
    """A wire to the server that is cut in the first few conversations, after 100 kB."""

    def __init__(self, url: str, breaks: int) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._target, self._breaks = (host, int(port)), breaks
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            limit = 100_000 if self._breaks > 0 else None
            self._breaks -= 1
            threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, limit), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        try:
            while data := source.recv(65536):
                target.sendall(data)
                passed += len(data)
                if limit is not None and passed > limit:
                    break
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def test_a_wrong_region_or_a_defect_never_prints_a_traceback_with_the_secret(s3_environment: S3Server) -> None:
    script = (
        "import os, sys\n"
        "from airtune.stores import open_store\n"
        "from airtune.errors import AirtuneError\n"
        "try:\n    open_store('s3://not-there').read('x')\n"
        "except AirtuneError as error:\n    print(error); sys.exit(int(error.exit_code))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 64
    assert done.stderr == ""
    assert s3_environment.keys.secret_key not in done.stdout


def test_memory_stays_bounded_however_large_the_file(s3_environment: S3Server, tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from airtune.stores import open_store
store = open_store("s3://airtune/memory")
folder = Path(sys.argv[1])
(folder / "small").write_bytes(b"x")
store.upload_file(folder / "small", "small"); store.download_file("small", folder / "small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with (folder / "large").open("wb") as stream:
    for number in range(320):
        stream.write(number.to_bytes(4, "big") * 262144)
store.upload_file(folder / "large", "large")
after_upload = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.download_file("large", folder / "back")
store.delete("large")
after_download = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after_upload - before) // 1024, (after_download - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    upload, download = (int(number) for number in done.stdout.split())
    assert (tmp_path / "large").stat().st_size == (tmp_path / "back").stat().st_size == 320 * 2**20
    assert upload < 120, f"{upload} MiB more for a file of 320 MiB"
    assert download < 120, f"{download} MiB more for a file of 320 MiB"

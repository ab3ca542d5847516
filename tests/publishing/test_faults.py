"""Publishing while things break: the publisher killed at every stage of its work, the S3 server gone for 20 seconds."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from airtune.embedded import seaweedfs
from airtune.embedded.seaweedfs import S3Server
from airtune.errors import NotPermittedError, SettingsError, StoreError
from airtune.publishing.stage import publish
from airtune.stores import RunDirectory, layout
from airtune.stores.opening import open_store

pytestmark = pytest.mark.s3

Answer = Callable[[Path, Path], Mapping[str, str]]
MakeRun = Callable[..., RunDirectory]

PUBLISHER = """
import json, sys, time
from pathlib import Path
from airtune.publishing.stage import publish
from airtune.stores import RunDirectory, layout

def answer(bundle, workspace):
    if sys.argv[2] == "hang":
        print("asked", flush=True)
        time.sleep(120)
    rows = [json.loads(line) for line in (workspace / layout.PREDICTIONS).read_text().splitlines()]
    return {row["sample"]: row["text"] for row in rows if (row["model"], row["decoding"]) == ("tuned", "greedy")}

print(publish(RunDirectory.open(sys.argv[1]), answer=answer), flush=True)
"""


class Wire:
    """A way to the server that counts what passes, can be slow, and tells when so many bytes have gone."""

    def __init__(self, url: str, *, bytes_per_second: float | None = None) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._target = (host, int(port))
        self._pace = bytes_per_second
        self._lock = threading.Lock()
        self.passed = {"up": 0, "down": 0}
        self._watch: tuple[str, int, Callable[[], None]] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def when(self, direction: str, count: int, act: Callable[[], None]) -> None:
        """Call ``act`` once, when ``count`` bytes have gone that way."""
        self._watch = (direction, count, act)

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._pass, args=(client, server, "up"), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, "down"), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                with self._lock:
                    self.passed[direction] += len(data)
                    watch = self._watch
                    due = watch is not None and watch[0] == direction and self.passed[direction] >= watch[1]
                    if due:
                        self._watch = None
                    if self._pace is not None:
                        time.sleep(len(data) / self._pace)
                if due and watch is not None:
                    watch[2]()
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(s3_environment: S3Server) -> Iterator[Wire]:
    wire = Wire(s3_environment.url)
    yield wire
    wire.close()


def _publisher(run: RunDirectory, url: str, mode: str = "answer", **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, run.uri, mode],
        env={**os.environ, "AWS_ENDPOINT_URL_S3": url, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _check_published(run: RunDirectory) -> None:
    """The pointer names the run, and every byte the manifest names is in the store."""
    manifest_bytes = run.store.read(layout.MANIFEST)
    current = json.loads(run.model_store("Shapes-tiny-LoRA-v1").read(layout.CURRENT))
    assert current["run_id"] == run.run_id
    assert current["manifest_sha256"] == hashlib.sha256(manifest_bytes).hexdigest()
    files = json.loads(manifest_bytes)["files"]
    assert {entry["path"] for entry in files} == {info.key for info in run.store.list() if not layout.is_live(info.key)}
    for entry in files:
        data = run.store.read(entry["path"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["size"], entry["sha256"])
    history = run.model_store("Shapes-tiny-LoRA-v1").read(layout.HISTORY).splitlines()
    assert [json.loads(line) for line in history] == [current]


@pytest.mark.parametrize(
    ("direction", "count"),
    [("up", 30_000), ("up", 5_000_000), ("up", 30_000_000), ("down", 25_000_000)],
    ids=["at the beginning", "in the first part", "in the second shard", "while it is read back"],
)
def test_a_publisher_that_was_killed_is_completed_by_the_second_try(
    s3_root: str, make_run: MakeRun, echo: Answer, large_base: Path, wire: Wire, direction: str, count: int
) -> None:
    run = make_run(s3_root, base=large_base.as_uri())
    child = _publisher(run, wire.url)
    wire.when(direction, count, child.kill)
    output, _ = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, output
    assert run.store.stat(layout.MANIFEST) is None
    assert list(run.root.list("models")) == []
    assert publish(RunDirectory.open(run.uri), answer=echo).promoted
    _check_published(run)


def test_killed_between_manifest_and_promotion_it_is_completed_without_sending_anything_again(
    s3_root: str, make_run: MakeRun, echo: Answer, s3_environment: S3Server
) -> None:
    run = make_run(s3_root)
    child = _publisher(run, s3_environment.url, "hang")
    assert child.stdout is not None
    assert any(line == "asked\n" for line in child.stdout)
    child.kill()
    child.communicate(timeout=30)
    assert run.store.stat(layout.MANIFEST) is not None
    assert list(run.root.list("models")) == []
    before = {info.key: info.version for info in run.store.list() if not layout.is_live(info.key)}
    left = list((Path(os.environ["AIRTUNE_HOME"]) / "work").glob("reload-*"))
    assert publish(RunDirectory.open(run.uri), answer=echo).promoted
    assert {info.key: info.version for info in run.store.list() if not layout.is_live(info.key)} == before
    _check_published(run)
    assert left
    assert not left[0].exists()


def test_a_killed_publisher_on_disk_is_completed_too(
    file_root: str, make_run: MakeRun, echo: Answer, large_base: Path
) -> None:
    run = make_run(file_root, base=large_base.as_uri())
    child = _publisher(run, "http://unused")
    shard = run.workspace / "model_full/model-00001-of-00002.safetensors"
    until = time.monotonic() + 60
    while not shard.exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    child.kill()
    output, _ = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGKILL, output
    assert list(run.root.list("models")) == []
    assert publish(RunDirectory.open(run.uri), answer=echo).promoted
    _check_published(run)


@pytest.mark.timeout(180)
def test_an_s3_server_that_is_gone_for_twenty_seconds_costs_nothing_but_time(
    tmp_path: Path, make_run: MakeRun, large_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once frozen (SIGSTOP), once killed and started again, both at the same time to save time."""
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    cases = []
    try:
        for kind in ("frozen", "killed"):
            server = seaweedfs.start(tmp_path / kind)
            for name, value in server.environment().items():
                monkeypatch.setenv(name, value)
            run = make_run(f"s3://airtune/{kind}", base=large_base.as_uri())
            wire = Wire(server.url, bytes_per_second=16e6)
            gone = threading.Event()
            number = signal.SIGSTOP if kind == "frozen" else signal.SIGKILL

            def strike(server: S3Server = server, number: int = number, gone: threading.Event = gone) -> None:
                os.kill(server.process.pid, number)
                gone.set()

            wire.when("up", 8_000_000, strike)
            cases.append([kind, server, run, wire, gone, _publisher(run, wire.url), dict(os.environ)])
        for case in cases:
            assert case[4].wait(60)
        time.sleep(20)
        for case in cases:
            if case[0] == "frozen":
                os.kill(case[1].process.pid, signal.SIGCONT)
            else:
                case[1] = seaweedfs.start(tmp_path / case[0])
        for kind, server, run, wire, _, child, environment in cases:
            output, _ = child.communicate(timeout=120)
            assert child.returncode == 0, output
            if kind == "killed":
                assert "trying again" in output
            assert server.keys.secret_key not in output
            wire.close()
            for name in server.environment():
                monkeypatch.setenv(name, environment[name])
            _check_published(run)
    finally:
        for case in cases:
            case[5].kill()
            os.kill(case[1].process.pid, signal.SIGCONT)
            seaweedfs.stop(case[1].process)


def test_a_wrong_secret_a_missing_bucket_and_no_server_are_told_in_words(
    s3_root: str, make_run: MakeRun, echo: Answer, s3_environment: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(s3_root)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        with pytest.raises(NotPermittedError, match="bucket airtune") as refused:
            publish(run, answer=echo)
        assert s3_environment.url in str(refused.value)
        assert "wrong-secret" not in str(refused.value)
    with pytest.raises(SettingsError, match="no-such-bucket does not exist"):
        publish(RunDirectory("s3://no-such-bucket", "run-1"), answer=echo)
    with socket.socket() as closed, monkeypatch.context() as patch:
        closed.bind(("127.0.0.1", 0))
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{closed.getsockname()[1]}")
        patch.setenv("AIRTUNE_STORE_PATIENCE", "1")
        with pytest.raises(StoreError, match="did not answer") as unreachable:
            publish(run, answer=echo)
        assert str(closed.getsockname()[1]) in str(unreachable.value)


def test_a_base_on_s3_that_cannot_be_read_is_told_before_anything_is_written(
    s3_root: str, make_run: MakeRun, echo: Answer
) -> None:
    run = make_run(s3_root, base="s3://no-such-bucket/base")
    with pytest.raises(SettingsError, match="no-such-bucket"):
        publish(run, answer=echo)
    assert list(open_store(run.uri).list(layout.MODEL_FULL)) == []

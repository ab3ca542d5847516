"""The embedded S3 server: private, closed to the world, gone when asked, and with nothing lost."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from airtune.embedded import seaweedfs
from airtune.embedded.seaweedfs import S3Server
from airtune.stores import open_store

pytestmark = pytest.mark.s3

AND_WAIT = """
import sys, time
from pathlib import Path
from airtune.embedded import seaweedfs
with seaweedfs.running(Path(sys.argv[1])) as server:
    print(server.process.pid, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[S3Server]:
    with seaweedfs.running(tmp_path / "server") as server:
        yield server


def _use(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)


def test_every_port_is_on_the_loopback_address_only(s3_server: S3Server) -> None:
    listening = [
        each.laddr for each in psutil.Process(s3_server.process.pid).net_connections() if each.status == "LISTEN"
    ]
    assert len(listening) == 8
    assert {address.ip for address in listening if hasattr(address, "ip")} == {"127.0.0.1"}


def test_anonymous_requests_are_refused_at_every_http_door(s3_server: S3Server) -> None:
    ports = {
        each.laddr.port for each in psutil.Process(s3_server.process.pid).net_connections() if each.status == "LISTEN"
    }
    assert httpx.get(f"{s3_server.url}/").status_code == 403
    assert httpx.get(f"{s3_server.url}/airtune/any").status_code == 403
    assert httpx.put(f"{s3_server.url}/airtune/any", content=b"1").status_code == 403
    readable = set()
    for port in ports:
        for path in ("/buckets/airtune/", "/buckets/", "/etc/iam/"):
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5)
            except httpx.HTTPError:  # a gRPC port
                continue
            if answer.status_code < 400:
                readable.add((port, path, answer.status_code))
    assert readable == set()


def test_keys_are_readable_by_their_owner_alone_and_in_no_command_line(s3_server: S3Server) -> None:
    assert stat.S_IMODE(s3_server.folder.stat().st_mode) == 0o700
    for name in ("keys.json", "s3.json"):
        assert stat.S_IMODE((s3_server.folder / name).stat().st_mode) == 0o600
    command = " ".join(psutil.Process(s3_server.process.pid).cmdline())
    for secret in (s3_server.keys.secret_key, s3_server.keys.inner_key):
        assert secret not in command
        assert secret not in repr(s3_server)
        assert secret not in (s3_server.folder / "server.log").read_text()


def test_a_bucket_that_is_misspelt_is_not_made(s3_environment: S3Server) -> None:
    with pytest.raises(Exception, match="does not exist"):
        open_store("s3://airtnue").write("key", b"1")


def test_what_was_stored_is_there_after_a_kill_and_the_address_stays(
    own_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(own_server, monkeypatch)
    store = open_store("s3://airtune")
    data = os.urandom(3_000_000)
    for number in range(20):
        store.write(f"file-{number}", data[number:])
    os.kill(own_server.process.pid, signal.SIGKILL)
    begun = time.monotonic()
    again = seaweedfs.start(own_server.folder)
    try:
        assert time.monotonic() - begun < 30
        assert again.url == own_server.url
        assert again.keys == own_server.keys
        for number in range(20):
            assert store.read(f"file-{number}") == data[number:]
        assert not store.create("file-1", b"still conditional")
    finally:
        seaweedfs.stop(again.process)
    assert again.process.process() is None
    ports = json.loads((own_server.folder / "ports.json").read_text()).values()
    since = (own_server.folder / "keys.json").stat().st_mtime  # a server that others killed may have had these numbers
    assert not [
        path
        for path in Path("/tmp").glob("seaweedfs-*.sock")
        if path.stem.rsplit("-", 1)[1] in map(str, ports) and path.lstat().st_mtime >= since
    ]
    seaweedfs.stop(again.process)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_owner_stops_the_server(tmp_path: Path, number: signal.Signals) -> None:
    script = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n" + AND_WAIT
    child = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    assert psutil.pid_exists(pid)
    child.send_signal(number)
    child.wait(timeout=20)
    child.stdout.close()
    assert not psutil.pid_exists(pid)


def test_an_interruption_while_it_starts_leaves_nothing_running(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", AND_WAIT, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    until = time.monotonic() + 30
    while not (started := _servers_over(tmp_path)) and time.monotonic() < until:
        time.sleep(0.02)
    assert started
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)  # it takes a second or two; a loaded machine takes longer
    assert output == ""  # it was not ready yet
    assert _servers_over(tmp_path) == []


def _servers_over(folder: Path) -> list[psutil.Process]:
    data = f"-dir={folder}/data"
    return [each for each in psutil.process_iter(["cmdline"]) if data in (each.info["cmdline"] or [])]

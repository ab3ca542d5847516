"""What several rooms' tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

    from airtune.embedded.seaweedfs import S3Server

pytest_plugins = ["airflow_process"]

END_TO_END = "tests/e2e/"


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a run may write beside its result."""
    parser.addoption(
        "--write-architectures", action="store_true", help="write docs/architectures.md (with -m nightly, see there)"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The end-to-end tests, which take longest and mostly wait for Airflow, go first."""
    items.sort(key=lambda item: not item.nodeid.startswith(END_TO_END))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """A file's tests stay on one worker, and so do all end-to-end tests, which share one Airflow."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return END_TO_END if nodeid.startswith(END_TO_END) else nodeid.partition("::")[0]

    return Together(config, log)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS) with the bucket ``airtune``, for the whole session. Do not stop it."""
    from airtune.embedded import seaweedfs

    with seaweedfs.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_environment(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The session's S3 server, with the AWS_* variables of this process set to it and an AIRTUNE_HOME of its own."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    return s3_server

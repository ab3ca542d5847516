"""The run directory: made once, found again, its workspace exactly as fresh as promised."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from airtune.errors import DefectError, SettingsError
from airtune.stores import MissingError, RunDirectory, Store, layout
from airtune.stores.workspace import INDEX_NAME

RUN = '{"spec": {"flow": {"name": "x"}}}'


@pytest.fixture
def run(root_uri: str) -> RunDirectory:
    return RunDirectory.create(root_uri, "run-1", RUN)


@pytest.fixture
def s3_run(s3_environment: object, request: pytest.FixtureRequest) -> RunDirectory:
    return RunDirectory.create(f"s3://airtune/{request.node.name[-40:].strip('[]')}{os.urandom(4).hex()}", "run-1", RUN)


def _another_machine(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "another machine"))
    return RunDirectory.open(run.uri)


def _write(run: RunDirectory, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        run.path(name).write_bytes(data)


def _versions(store: Store, prefix: str = "") -> dict[str, str]:
    return {info.key: info.version for info in store.list(prefix)}


def test_a_run_is_made_once_and_found_by_its_uri(root_uri: str) -> None:
    run = RunDirectory.create(root_uri, "run-1", RUN)
    before = _versions(run.store)
    again = RunDirectory.create(root_uri, "run-1", '{"spec":{"flow":{"name":"x"}}}')
    assert again.uri == run.uri == f"{root_uri}/runs/run-1"
    assert _versions(run.store) == before
    assert RunDirectory.open(run.uri + "/").run_id == "run-1"
    with pytest.raises(SettingsError, match=r"another run\.json"):
        RunDirectory.create(root_uri, "run-1", '{"spec": {"flow": {"name": "y"}}}')


def test_a_repeated_creation_does_not_undo_what_the_run_has_become(root_uri: str) -> None:
    run = RunDirectory.create(root_uri, "run-1", RUN)
    run.write_json(layout.RUN_JSON, {"spec": {"flow": {"name": "x"}}, "status": {"log": "resolved"}})
    RunDirectory.create(root_uri, "run-1", RUN)
    assert run.read_json(layout.RUN_JSON)["status"]["log"] == "resolved"


@pytest.mark.parametrize("run_id", ["", ".", "..", "a/b", "-x", "a b", "x" * 129, "a\n", "ä"])
def test_a_run_id_that_is_no_folder_name_is_refused(root_uri: str, run_id: str) -> None:
    with pytest.raises(SettingsError, match="run_id"):
        RunDirectory.create(root_uri, run_id, RUN)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\\b", "x" * 200])
def test_a_model_name_that_is_no_folder_name_is_refused(run: RunDirectory, name: str) -> None:
    with pytest.raises(SettingsError, match=r"spec\.flow\.name"):
        run.model_store(name)


def test_every_flow_name_gets_a_folder_of_its_own() -> None:
    names = ["plain-Name_1.0", "a b", "a  b", "a/b", "../x", "Prüfung", "日本", "x" * 300, "x" * 301, "-", "a-b"]
    folders = [layout.model_folder_name(name) for name in names]
    assert len(set(folders)) == len(names)
    assert folders[0] == names[0]
    assert all(layout.check_model_name(folder) for folder in folders)
    with pytest.raises(SettingsError):
        layout.model_folder_name(" ")


@pytest.mark.parametrize("end", ["", "/runs", "/runs/", "/run-1", "/models/m", "/runs/no-such-run"])
def test_an_address_without_a_run_is_told_in_words(root_uri: str, end: str) -> None:
    with pytest.raises(SettingsError):
        RunDirectory.open(root_uri + end)


def test_documents_are_written_to_the_store_and_read_fresh(run: RunDirectory) -> None:
    run.write_json("dataset/facts.json", {"zähler": 1})
    assert run.read_json("dataset/facts.json") == {"zähler": 1}
    assert (run.workspace / "dataset/facts.json").exists()
    run.store.write("dataset/facts.json", b'{"x": 2}')
    assert run.read_json("dataset/facts.json") == {"x": 2}
    run.store.write("dataset/facts.json", b"{")
    with pytest.raises(DefectError, match=r"dataset/facts\.json"):
        run.read_json("dataset/facts.json")
    with pytest.raises(MissingError, match=r"resolution\.json"):
        run.read_json("resolution.json")


def test_writing_the_same_again_changes_nothing(run: RunDirectory) -> None:
    run.write_text("training/log.txt", "one")
    before = _versions(run.store)
    run.write_text("training/log.txt", "one")
    assert _versions(run.store) == before


def test_pushing_what_does_not_exist_is_an_error_and_fetching_it_is_not(run: RunDirectory) -> None:
    assert run.fetch("nothing") == 0
    with pytest.raises(MissingError, match="nothing"):
        run.push("nothing")


def test_removing_takes_a_folder_from_store_and_workspace(run: RunDirectory) -> None:
    _write(run, {"checkpoints/step-1/a": b"1", "checkpoints/step-1/COMPLETE": b"", "checkpoints/step-10/a": b"1"})
    run.push("checkpoints")
    run.remove("checkpoints/step-1")
    assert [info.key for info in run.store.list("checkpoints")] == ["checkpoints/step-10/a"]
    assert not (run.workspace / "checkpoints/step-1").exists()


@pytest.mark.s3
class TestOnS3:
    """Where the workspace is a copy."""

    def test_only_what_differs_is_pushed(self, s3_run: RunDirectory) -> None:
        _write(s3_run, {"training/a": b"1", "training/b": b"2"})
        assert s3_run.push("training") == 2
        before = _versions(s3_run.store)
        assert s3_run.push("training") == 0
        _write(s3_run, {"training/b": b"3", "training/c": b"4"})
        assert s3_run.push("training") == 2
        after = _versions(s3_run.store)
        assert after["training/a"] == before["training/a"]
        assert s3_run.store.read("training/b") == b"3"

    def test_a_change_of_the_same_size_is_pushed(self, s3_run: RunDirectory) -> None:
        _write(s3_run, {"a": b"1"})
        s3_run.push("a")
        _write(s3_run, {"a": b"2"})
        assert s3_run.push("a") == 1
        assert s3_run.store.read("a") == b"2"

    def test_what_somebody_removed_from_the_store_is_pushed_again(self, s3_run: RunDirectory) -> None:
        _write(s3_run, {"a": b"1"})
        s3_run.push("a")
        s3_run.store.delete("a")
        assert s3_run.push("a") == 1

    def test_only_what_differs_is_fetched(
        self, s3_run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write(s3_run, {"dataset/a": b"1", "dataset/b": b"2"})
        s3_run.push("dataset")
        other = _another_machine(s3_run, tmp_path, monkeypatch)
        assert other.workspace != s3_run.workspace
        assert other.fetch("dataset") == 2
        assert other.fetch("dataset") == 0
        s3_run.store.write("dataset/b", b"3")
        assert other.fetch("dataset") == 1
        assert (other.workspace / "dataset/b").read_bytes() == b"3"
        assert RunDirectory.open(s3_run.uri).fetch("dataset") == 0

    def test_a_lost_workspace_or_index_is_made_again(self, s3_run: RunDirectory) -> None:
        _write(s3_run, {"dataset/a": b"1"})
        s3_run.push("dataset")
        (s3_run.workspace / INDEX_NAME).write_text("{broken")
        assert s3_run.fetch("dataset") == 1
        shutil.rmtree(s3_run.workspace)
        assert s3_run.fetch() >= 2
        assert (s3_run.workspace / "run.json").exists()

    def test_lines_written_since_the_last_push_survive_a_fetch(self, s3_run: RunDirectory) -> None:
        _write(s3_run, {"training/metrics.jsonl": b"1\n"})
        s3_run.push("training")
        _write(s3_run, {"training/metrics.jsonl": b"1\n2\n"})
        assert s3_run.fetch("training") == 0
        assert (s3_run.workspace / "training/metrics.jsonl").read_bytes() == b"1\n2\n"
        assert s3_run.push("training") == 1

    @pytest.mark.parametrize("start", [100, 20_000_000])
    def test_a_log_that_grows_while_it_is_pushed_loses_nothing(self, s3_run: RunDirectory, start: int) -> None:
        log = s3_run.path("training/log.txt")
        log.write_bytes(b"x" * start)
        stop = threading.Event()

        def grow() -> None:
            with log.open("ab", buffering=0) as stream:
                while not stop.is_set():
                    stream.write(b"line\n")

        writer = threading.Thread(target=grow)
        writer.start()
        for _ in range(6):
            s3_run.push("training")
        stop.set()
        writer.join()
        written = log.read_bytes()
        assert s3_run.fetch("training") == 0  # what is here is newer
        s3_run.push("training")
        assert log.read_bytes() == written == s3_run.store.read("training/log.txt")

    def test_what_another_machine_has_pushed_since_wins(
        self, s3_run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _write(s3_run, {"training/log.txt": b"old"})
        s3_run.push("training")
        first_home = os.environ["AIRTUNE_HOME"]
        other = _another_machine(s3_run, tmp_path, monkeypatch)
        _write(other, {"training/log.txt": b"newer"})
        other.push("training")
        monkeypatch.setenv("AIRTUNE_HOME", first_home)
        _write(s3_run, {"training/log.txt": b"stale, unpushed"})
        assert s3_run.fetch("training") == 1
        assert (s3_run.workspace / "training/log.txt").read_bytes() == b"newer"

    def test_a_half_pushed_checkpoint_does_not_look_complete(
        self, s3_run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        step = "checkpoints/step-4"
        _write(s3_run, {f"{step}/{name}": name.encode() for name in ("a", "b", "c", "COMPLETE")})
        with monkeypatch.context() as patch:
            _fail_on(s3_run.store, f"{step}/b", patch)
            with pytest.raises(ConnectionAbortedError):
                s3_run.push("checkpoints")
        assert not s3_run.exists(f"{step}/COMPLETE")

    def test_a_checkpoint_that_is_made_again_is_never_a_mixture(
        self, s3_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        step = "checkpoints/step-4"
        _write(s3_run, {f"{step}/{name}": b"1" for name in ("a", "b", "old-shard", "COMPLETE")})
        s3_run.push("checkpoints")
        (s3_run.workspace / step / "old-shard").unlink()
        _write(s3_run, {f"{step}/{name}": b"2" for name in ("a", "b", "COMPLETE")})
        with monkeypatch.context() as patch:
            _fail_on(s3_run.store, f"{step}/b", patch)
            with pytest.raises(ConnectionAbortedError):
                s3_run.push("checkpoints")
        assert not s3_run.exists(f"{step}/COMPLETE")
        s3_run.push("checkpoints")
        there = {info.key: s3_run.store.read(info.key) for info in s3_run.store.list(step)}
        assert there == {f"{step}/{name}": b"2" for name in ("a", "b", "COMPLETE")}

    def test_a_complete_checkpoint_here_is_not_undone_by_a_half_pushed_one_there(self, s3_run: RunDirectory) -> None:
        step = "checkpoints/step-4"
        _write(s3_run, {f"{step}/{name}": b"1" for name in ("a", "b", "COMPLETE")})
        s3_run.store.write(f"{step}/a", b"1")
        assert s3_run.fetch("checkpoints") == 0
        assert (s3_run.workspace / step / "COMPLETE").exists()
        assert s3_run.push("checkpoints") == 3

    def test_a_fetch_that_breaks_off_leaves_no_marker(
        self, s3_run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        step = "checkpoints/step-4"
        _write(s3_run, {f"{step}/{name}": b"1" for name in ("a", "b", "COMPLETE")})
        s3_run.push("checkpoints")
        other = _another_machine(s3_run, tmp_path, monkeypatch)
        with monkeypatch.context() as patch:
            _fail_on(other.store, f"{step}/b", patch, act="download_file", position=0)
            with pytest.raises(ConnectionAbortedError):
                other.fetch("checkpoints")
        assert not (other.workspace / step / "COMPLETE").exists()
        other.fetch("checkpoints")
        assert sorted(path.name for path in (other.workspace / step).iterdir()) == ["COMPLETE", "a", "b"]

    def test_two_stores_never_share_a_workspace(self, s3_environment: object) -> None:
        one = RunDirectory.create("s3://airtune/one", "same-id", RUN)
        other = RunDirectory.create("s3://airtune/other", "same-id", RUN)
        assert one.workspace != other.workspace


def _fail_on(
    store: Store, key: str, monkeypatch: pytest.MonkeyPatch, act: str = "upload_file", position: int = 1
) -> None:
    """From now on the wire is cut when ``key`` is moved: the fault, not the code under test, is replaced."""
    real = getattr(store, act)

    def moved(*arguments: object) -> object:
        if arguments[position] == key:
            raise ConnectionAbortedError(key)
        return real(*arguments)

    monkeypatch.setattr(store, act, moved)

"""A dataset on a real S3 server: the same records as from a folder."""

from __future__ import annotations

import json
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from dataset_run import dataset_run
from detection_formats import SCENES, WRITERS
from headers import png_of
from PIL import Image
from tests.datasets.conftest import NewRun, ViFolder

from airtune.cli import main
from airtune.datasets.conversion import convert
from airtune.datasets.draft import Draft, Reject
from airtune.datasets.pictures.decoding import UnusableImageError
from airtune.datasets.pictures.headers import HEAD
from airtune.datasets.pictures.images import LARGE, Images
from airtune.datasets.pictures.inspection import inspect
from airtune.datasets.readers.formats import reader_for
from airtune.datasets.readers.huggingface import HuggingFaceReader
from airtune.datasets.record import read_records
from airtune.datasets.sources.source import Source
from airtune.datasets.stage import validate
from airtune.errors import DataError
from airtune.runspec.tasks import Task
from airtune.stores import layout
from airtune.stores.opening import open_store
from airtune.stores.run_directory import RunDirectory
from airtune.stores.s3_client import s3_client

if TYPE_CHECKING:
    from airtune.embedded.seaweedfs import S3Server

pytestmark = pytest.mark.s3


@pytest.fixture
def uri(s3_environment: S3Server, folder: ViFolder) -> str:
    folder.fill("training", 25)
    folder.fill("validation", 5)
    (folder.root / "training/images/t0003.png").write_bytes(b"broken")
    name = f"s3://airtune/data-{secrets.token_hex(4)}"
    open_store(name).upload_tree(folder.root)
    return name


def test_records_from_s3_are_those_from_the_folder(uri: str, folder: ViFolder, new_run: NewRun) -> None:
    remote, local = new_run(uri), new_run(folder.root.as_uri())
    validate(remote)
    validate(local)
    for name in (layout.RECORDS, layout.IMAGES, layout.FINGERPRINT, layout.SET_ASIDE):
        assert remote.store.read(name) == local.store.read(name)
    facts = [json.loads(run.store.read(layout.FACTS)) for run in (remote, local)]
    assert facts[0].pop("root_uri") == uri
    facts[1].pop("root_uri")
    assert facts[0] == facts[1]


def test_a_suite_is_read_from_s3_and_data_docs_go_there(
    uri: str, s3_environment: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    same = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "width", "value_set": [64]}}
    open_store(uri).write("suites/own.json", json.dumps({"expectations": [same]}).encode())
    run = dataset_run(
        f"s3://airtune/store-{secrets.token_hex(4)}", "a", uri, expectations=f"{uri}/suites/own.json", dataDocs=True
    )
    for _ in range(2):  # the second time in the place of the first
        validate(run)
        pages = [info.key for info in run.store.list() if info.key.startswith(layout.DATA_DOCS)]
        assert f"{layout.DATA_DOCS}/index.html" in pages
        assert len([key for key in pages if "/validations/" in key]) == 1
    assert [each["expectation"] for each in run.read_json(layout.VALIDATION_RESULT)["checks"]][-1] == same["type"]


def test_images_are_downloaded_once_and_held_against_what_was_validated(uri: str, new_run: NewRun) -> None:
    run = new_run(uri)
    validate(run)
    records = read_records(run.workspace / layout.RECORDS)
    images = Images(uri)
    path = images.path(records[0].images[0], records[0].image_digests[0])
    before = path.stat().st_mtime_ns
    assert images.verify(records) == len(records)
    assert images.load(records[0].images[0], records[0].image_digests[0]).size == (64, 48)
    assert path.stat().st_mtime_ns == before
    path.write_bytes(b"a damaged copy")
    assert images.load(records[0].images[0], records[0].image_digests[0]).size == (64, 48)


def test_an_object_that_was_deleted_or_changed_since_is_named(
    uri: str, new_run: NewRun, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = new_run(uri)
    validate(run)
    records = read_records(run.workspace / layout.RECORDS)
    store = open_store(uri)
    gone, other = records[0].images[0], records[1].images[0]
    store.delete(gone)
    store.write(other, store.read(records[2].images[0]))
    fresh = Images(uri, cache=tmp_path_factory.mktemp("cache"))  # another machine has no copies
    with pytest.raises(DataError) as caught:
        fresh.verify(records)
    assert f"{gone}: the image is gone" in str(caught.value)
    assert f"{other}: the file is not the one that was validated" in str(caught.value)
    assert "2 of 29 images" in str(caught.value)


@pytest.fixture
def asked(s3_environment: S3Server) -> Iterator[list[str]]:
    """What was asked of the server: each GET with its range."""
    seen: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        seen.append(params["headers"].get("Range", "all"))

    events = s3_client().meta.events
    events.register("before-call.s3.GetObject", note)
    yield seen
    events.unregister("before-call.s3.GetObject", note)


def test_what_has_not_changed_is_not_fetched_again(uri: str, asked: list[str], tmp_path: Path) -> None:
    keys = [info.key for info in open_store(uri).list() if info.key.endswith(".png")]
    first = inspect(Images(uri), keys)
    assert len(asked) == len(keys) == 30
    asked.clear()
    elsewhere = Images(uri, cache=tmp_path / "no copies")
    assert [str(content) for content in inspect(elsewhere, keys).values()] == [str(each) for each in first.values()]
    assert asked == []
    open_store(uri).write(keys[5], open_store(uri).read(keys[6]))
    asked.clear()
    assert inspect(Images(uri), keys)[keys[5]] == first[keys[6]]
    assert len(asked) == 1


def test_of_a_header_no_more_is_fetched_than_its_first_bytes(uri: str, asked: list[str], tmp_path: Path) -> None:
    noise = Image.effect_noise((900, 700), 90).convert("RGB")
    noise.save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > 10 * HEAD
    store = open_store(uri)
    store.upload_file(tmp_path / "large.png", "large.png")
    store.write("bomb.png", png_of(60_000, 60_000) + bytes(LARGE))
    store.write("page.png", b"<html>" + b" " * LARGE)
    images = Images(uri)
    assert images.remote
    assert images.header("large.png").stored_size == (900, 700)
    assert asked == [f"bytes=0-{HEAD - 1}"]
    asked.clear()
    found = inspect(images, ["bomb.png", "page.png"])
    assert [content.reason for content in found.values() if isinstance(content, Reject)] == [
        "image-too-large",
        "image-unreadable",
    ]
    assert set(asked) == {f"bytes=0-{HEAD - 1}"}


def test_a_prefix_that_holds_nothing_and_an_object_that_is_no_folder_are_bad_data(s3_environment: S3Server) -> None:
    with pytest.raises(DataError, match="holds nothing"):
        Source.open(f"s3://airtune/nothing-{secrets.token_hex(4)}")
    name = f"archive-{secrets.token_hex(4)}.7z"
    open_store("s3://airtune").write(name, b"7z")
    with pytest.raises(DataError, match="unpack the archive"):
        Source.open(f"s3://airtune/{name}")


def test_an_archive_on_s3_reads_as_the_folder_that_it_holds(uri: str, folder: ViFolder, new_run: NewRun) -> None:
    path = folder.root.with_name("set.tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder.root, "set")
    name = f"archive-{secrets.token_hex(4)}.tar.gz"
    open_store("s3://airtune").upload_file(path, name)
    remote, local = new_run(f"s3://airtune/{name}"), new_run(folder.root.as_uri())
    validate(remote)
    validate(local)
    assert remote.store.read(layout.RECORDS) == local.store.read(layout.RECORDS)
    records = read_records(remote.workspace / layout.RECORDS)
    assert Images(f"s3://airtune/{name}").verify(records) == len(records)


def test_runs_in_s3_are_compared_with_each_other(
    s3_environment: S3Server, folder: ViFolder, new_run: NewRun, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"s3://airtune/store-{secrets.token_hex(4)}"
    document = new_run(folder.root.as_uri()).store.read(layout.REQUEST).decode()
    folder.fill("dump", 30)
    first, second = (RunDirectory.create(root, name, document) for name in ("first", "second"))
    validate(first)
    pointer = json.dumps({"run_id": "first"}).encode()
    first.model_store(layout.model_folder_name("a <run>")).write(layout.CURRENT, pointer)
    folder.fill("dump", 6, start=30)
    validate(second)
    drift = json.loads(second.store.read(layout.VALIDATION_DRIFT))
    assert [drift["samples"][name] for name in ("same", "added", "removed", "changed")] == [30, 6, 0, 0]
    capsys.readouterr()
    assert main(["data", "diff", first.uri, second.uri, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == drift


def test_pictures_in_tables_on_s3_are_read_by_their_cells(s3_environment: S3Server, tmp_path: Path) -> None:
    pictures = [bytes([number]) * 99 for number in range(9)]
    table = pa.table({"image": pictures, "question": ["Who?"] * 9, "answer": ["I"] * 9})
    parquet.write_table(table, tmp_path / "train.parquet")
    with pa.OSFile(str(tmp_path / "val.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    name = f"s3://airtune/tables-{secrets.token_hex(4)}"
    for file in ("train.parquet", "val.arrow"):
        open_store(name).upload_file(tmp_path / file, file)
    drafts = [row for row in HuggingFaceReader(Source.open(name)).read(Task.VQA) if isinstance(row, Draft)]
    assert len(drafts) == 18
    images = Images(name)
    assert [images.read(draft.images[0]) for draft in drafts] == pictures * 2
    key = drafts[0].images[0]
    assert images.versions([key, "gone.parquet#000001/image"]).keys() == {key}
    open_store(name).delete("train.parquet")
    with pytest.raises(UnusableImageError, match="no such"):
        Images(name).read(key)


@pytest.mark.parametrize("name", ["coco", "voc", "yolo", "csv"])
def test_boxes_in_s3_are_read_and_converted_as_from_a_folder(
    name: str, s3_environment: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    WRITERS[name](tmp_path / "data", SCENES)
    remote = f"s3://airtune/boxes-{secrets.token_hex(4)}"
    open_store(remote).upload_tree(tmp_path / "data")
    readers = [reader_for(Source.open(uri), None) for uri in (remote, (tmp_path / "data").as_uri())]
    assert readers[0][0] == readers[1][0] == name
    rows = [list(reader.read(Task.PHRASE_GROUNDING)) for _, reader in readers]
    assert rows[0] == rows[1]
    done = convert(remote, tmp_path / "vi", "vi", link=True, tell=lambda line: None)
    assert (done.samples, done.images) == ({"phrase-grounding": 3}, 3)
    assert {path.stat().st_nlink for path in (tmp_path / "vi").glob("*/images/*")} == {1}

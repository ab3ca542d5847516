"""Datasets in zip and tar files: unpacked once and safely, and then a folder like any other."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import struct
import subprocess
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.datasets.conftest import NewRun, ViFolder

from airtune.datasets.draft import Draft, SetAside
from airtune.datasets.pictures.images import Images
from airtune.datasets.readers.chat_jsonl import ChatReader
from airtune.datasets.record import read_records
from airtune.datasets.sources.archives import folder_of
from airtune.datasets.sources.source import Source
from airtune.datasets.stage import validate
from airtune.errors import AirtuneError, DataError
from airtune.runspec.tasks import Task
from airtune.stores import layout
from airtune.stores.opening import local_path

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRTUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def pack(folder: Path, path: Path, top: str = "") -> Path:
    """A folder as an archive of the kind that the name says."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for file in sorted(folder.rglob("*")):
                opened.write(file, f"{top}{file.relative_to(folder).as_posix()}")
        return path
    if path.name.endswith(".zst"):
        plain = pack(folder, path.with_name("plain.tar"), top)
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(plain.read_bytes())
        return path
    with tarfile.open(path, MODES["".join(path.suffixes)]) as tar:  # type: ignore[call-overload]
        tar.add(folder, top or ".")
    return path


def zip_of(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in entries:
            opened.writestr(name, content)
    return path.as_uri()


def tar_of(path: Path, *entries: tuple[str, bytes | Callable[[tarfile.TarInfo], None]], mode: str = "w") -> str:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                content(info)
                tar.addfile(info)
    return path.as_uri()


def link_to(target: str, kind: bytes = tarfile.SYMTYPE) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return change


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def refusal(uri: str) -> str:
    with pytest.raises(DataError) as caught:
        folder_of(uri)
    return str(caught.value)


def files(uri: str) -> dict[str, bytes]:
    folder = local_path(folder_of(uri))
    assert folder is not None
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_every_kind_of_archive_is_unpacked(folder: ViFolder, tmp_path: Path, suffix: str) -> None:
    folder.fill("training", 3)
    found = files(pack(folder.root, tmp_path / f"set{suffix}").as_uri())
    assert found == {p.relative_to(folder.root).as_posix(): p.read_bytes() for p in folder.root.rglob("*.*")}


def test_an_archive_reads_as_the_folder_that_it_holds(folder: ViFolder, tmp_path: Path, new_run: NewRun) -> None:
    folder.fill("training", 25)
    folder.fill("validation", 5)
    packed, plain = new_run(pack(folder.root, tmp_path / "set.tar.zst").as_uri()), new_run(folder.root.as_uri())
    validate(packed)
    validate(plain)
    assert packed.store.read(layout.RECORDS) == plain.store.read(layout.RECORDS)
    assert packed.store.read(layout.FINGERPRINT) == plain.store.read(layout.FINGERPRINT)


def test_what_validation_saw_is_found_again_on_another_machine(
    folder: ViFolder, tmp_path: Path, new_run: NewRun, home: Path
) -> None:
    folder.fill("training", 25)
    folder.fill("validation", 5)
    archive = pack(folder.root, tmp_path / "set.zip", "set/")
    run = new_run(archive.as_uri())
    validate(run)
    shutil.rmtree(home / "cache")
    records = read_records(run.workspace / layout.RECORDS)
    images = Images(json.loads(run.store.read(layout.FACTS))["root_uri"])
    assert images.verify(records) == len(records)
    assert images.load(records[0].images[0], records[0].image_digests[0]).size == (64, 48)
    (folder.root / "training/images/t0001.png").write_bytes(b"changed")
    pack(folder.root, archive, "set/")
    with pytest.raises(DataError, match="1 of 30 images are gone or have changed"):
        Images(archive.as_uri()).verify(records)
    archive.unlink()
    with pytest.raises(DataError, match="30 of 30 images are gone"):
        Images(archive.as_uri()).verify(records)


def test_an_archive_of_one_folder_is_that_folder_and_one_further_down_can_be_named(tmp_path: Path) -> None:
    uri = zip_of(tmp_path / "a.zip", ("a/b/c.txt", b"c"), ("a/d.txt", b"d"), ("__MACOSX/._a", b"x"), ("._a", b"x"))
    assert files(uri) == {"b/c.txt": b"c", "d.txt": b"d"}
    assert files(f"{uri}/b") == {"c.txt": b"c"}
    assert "has no folder 'd'" in refusal(f"{uri}/d")
    assert "has no folder 'x'" in refusal(f"{uri}/x")
    kept = zip_of(tmp_path / "dump.zip", ("dump/images/c.txt", b"c"))
    assert files(kept) == {"dump/images/c.txt": b"c"}


def test_names_may_begin_with_the_folder_that_was_packed(tmp_path: Path, folder: ViFolder) -> None:
    folder.image("x", "a.png")
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I"}]
    lines = "\n".join(json.dumps({"messages": messages, "images": [name]}) for name in ("set/a.png", "a.png", "b.png"))
    picture = (folder.root / "x/images/a.png").read_bytes()
    uri = zip_of(tmp_path / "set.zip", ("set/train.jsonl", lines.encode()), ("set/a.png", picture))
    first, second, third = ChatReader(Source.open(uri)).read(Task.VQA)
    assert isinstance(first, Draft)
    assert isinstance(second, Draft)
    assert first.images == second.images == ("a.png",)
    assert isinstance(third, SetAside)


def test_an_archive_is_unpacked_once_whoever_asks(tmp_path: Path, home: Path) -> None:
    uri = zip_of(tmp_path / "a.zip", *((f"{number}.txt", bytes(10_000)) for number in range(50)))
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(folder_of(uri))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 6
    folder = local_path(found[0])
    assert folder is not None
    before = (folder / "1.txt").stat().st_ino
    shutil.copy(tmp_path / "a.zip", tmp_path / "b.zip")  # the same content elsewhere
    assert folder_of((tmp_path / "b.zip").as_uri()) == found[0]
    assert (folder / "1.txt").stat().st_ino == before
    assert not list((home / "cache/archives").glob("*.part"))
    zip_of(tmp_path / "a.zip", ("1.txt", b"new"))
    assert files(uri) == {"1.txt": b"new"}


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "a/\x01b", "..", "a\\..\\..\\b"])
def test_a_name_that_leads_out_is_refused_and_nothing_is_left(tmp_path: Path, home: Path, name: str) -> None:
    assert "cannot be used" in refusal(zip_of(tmp_path / "a.zip", ("good.txt", b"x"), (name, b"x")))
    if "\\" not in name:
        assert "cannot be used" in refusal(tar_of(tmp_path / "a.tar", ("good.txt", b"x"), (name, b"x")))
    assert [entry.name for entry in (home / "cache/archives").iterdir()] == ["known"]
    assert not list(tmp_path.rglob("out.txt"))


def test_links_inside_become_files_and_links_out_are_refused(tmp_path: Path) -> None:
    inside = [("d/a.txt", b"a"), ("d/b", link_to("a.txt")), ("c", link_to("d/b")), ("e", link_to("d/a.txt", b"1"))]
    uri = tar_of(tmp_path / "in.tar", *inside)  # type: ignore[arg-type]
    assert files(uri) == {"d/a.txt": b"a", "d/b": b"a", "c": b"a", "e": b"a"}
    assert not any(path.is_symlink() for path in (local_path(folder_of(uri)) or tmp_path).rglob("*"))
    assert files(zip_of(tmp_path / "in.zip", ("a", b"a"), (zip_link("x/b"), b"../a"))) == {"a": b"a", "x/b": b"a"}
    for number, (target, kind) in enumerate([("/etc/passwd", b"2"), ("../../x", b"2"), ("../x", b"1")]):
        assert "leads out" in refusal(tar_of(tmp_path / f"{number}.tar", ("d/a", link_to(target, kind))))
    assert "leads out" in refusal(zip_of(tmp_path / "out.zip", (zip_link("a"), b"/etc/passwd")))
    assert "is no file" in refusal(tar_of(tmp_path / "gone.tar", ("a", link_to("gone"))))
    assert "is no file" in refusal(tar_of(tmp_path / "loop.tar", ("a", link_to("b")), ("b", link_to("a"))))


def test_devices_sparse_files_and_doubled_names_are_refused(tmp_path: Path) -> None:
    def device(info: tarfile.TarInfo) -> None:
        info.type = tarfile.CHRTYPE

    assert "neither a file" in refusal(tar_of(tmp_path / "device.tar", ("null", device)))
    assert "two entries" in refusal(tar_of(tmp_path / "twice.tar", ("a", b"1"), ("a", b"2")))
    assert "two entries" in refusal(tar_of(tmp_path / "both.tar", ("a", b"1"), ("a/b", b"2")))
    assert "too long" in refusal(tar_of(tmp_path / "long.tar", ("n" * 300, b"1")))
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(2**30)
    subprocess.run(["tar", "--sparse", "-cf", "holes.tar", "holes"], cwd=tmp_path, check=True)
    assert "sparse" in refusal((tmp_path / "holes.tar").as_uri())


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    uri = zip_of(tmp_path / "a.zip", ("a.txt", b"secret"))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[6] |= 1  # the flag in the file's own header, and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "1 of its 1 files are encrypted" in refusal(uri)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "header"])
def test_a_decompression_bomb_is_refused_before_it_fills_the_disk(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("airtune.datasets.sources.archive_entries._ALWAYS_ALLOWED", 2**20)
    zeros = bytes(2**25)
    path = tmp_path / f"a.{'zip' if kind == 'zip' else 'tar.gz'}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("a", zeros)
        assert "bomb" in refusal(path.as_uri())
    elif kind == "tar.gz":
        assert "bomb" in refusal(tar_of(path, ("a", zeros), mode="w:gz"))
    else:  # a name of 2 GB, which tarfile would read into memory
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**31
        path.write_bytes(zlib.compress(info.tobuf(tarfile.GNU_FORMAT) + zeros, wbits=31))
        assert "a header of 2,147,483,648 bytes" in refusal(path.as_uri())
    assert [entry.name for entry in (home / "cache/archives").iterdir()] == ["known"]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst"])
def test_an_archive_that_was_cut_off_anywhere_is_refused(folder: ViFolder, tmp_path: Path, suffix: str) -> None:
    folder.fill("training", 3)
    path = pack(folder.root, tmp_path / f"set{suffix}")
    whole = path.read_bytes()
    for part in (0, 1, 300, 512, len(whole) // 2, len(whole) // 512 // 2 * 512, len(whole) - 1):
        if suffix == ".tar" and part == len(whole) - 1:
            continue  # of the zeros behind a tar's end
        path.write_bytes(whole[:part])
        assert "damaged or cut off" in refusal(path.as_uri()), part


def test_a_flipped_bit_is_found_by_the_archives_own_sums(tmp_path: Path) -> None:
    for suffix, mode in ((".tar.gz", "w:gz"), (".tar.xz", "w:xz"), (".tar.bz2", "w:bz2")):
        uri = tar_of(tmp_path / f"a{suffix}", ("a", bytes(range(256)) * 40), mode=mode)
        path = tmp_path / f"a{suffix}"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert "damaged" in refusal(uri)
    uri = zip_of(tmp_path / "a.zip", ("a", b"abcdef" * 100))
    path = tmp_path / "a.zip"
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"abcxef", 1))
    assert "CRC" in refusal(uri)


def test_what_follows_a_tars_end_or_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    tar_of(tmp_path / "a.tar", ("a", b"a"))
    tar_of(tmp_path / "b.tar", ("b", b"b"))
    joined = tmp_path / "both.tar"
    joined.write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    assert "more behind its end" in refusal(joined.as_uri())
    content = bytearray(pack_two(tmp_path).read_bytes())
    content[1024 + 148] ^= 1  # the checksum of the second header, at which tarfile stops in silence
    (tmp_path / "two.tar").write_bytes(content)
    assert "mark of its end is missing" in refusal((tmp_path / "two.tar").as_uri())


def pack_two(folder: Path) -> Path:
    tar_of(folder / "two.tar", ("a", b"a"), ("b", b"b"))
    return folder / "two.tar"


def test_names_are_read_whatever_program_wrote_them(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("Bär.txt")
    path = tmp_path / "mac.zip"
    zip_of(path, (info, b"x"))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # UTF-8 without the flag that says so
        place = content.index(mark) + offset
        content[place : place + 2] = struct.pack("<H", 0)
    path.write_bytes(content)
    assert list(files(path.as_uri())) == ["Bär.txt"]
    assert set(files(zip_of(tmp_path / "windows.zip", ("x\\y\\z.txt", b"x"), ("a", b"")))) == {"x/y/z.txt", "a"}


@pytest.mark.parametrize("name", ["a.7z", "a.rar", "a.txt.gz"])
def test_other_archives_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match="unpack the archive"):
        Source.open((tmp_path / name).as_uri())


def test_a_folder_with_an_archives_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "set.zip/a").mkdir(parents=True)
    assert folder_of((tmp_path / "set.zip/a").as_uri()) == (tmp_path / "set.zip/a").as_uri()


def test_what_nobody_has_used_for_a_month_is_removed(tmp_path: Path, home: Path) -> None:
    import os

    old, fresh = (local_path(folder_of(zip_of(tmp_path / f"{n}.zip", (n, b"x")))) for n in ("old", "fresh"))
    assert old is not None
    assert fresh is not None
    os.utime(old, (0, 0))
    folder_of(zip_of(tmp_path / "new.zip", ("new", b"x")))
    assert not old.exists()
    assert fresh.exists()
    assert files((tmp_path / "old.zip").as_uri()) == {"old": b"x"}


GOOD: list[bytes] = []


def _specimens() -> list[bytes]:
    if not GOOD:
        for mode in ("w", "w:gz", "w:xz"):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode=mode) as tar:
                for name in ("a/b.txt", "Ä" * 120):
                    info = tarfile.TarInfo(name)
                    info.size = 3
                    tar.addfile(info, io.BytesIO(b"abc"))
            GOOD.append(buffer.getvalue())
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("a/b.txt", b"abc" * 30)
            opened.writestr("ü.txt", b"")
        GOOD.append(buffer.getvalue())
    return GOOD


@st.composite
def broken(draw: Callable[..., Any]) -> bytes:
    content = bytearray(draw(st.sampled_from(_specimens())))
    for place, value in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)):
        content[place] = value
    return bytes(content[: draw(st.none() | st.integers(0, len(content)))])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.binary(max_size=600) | broken(), st.sampled_from([".zip", ".tar", ".tgz", ".tar.zst"]))
def test_no_archive_however_broken_gives_a_traceback_or_writes_outside(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    shutil.rmtree(tmp_path, ignore_errors=True)
    (tmp_path / "in").mkdir(parents=True)
    path = tmp_path / f"in/a{suffix}"
    path.write_bytes(content)
    with contextlib.suppress(AirtuneError):
        folder_of(path.as_uri(), tmp_path / "cache")
    assert {entry.name for entry in tmp_path.iterdir()} <= {"in", "cache"}
    assert not list((tmp_path / "cache").glob("*.part"))

"""What the first bytes of an image say: its size, or that it is none."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from headers import png_of
from heic import heic_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airtune.datasets.pictures.decoding import UnusableImageError, decode
from airtune.datasets.pictures.headers import HEAD, Header, read_header
from airtune.datasets.pictures.image_formats import FORMATS
from airtune.datasets.pictures.images import Images


def encoded(kind: str, size: tuple[int, int] = (640, 480), **options: Any) -> bytes:
    noise = Image.effect_noise(size, 90).convert("RGB")
    if kind == "HEIF":
        return heic_of(noise, quarter_turns=1)
    buffer = io.BytesIO()
    noise.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(kind, (80, 40), exif=exif)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_header_says_what_decoding_finds(kind: str) -> None:
    data = encoded(kind)
    picture = decode(data, name="a")
    header = Header(picture.format, picture.stored_size, *picture.image.size, picture.changes)
    assert read_header(data, name="a", whole=True) == header
    assert read_header(data[:HEAD], name="a", whole=False) in (header, None)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "JPEG2000"])
def test_a_few_bytes_are_enough(kind: str) -> None:
    header = read_header(encoded(kind)[:4096], name="a", whole=False)
    assert header is not None
    assert (header.width, header.height) == (640, 480)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}])
def test_the_size_of_webp_is_read_without_pillow_in_all_its_forms(options: dict[str, Any]) -> None:
    for mode in ("RGB", "RGBA"):
        buffer = io.BytesIO()
        Image.effect_noise((300, 17), 90).convert(mode).save(buffer, "WEBP", **options)
        header = read_header(buffer.getvalue()[:40], name="a", whole=False)
        assert header is not None
        assert header.stored_size == (300, 17)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_picture_is_upright(kind: str) -> None:
    header = read_header(turned(kind), name="a", whole=True)
    assert header is not None
    assert (header.width, header.height) == (40, 80)
    assert header.changes == ("exif-orientation",)


def test_a_png_that_says_behind_its_pixels_how_to_turn_it_is_turned() -> None:
    data = turned("PNG")
    place = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[place : place + 4], "big")
    block, rest = data[place : place + length], data[:place] + data[place + length :]
    end = rest.index(b"IEND") - 4
    moved = rest[:end] + block + rest[end:]
    header = read_header(moved, name="a", whole=True)
    assert header is not None
    assert (header.width, header.height) == decode(moved, name="a").image.size == (40, 80)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "image-unreadable"),
        (b"<html>" + bytes(100), "image-unreadable"),
        (b"just text" * 20, "image-unreadable"),
        (encoded("PNG", (7, 30)), "image-too-small"),
        (png_of(9_600, 9_600), "image-too-large"),
        (png_of(65_536, 65_536), "image-too-large"),
    ],
    ids=["empty", "html", "text", "small", "large", "bomb"],
)
def test_what_cannot_be_used_is_refused_by_its_first_bytes(head: bytes, reason: str) -> None:
    with pytest.raises(UnusableImageError) as refused:
        read_header(head, name="a", whole=False)
    assert refused.value.reason == reason


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FORMATS[:-1]), st.integers(0, 900), st.binary(max_size=6), st.booleans())
def test_any_first_bytes_give_a_header_or_a_reason_or_ask_for_more(
    kind: str, cut: int, noise: bytes, whole: bool
) -> None:
    data = bytearray(encoded(kind, (64, 32))[:cut])
    data[cut // 2 : cut // 2 + len(noise)] = noise
    try:
        found = read_header(bytes(data), name="a", whole=whole)
    except UnusableImageError:
        return
    assert (found is None) <= (not whole)


def test_of_a_folder_no_more_is_read_than_the_header_takes(tmp_path: Path) -> None:
    large = encoded("JPEG", (2000, 1500), quality=95)
    assert len(large) > 10 * HEAD
    (tmp_path / "a.jpg").write_bytes(large)
    (tmp_path / "preview.jpg").write_bytes(large[:2] + b"\xff\xe5\xff\xf0" + bytes(0xFFEE) + large[2:])
    images = Images(tmp_path.as_uri())
    assert images.header("a.jpg").stored_size == images.header("preview.jpg").stored_size == (2000, 1500)
    with pytest.raises(UnusableImageError, match="no such file"):
        images.header("b.jpg")

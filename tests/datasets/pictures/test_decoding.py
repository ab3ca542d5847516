"""From the bytes of an image file to the picture, or the reason why not."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from heic import heic_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airtune.datasets.draft import REMEDIES
from airtune.datasets.pictures.decoding import UnusableImageError, decode, upright_size
from airtune.datasets.pictures.image_formats import FORMATS

PILLOWS = tuple(name for name in FORMATS if name != "HEIF")
"""Those that Pillow can write."""


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.effect_noise(size, 90).convert("RGB")


def reason_of(data: bytes) -> str:
    with pytest.raises(UnusableImageError) as caught:
        decode(data, name="a.png")
    assert caught.value.reason in REMEDIES
    assert str(caught.value).startswith("a.png: ")
    return caught.value.reason


@pytest.mark.parametrize("kind", PILLOWS)
def test_every_format_is_read(kind: str) -> None:
    data = encoded(noise(), kind)
    picture = decode(data, name="a")
    assert upright_size(data, name="a") == picture.image.size
    assert picture.image.mode == "RGB"
    assert picture.image.size == picture.stored_size == (64, 48)
    assert picture.format == kind


@pytest.mark.parametrize("quarter_turns", range(4))
def test_heic_is_read_and_stands_upright(quarter_turns: int) -> None:
    drawn = Image.new("RGB", (96, 64), "white")
    drawn.paste("black", (0, 0, 48, 32))  # upper left
    data = heic_of(drawn, quarter_turns=quarter_turns)
    picture = decode(data, name="a")
    assert picture.format == "HEIF"
    assert picture.image.size == upright_size(data, name="a") == ((64, 96) if quarter_turns % 2 else (96, 64))
    width, height = picture.image.size
    left, upper = quarter_turns in (0, 1), quarter_turns in (0, 3)
    dark = picture.image.getpixel((4 if left else width - 4, 4 if upper else height - 4))
    assert isinstance(dark, tuple)
    assert dark[0] < 60
    assert reason_of(data[:-9]) == "image-truncated"


def test_ten_bits_of_heic_are_scaled_to_eight_and_counted() -> None:
    picture = decode(heic_of(Image.new("RGB", (64, 64), (200, 100, 50)), ten_bits=True), name="a")
    assert picture.changes == ("16-bit",)
    assert picture.image.getpixel((30, 30)) == pytest.approx((200, 100, 50), abs=3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_counted(orientation: int, kind: str) -> None:
    drawn = Image.new("RGB", (40, 20), "white")
    drawn.paste("black", (0, 0, 20, 10))  # upper left
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(drawn, kind, exif=exif, quality=100)
    picture = decode(data, name="a")
    assert upright_size(data, name="a") == picture.image.size
    assert ("exif-orientation" in picture.changes) == (orientation != 1)
    assert picture.stored_size == (40, 20)
    assert picture.image.size == ((20, 40) if orientation >= 5 else (40, 20))
    # Where the dark corner must be, by the EXIF standard's table of the place of row 0 and column 0.
    right, lower = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    width, height = picture.image.size
    dark = picture.image.getpixel((width - 3 if right else 2, height - 3 if lower else 2))
    assert isinstance(dark, tuple)
    assert dark[0] < 60


@pytest.mark.parametrize(
    ("mode", "change"),
    [("RGBA", "alpha"), ("LA", "alpha"), ("P", "palette"), ("L", "grey"), ("1", "grey"), ("I;16", "16-bit")],
)
def test_other_modes_become_rgb_and_are_counted(mode: str, change: str) -> None:
    image = Image.new("I;16", (16, 16), 40000) if mode == "I;16" else noise((16, 16)).convert(mode)
    picture = decode(encoded(image, "PNG"), name="a")
    assert picture.image.mode == "RGB"
    assert change in picture.changes


def test_sixteen_bits_are_scaled_to_eight_and_not_clipped_to_white() -> None:
    picture = decode(encoded(Image.new("I;16", (16, 16), 32768), "PNG"), name="a")
    assert picture.image.getpixel((3, 3)) == (128, 128, 128)


def test_cmyk_and_animations_are_read_and_counted() -> None:
    assert "cmyk" in decode(encoded(noise().convert("CMYK"), "JPEG"), name="a").changes
    frames = [noise((16, 16)) for _ in range(3)]
    assert "animation" in decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), name="a").changes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF"])
def test_a_file_that_was_cut_off_is_not_read_as_half_a_picture(kind: str) -> None:
    data = encoded(noise(), kind)
    assert reason_of(data[: len(data) // 2]) in ("image-truncated", "image-damaged", "image-unreadable")


def test_a_jpeg_whose_room_was_never_filled_is_truncated_and_zeros_behind_its_end_are_not() -> None:
    data = encoded(noise((640, 480)), "JPEG")
    assert reason_of(data[: len(data) // 2] + bytes(len(data) // 2)) == "image-truncated"
    assert decode(data + bytes(500), name="a").image.size == (640, 480)


def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    data = encoded(noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40)
    assert decode(data, name="a").image.size == (64, 48)


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(encoded(noise(), "PNG"))
    data[200:240] = bytes(40)
    assert reason_of(bytes(data)) in ("image-damaged", "image-truncated")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"\0" * 900, "zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "begins as HEIC"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "none of AVIF"),
        (b"just text", "none of AVIF"),
    ],
)
def test_what_is_no_image_is_named_for_what_it_is(data: bytes, words: str) -> None:
    with pytest.raises(UnusableImageError, match=words) as caught:
        decode(data, name="a.jpg")
    assert caught.value.reason == "image-unreadable"


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", [(9_600, 9_600), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    assert reason_of(png_header(*size)) in ("image-too-large", "image-damaged")


def test_a_picture_too_small_or_too_thin_for_a_model_is_refused() -> None:
    assert reason_of(encoded(noise((7, 40)), "PNG")) == "image-too-small"
    assert reason_of(encoded(Image.new("RGB", (8 * 201, 8)), "PNG")) == "image-too-thin"


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | st.tuples(st.sampled_from(PILLOWS), st.integers(0, 400), st.binary(max_size=8)))
def test_whatever_the_bytes_are_it_is_a_picture_or_refused(given_bytes: Any) -> None:
    if isinstance(given_bytes, tuple):
        kind, place, noise_bytes = given_bytes
        data = bytearray(encoded(Image.linear_gradient("L").resize((16, 16)), kind))
        data[place : place + len(noise_bytes)] = noise_bytes
        given_bytes = bytes(data)
    reason, mode = None, None
    try:
        mode = decode(given_bytes, name="a").image.mode
    except UnusableImageError as error:
        reason = error.reason
    assert mode == "RGB" or reason in REMEDIES

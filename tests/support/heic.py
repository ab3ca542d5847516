"""HEIC files for tests: one HEVC picture in the boxes of ISO/IEC 23008-12, written by hand.

The decoder that airtune uses cannot write, and FFmpeg has no muxer for HEIC: it encodes the picture as a film of one
frame, whose decoder configuration and payload are taken out and put into the other boxes.
"""

from __future__ import annotations

import io
import struct

import av
from PIL import Image

_ENCODING = "log-level=none:lossless=1:pools=none:frame-threads=1:bframes=0"


def heic_of(image: Image.Image, *, quarter_turns: int = 0, ten_bits: bool = False) -> bytes:
    """The picture as a HEIC file.

    Args:
        image: RGB, with even sides of 64 pixels or more.
        quarter_turns: how often a reader has to turn it by 90 degrees, against the clock.
        ten_bits: whether 10 bits a channel are written.
    """
    film = io.BytesIO()
    with av.open(film, "w", format="mp4") as container:
        stream = container.add_stream("libx265", rate=1, options={"x265-params": _ENCODING})
        stream.width, stream.height = image.size
        stream.pix_fmt = "yuv444p10le" if ten_bits else "yuv420p"
        container.mux([*stream.encode(av.VideoFrame.from_image(image)), *stream.encode(None)])
    data = film.getvalue()
    return _heic(_box_in(data, b"hvcC"), _box_in(data, b"mdat")[8:], image.size, quarter_turns)


def _box_in(data: bytes, kind: bytes) -> bytes:
    place = data.index(kind) - 4
    (size,) = struct.unpack(">I", data[place : place + 4])
    return data[place : place + size]


def _heic(configuration: bytes, payload: bytes, size: tuple[int, int], quarter_turns: int) -> bytes:
    first = _box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    properties = [configuration, _full(b"ispe", struct.pack(">II", *size))]
    if quarter_turns:
        properties.append(_box(b"irot", bytes([quarter_turns])))
    associations = bytes([len(properties), 0x81, *range(2, len(properties) + 1)])
    parts = [
        _full(b"hdlr", bytes(4), b"pict", bytes(13)),
        _full(b"pitm", struct.pack(">H", 1)),
        _full(b"iinf", struct.pack(">H", 1), _full(b"infe", struct.pack(">HH", 1, 0), b"hvc1\0", version=2)),
        _box(b"iprp", _box(b"ipco", *properties), _full(b"ipma", struct.pack(">IH", 1, 1), associations)),
    ]
    location = len(_full(b"iloc", bytes(2 + 2 + 2 + 2 + 2 + 8)))
    offset = len(first) + len(_full(b"meta", *parts)) + location + 8
    where = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(payload))
    return first + _full(b"meta", *parts, _full(b"iloc", where)) + _box(b"mdat", payload)


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return _box(kind, bytes([version, 0, 0, 0]), *parts)

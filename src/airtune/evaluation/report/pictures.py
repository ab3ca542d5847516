"""Pictures small enough to stand in a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Final

from PIL import Image

LONGEST_SIDE: Final = 320
_SMALL: Final = 128


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as a data URI.

    Attributes:
        name: the id under which the page refers to it.
        uri: ``data:image/...;base64,...``.
        width: in the page's units: small pictures are enlarged to :data:`LONGEST_SIDE`.
        height: likewise.
        small: whether it is shown larger than it is.
    """

    name: str
    uri: str
    width: int
    height: int
    small: bool = False


def thumbnail(name: str, image: Image.Image) -> Thumbnail:
    """Shrinks a picture to at most :data:`LONGEST_SIDE` pixels on its longer side and encodes it.

    Small pictures stay as they are, without loss (PNG); the others become JPEG.
    """
    small = max(image.size) <= _SMALL
    shrunk = image.convert("RGB")
    if not small:
        shrunk.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    if small:
        shrunk.save(buffer, "PNG", optimize=True)
    else:
        shrunk.save(buffer, "JPEG", quality=78, optimize=True)
    kind = "png" if small else "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    # Extremely narrow pictures keep at least one unit on each axis.
    scale = LONGEST_SIDE / max(shrunk.size) if small else 1.0
    width, height = (max(1, round(side * scale)) for side in shrunk.size)
    return Thumbnail(name, uri, width, height, small)

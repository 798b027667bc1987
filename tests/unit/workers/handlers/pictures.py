"""Small pictures for handler tests."""

import base64
from typing import Any

from PIL import Image

from tests.fakes.images import encoded

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def png(colour: str = "red", shade: int = 0) -> bytes:
    """A picture of one colour; another shade makes it another picture."""
    r, g, b = COLOURS[colour]
    return encoded(Image.new("RGB", (16, 16), (max(r - shade, 0), max(g - shade, 0), max(b - shade, 0))), "PNG")


def inline(data: bytes) -> dict[str, Any]:
    return {"base64": base64.b64encode(data).decode()}

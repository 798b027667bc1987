"""Bounding extreme aspect ratios before a model resizes a picture by its short side."""

from PIL import Image

_LONG_SIDE = 8192
_RATIO = 16


def bound_for_model(image: Image.Image, size: int) -> Image.Image:
    """Crop a very long picture round its centre, so that resizing its short side to `size` pixels stays small.

    Without it, a 1x3000 picture resized by its short side to 224 becomes 224x672,000. The long side may come out at
    max(8192, 16 * size) pixels after the resize; a picture within that (at 224: an aspect ratio up to 36) is returned
    itself, untouched. The crop keeps the centre where it was, so a centre crop that follows sees the same pixels.
    """
    short, long = sorted(image.size)
    allowed = max(_LONG_SIDE, _RATIO * size) * short // size
    if long <= allowed:
        return image
    cut = max(1, (long - allowed + 1) // 2)
    width, height = image.size
    if width > height:
        return image.crop((cut, 0, width - cut, height))
    return image.crop((0, cut, width, height - cut))

"""Emoji pictures as tensors, and the pictures that are fair to measure on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.sources import HELD_OUT_VENDOR, TRAINING_VENDORS, Emoji, picture_paths

SIZE = 64  # pixels a side, what the model sees


def load_drawings(emoji: Sequence[Emoji]) -> Tensor:
    """Both training vendors' drawings, ``(emoji, vendors, 4, SIZE, SIZE)`` of uint8, premultiplied by alpha."""
    paths = [picture_paths(vendor) for vendor in TRAINING_VENDORS]
    return torch.stack([torch.stack([_drawing(found[one.code]) for found in paths]) for one in emoji])


def trainable(emoji: Sequence[Emoji]) -> list[Emoji]:
    """The emoji that every training vendor has drawn."""
    paths = [picture_paths(vendor) for vendor in TRAINING_VENDORS]
    return [one for one in emoji if all(one.code in found for found in paths)]


def held_out(emoji: Sequence[Emoji]) -> list[Emoji]:
    """The emoji with a picture fair to measure on.

    Flags are left out: the held-out package carries Noto's own drawings of the national ones.
    """
    paths = picture_paths(HELD_OUT_VENDOR)
    return [one for one in emoji if one.code in paths and one.group != "flags"]


def over_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB, on white where it is transparent."""
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _drawing(path: Path) -> Tensor:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGBA").resize((SIZE, SIZE)), dtype=np.float32)
    pixels[..., :3] *= pixels[..., 3:] / 255
    return torch.from_numpy(pixels.round().astype(np.uint8)).permute(2, 0, 1).contiguous()

"""The pre step of picture models: the library's own resize and crop, with scaling left to the batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL.Image import Image

from workers.runtimes.protocol import Pixels
from workers.runtimes.weights import LoadFailure

_MAX_ASPECT = 16
# JPEG draft to twice the model's side keeps cosine >= .99999 to a full decode, to once only .9999 (measured).
_DECODE_FACTOR = 2


class Preprocess:
    """An inference transform of torchvision's making, split where pixels become floats.

    The steps on the picture (resize, crop) run here, on any thread. `ToTensor` and `Normalize` are the same arithmetic
    on every element, so they run once a batch on the model's device, and what waits in between is a quarter the size.
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        """`steps`: those of open_clip's or timm's `Compose`, ending in conversion to a tensor and `Normalize`.

        Raises LoadFailure when they end otherwise.
        """
        *self._geometry, to_tensor, normalize = steps
        if not type(to_tensor).__name__.endswith("ToTensor") or type(normalize).__name__ != "Normalize":
            raise LoadFailure(f"its preprocessing ends in {to_tensor}, {normalize}, which Darkroom cannot split.")
        self.mean = _channels(normalize.mean)
        self.std = _channels(normalize.std)
        self.decode_hint = _DECODE_FACTOR * max(_sides(self._geometry))

    def __call__(self, image: Image) -> Pixels:
        """One picture to `(3, h, w)` uint8."""
        image = bound_aspect(image)
        for step in self._geometry:
            image = step(image)
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def bound_aspect(image: Image, limit: int = _MAX_ASPECT) -> Image:
    """Cut the ends off a picture more than `limit` times as long as wide, keeping its middle.

    Models bring the shorter side to their size and read the middle square; without this a 1 x 3,000 picture would
    become 224 x 672,000 on the way. Anything less extreme is returned as it is.
    """
    width, height = image.size
    longest = limit * min(width, height)
    if max(width, height) <= longest:
        return image
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return image.crop((left, top, left + min(width, longest), top + min(height, longest)))


def _channels(values: Any) -> list[float]:
    return [float(value) for value in values]


def _sides(steps: Sequence[Any]) -> list[int]:
    """Every side in pixels that a resize or crop among `steps` names."""
    sizes = [step.size for step in steps if hasattr(step, "size")]
    return [int(side) for size in sizes for side in (size if isinstance(size, (list, tuple)) else (size,))]

"""The pre step of picture models: the library's own resize and crop, with scaling left to the batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL.Image import Image

from shared.images.shape import bound_for_model
from workers.runtimes.protocol import Pixels
from workers.runtimes.weights import LoadFailure

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
        self._side = max(_sides(self._geometry))
        self._squashes = any(_squashes(step) for step in self._geometry)
        self.decode_hint = _DECODE_FACTOR * self._side

    def __call__(self, image: Image) -> Pixels:
        """One picture to `(3, h, w)` uint8."""
        if not self._squashes:
            image = bound_for_model(image, self._side)
        for step in self._geometry:
            image = step(image)
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _channels(values: Any) -> list[float]:
    return [float(value) for value in values]


def _squashes(step: Any) -> bool:
    """Whether `step` stretches any picture to one shape, which needs no bounding and reads the whole of it."""
    return type(step).__name__ == "Resize" and isinstance(step.size, (list, tuple)) and len(step.size) == 2


def _sides(steps: Sequence[Any]) -> list[int]:
    """Every side in pixels that a resize or crop among `steps` names."""
    sizes = [step.size for step in steps if hasattr(step, "size")]
    return [int(side) for size in sizes for side in (size if isinstance(size, (list, tuple)) else (size,))]

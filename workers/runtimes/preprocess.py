"""The pre step of picture models: the library's own resize and crop, with scaling left to the batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL.Image import Image, Resampling

from shared.images.shape import bound_for_model
from workers.runtimes.protocol import Pixels
from workers.runtimes.weights import LoadFailure

# Pillow first shrinks by a whole factor to at least this many times the target: a 4000 x 3000 picture takes 12 ms
# instead of 56 to 224 pixels and 7 instead of 43 to 64, at cosine >= .99999 and >= .99995 (2 gives .99989).
_REDUCING_GAP = 3.0
# A JPEG decoded small is shifted by up to a pixel where its sides do not divide evenly, which a model of small
# pictures notices: at 128 pixels the starter model fell to cosine .991, at 256 to .9987. See `decode(min_side=)`.
_MIN_DECODE_HINT = 128


class Preprocess:
    """An inference transform of torchvision's making, split where pixels become floats.

    The steps on the picture (resize, crop) run here, on any thread. `ToTensor` and `Normalize` are the same arithmetic
    on every element, so they run once a batch on the model's device, and what waits in between is a quarter the size.
    """

    def __init__(self, steps: Sequence[Any]) -> None:
        """`steps`: those of open_clip's or timm's `Compose`, ending in conversion to a tensor and `Normalize`.

        Raises LoadFailure when they end otherwise.
        """
        *geometry, to_tensor, normalize = steps
        if not type(to_tensor).__name__.endswith("ToTensor") or type(normalize).__name__ != "Normalize":
            raise LoadFailure(f"its preprocessing ends in {to_tensor}, {normalize}, which Darkroom cannot split.")
        self.mean = _channels(normalize.mean)
        self.std = _channels(normalize.std)
        self._geometry = [_faster(step) for step in geometry]
        self._side = max(_sides(geometry))
        self._squashes = any(_resize_sides(step) == 2 for step in geometry)
        self.decode_hint = max(self._side, _MIN_DECODE_HINT)

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


class ResizeShorterSide:
    """torchvision's `Resize` of the shorter side, with Pillow's `reducing_gap`."""

    def __init__(self, side: int, resample: Resampling) -> None:
        self._side = side
        self._resample = resample

    def __call__(self, image: Image) -> Image:
        shorter = min(image.size)
        # Rounded down, as torchvision does: rounding up cost .002 of cosine.
        width, height = (int(self._side * length / shorter) for length in image.size)
        return image.resize((width, height), self._resample, reducing_gap=_REDUCING_GAP)


def _faster(step: Any) -> Any:
    """`ResizeShorterSide` for the step that it can stand in for, any other step as it is."""
    if _resize_sides(step) != 1 or step.max_size is not None:
        return step
    return ResizeShorterSide(_sides([step])[0], Resampling[step.interpolation.name])


def _resize_sides(step: Any) -> int:
    """Sides that a torchvision `Resize` fixes: 1 keeps the shape, 2 stretches any picture to one; 0 for other steps."""
    if type(step).__name__ != "Resize":
        return 0
    return len(step.size) if isinstance(step.size, (list, tuple)) else 1


def _sides(steps: Sequence[Any]) -> list[int]:
    """Every side in pixels that a resize or crop among `steps` names."""
    sizes = [step.size for step in steps if hasattr(step, "size")]
    return [int(side) for size in sizes for side in (size if isinstance(size, (list, tuple)) else (size,))]

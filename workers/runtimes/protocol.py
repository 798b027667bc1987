"""What handlers may rely on of a loaded model. The real runtimes and the fake of the tests all satisfy it.

A runtime works in three steps, so that fetching and decoding can overlap with the forward pass:
`preprocess` (pre; a picture at a time, on any thread), `encode_images` / `encode_texts` (core; a batch at a time),
and the unit-length float32 rows that these return (post).
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from shared.model_registry import ModelSpec

Pixels: TypeAlias = NDArray[np.uint8]
"""One picture `(3, h, w)` or a batch `(n, 3, h, w)`, RGB, 0-255: the core scales and normalises it."""
Vectors: TypeAlias = NDArray[np.float32]
"""Rows of unit length, `(n, d)`."""


class Runtime(Protocol):
    """Loaded weights of any family."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def bytes(self) -> int:
        """Bytes that parameters and buffers take."""

    @property
    def load_seconds(self) -> float: ...


class EmbeddingRuntime(Runtime, Protocol):
    """A model that turns pictures, and perhaps texts, into unit-length vectors."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    @property
    def reads_text(self) -> bool:
        """Whether `encode_texts` works; it raises `PermanentJobError(model_mismatch)` where not."""

    @property
    def precision(self) -> str:
        """What it computes in: `fp32`, `bf16` or `fp16`."""

    @property
    def decode_hint(self) -> int:
        """Side in pixels of the square that the model sees, or what its accuracy needs: `decode(min_side=)`."""

    @property
    def logit_scale(self) -> float:
        """What the model was trained to multiply cosines of a picture and texts with, before a softmax or a sigmoid:
        exp of the weights' `logit_scale`, one over its temperature. 1 for a model that reads no text."""

    @property
    def logit_bias(self) -> float | None:
        """What a model that was trained with sigmoids (SigLIP) adds to scaled cosines; None for the others."""

    def preprocess(self, image: Image) -> Pixels:
        """Bring one picture to the model's input, `(3, h, w)`. Thread-safe; mostly without the GIL."""

    def encode_images(self, batch: Pixels) -> Vectors:
        """`(n, 3, h, w)` to `(n, d)`; n may be 0. Raises `RetryableJobError(out_of_memory)`."""

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """n texts to `(n, d)`; n may be 0. Texts over the model's context are cut (see `truncated`)."""

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are longer than the model's context, so that `encode_texts` reads only their beginning."""

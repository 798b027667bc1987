"""Stand-ins for loaded models: stable vectors without weights, so that tests of handlers need no torch."""

import hashlib
from collections.abc import Sequence

import numpy as np
from PIL.Image import Image, Resampling

from shared.errors import ErrorCode, PermanentJobError
from shared.model_registry import ModelSpec
from workers.runtimes.protocol import Pixels, Vectors


def fake_spec(alias: str = "fake", *, dimension: int = 16, image_size: int = 8, memory_bytes: int = 1_000) -> ModelSpec:
    """An entry of `models.toml` for a fake model."""
    return ModelSpec(
        alias=alias,
        family="open_clip",
        source="fake/weights",
        dimension=dimension,
        image_size=image_size,
        memory_bytes=memory_bytes,
    )


class FakeEmbedder:
    """Satisfies `EmbeddingRuntime`. Equal pixels or words give equal vectors, others all but orthogonal ones.

    A text's vector is the mean of its words' vectors, so that texts which share words are alike; a picture of one
    colour lies near the text that names it (`red`, `green`, `blue`).
    """

    context = 8
    """Words that a text may have before it is cut."""

    def __init__(
        self,
        spec: ModelSpec | None = None,
        *,
        reads_text: bool = True,
        logit_scale: float = 100.0,
        logit_bias: float | None = None,
    ) -> None:
        self.spec = spec or fake_spec()
        self.dimension = self.spec.dimension or 16
        self.bytes = self.spec.memory_bytes
        self.load_seconds = 0.0
        self.reads_text = reads_text
        self.logit_scale = logit_scale
        self.logit_bias = logit_bias
        self.precision = "fp32"
        self.decode_hint = self.spec.image_size
        self.image_batches: list[int] = []
        """The size of every batch of pictures so far."""
        self.text_batches: list[int] = []

    def preprocess(self, image: Image) -> Pixels:
        side = self.spec.image_size
        small = image.convert("RGB").resize((side, side), Resampling.BOX)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))

    def encode_images(self, batch: Pixels) -> Vectors:
        self.image_batches.append(len(batch))
        return self._rows([self._picture(pixels) for pixels in batch])

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self._check_text()
        self.text_batches.append(len(texts))
        return self._rows([self._mean([_vector(word, self.dimension) for word in self._words(text)]) for text in texts])

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        self._check_text()
        return [len(text.split()) > self.context for text in texts]

    def _picture(self, pixels: Pixels) -> Vectors:
        own = _vector(pixels.tobytes(), self.dimension)
        means = pixels.reshape(3, -1).mean(axis=1)
        if means.max() - means.min() < 64:
            return own
        colour = ("red", "green", "blue")[int(means.argmax())]
        return self._mean([own, *[_vector(colour, self.dimension)] * 3])

    def _words(self, text: str) -> list[str]:
        return text.lower().split()[: self.context] or [""]

    def _mean(self, vectors: list[Vectors]) -> Vectors:
        mean: Vectors = np.mean(vectors, axis=0, dtype=np.float32)
        return mean

    def _rows(self, vectors: list[Vectors]) -> Vectors:
        rows = np.array(vectors, dtype=np.float32).reshape(len(vectors), self.dimension)
        unit: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
        return unit

    def _check_text(self) -> None:
        if not self.reads_text:
            raise PermanentJobError(ErrorCode.MODEL_MISMATCH, f"Model {self.spec.alias!r} reads pictures only.")


def _vector(seed: str | bytes, dimension: int) -> Vectors:
    """A unit vector that depends on `seed` alone, on every machine."""
    data = seed.encode() if isinstance(seed, str) else seed
    state = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
    vector = np.random.default_rng(state).standard_normal(dimension).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))

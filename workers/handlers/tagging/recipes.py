"""How a job tags: its labels as vectors, and how many of them a picture gets. And what is read of a picture for it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.contracts.tag import TagInput
from shared.images.hashing import file_hash
from shared.loaded_models import entry_of
from workers.context import JobContext, JobHandle
from workers.embedding import CachedModel
from workers.labels import LabelVectors
from workers.pictures import PictureLoader
from workers.runtimes.protocol import EmbeddingRuntime, Vectors

SCORE_DIGITS = 6
"""What is kept of a score: finer differences are the model's noise."""

Tags = list[tuple[str, float]]
"""Labels with their scores, best first."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """All that a tagging depends on besides the picture."""

    model: str
    labels: LabelVectors
    top_k: int
    min_score: float
    multi_label: bool
    hash: str
    """The same for jobs that would give every picture the same tags, on whichever machine they run: so the model counts
    by its entry in `models.toml`, and not by the times of its files there."""

    @classmethod
    def of(cls, input: TagInput, job: JobHandle, model: CachedModel, context: JobContext) -> Self:
        """Raises JobStopped, and JobError (`model_mismatch`) for a model that reads no text."""
        spec = model.model.spec
        labels = context.services.labels.get(
            model.model,
            input.labels,
            input.template,
            tenant=job.tenant,
            weights=context.services.embedders.weights(spec.alias),
            encode=lambda prompts: model.texts([(job.tenant, prompt) for prompt in prompts]),
            checkpoint=job.raise_if_stopped,
        )
        made_from = [entry_of(spec), input.labels, input.template, input.best, input.min_score, input.multi_label]
        digest = hashlib.sha256(orjson.dumps(made_from)).hexdigest()
        return cls(spec.alias, labels, input.best, input.min_score, input.multi_label, digest)

    def tags(self, pictures: Vectors) -> list[Tags]:
        """The tags of pictures `(n, d)`; equal scores stand in the order of the labels."""
        scores = self.labels.scores(pictures, multi_label=self.multi_label)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.top_k]
        return [self._of_one(row, chosen) for row, chosen in zip(scores, best, strict=True)]

    def _of_one(self, scores: NDArray[np.float64], chosen: Sequence[int] | NDArray[np.intp]) -> Tags:
        names = self.labels.labels
        return [(names[i], round(float(scores[i]), SCORE_DIGITS)) for i in chosen if scores[i] >= self.min_score]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture, ready for the model, with what its file says."""

    pixels: NDArray[np.uint8]
    file_hash: str
    taken_at: datetime | None


def prepare(data: bytes, digest: str | None, pictures: PictureLoader, model: EmbeddingRuntime) -> Prepared:
    """Raises JobError for a picture that is no good. `digest`: the file's hash, where it is known already."""
    pixels = model.preprocess(pictures.decode(data, min_side=model.decode_hint))
    return Prepared(pixels, digest or file_hash(data), pictures.taken_at(data))


def embed(prepared: Sequence[Prepared], model: EmbeddingRuntime) -> Vectors:
    """`(n, d)` in one forward pass."""
    return model.encode_images(np.stack([picture.pixels for picture in prepared]))

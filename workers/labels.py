"""The text side of tagging: labels as vectors, kept while they are used, and the scores of pictures on them."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from sys import getsizeof

import numpy as np
import orjson
from numpy.typing import NDArray

from shared.contracts.labels import prompt_of
from workers.runtimes.protocol import EmbeddingRuntime, Vectors

NEUTRAL = "thing"
"""Nothing in particular, in place of a label: what a label must be more like than, when each is judged by itself."""
PROMPT_BATCH = 128
BUDGET_BYTES = 64_000_000

Scores = NDArray[np.float64]
"""`(pictures, labels)`, 0 to 1."""


@dataclass(frozen=True, eq=False)
class LabelVectors:
    """What a model makes of labels. Rows are of unit length."""

    labels: tuple[str, ...]
    vectors: Vectors
    """`(labels, d)`."""
    neutral: Vectors
    """`(d,)`."""
    scale: float
    bias: float | None

    @property
    def bytes(self) -> int:
        return self.vectors.nbytes + self.neutral.nbytes + sum(map(getsizeof, self.labels))

    def scores(self, pictures: Vectors, *, multi_label: bool) -> Scores:
        """How well each label fits each picture `(n, d)`.

        Against each other: softmax of the scaled cosines, which sums to 1 over the labels (Radford et al. 2021, 3.1.2).
        Each by itself: sigmoid of the model's own logit where it was trained so (Zhai et al. 2023, SigLIP), else of how
        much nearer the label is than nothing in particular: 0.5 says that it fits no better than "a thing".
        """
        logits = self.scale * (pictures.astype(np.float64) @ self.vectors.T)
        if not multi_label:
            logits -= logits.max(axis=1, keepdims=True)
            exponents = np.exp(logits)
            shares: Scores = exponents / exponents.sum(axis=1, keepdims=True)
            return shares
        if self.bias is not None:
            logits += self.bias
        else:
            logits -= self.scale * (pictures.astype(np.float64) @ self.neutral)[:, None]
        margins: Scores = (1 + np.tanh(logits / 2)) / 2  # the sigmoid, in a form that overflows nowhere
        return margins


class LabelCache:
    """Label vectors of one worker process, made once a tenant, weights, labels and templates; least recently used go
    first. Of a tenant, for how soon an answer comes would tell another one that the labels were there already.
    """

    def __init__(self, budget_bytes: int = BUDGET_BYTES) -> None:
        self._budget = budget_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, LabelVectors] = OrderedDict()
        """By a digest: templates can be far longer than the vectors that they make."""

    def get(
        self,
        model: EmbeddingRuntime,
        labels: Sequence[str],
        templates: Sequence[str],
        *,
        tenant: str,
        weights: str,
        encode: Callable[[Sequence[str]], Vectors],
        checkpoint: Callable[[], None] = lambda: None,
    ) -> LabelVectors:
        """The vectors of `labels`: each the mean of its prompts' vectors, brought back to unit length.

        Args:
            weights: what tells the model's weights from others.
            encode: texts to unit rows, up to PROMPT_BATCH at a time.
            checkpoint: called before each batch; what it raises ends the work.
        """
        key = hashlib.sha256(orjson.dumps([tenant, weights, labels, templates])).digest()
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = _make(model, labels, templates, encode, checkpoint)
        self._keep(key, made)
        return made

    def _keep(self, key: bytes, made: LabelVectors) -> None:
        if made.bytes > self._budget:
            return
        self._kept[key] = made
        self._bytes += made.bytes
        while self._bytes > self._budget:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.bytes


def _make(
    model: EmbeddingRuntime,
    labels: Sequence[str],
    templates: Sequence[str],
    encode: Callable[[Sequence[str]], Vectors],
    checkpoint: Callable[[], None],
) -> LabelVectors:
    words = [*labels, NEUTRAL]
    prompts = ((row, prompt_of(template, word)) for row, word in enumerate(words) for template in templates)
    sums = np.zeros((len(words), model.dimension), dtype=np.float32)
    for batch in _batches(prompts):
        checkpoint()
        np.add.at(sums, [row for row, _ in batch], encode([prompt for _, prompt in batch]))
    rows = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
    return LabelVectors(tuple(labels), rows[:-1], rows[-1], model.logit_scale, model.logit_bias)


def _batches(prompts: Iterator[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    while batch := list(islice(prompts, PROMPT_BATCH)):
        yield batch

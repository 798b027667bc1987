"""`embed`: pictures and texts to unit vectors. The jobs of a batch share their forward passes."""

import base64
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.contracts.common import EntryError
from shared.contracts.embed import Embedding, EmbedInput, EmbedOutput
from shared.errors import JobError, JobStopped
from workers.context import JobContext
from workers.embedding import CachedModel, Prepared, leased
from workers.handlers.entries import IMAGE_BATCH, TEXT_BATCH, nothing_worked, slices
from workers.pictures import Wanted
from workers.runtimes.protocol import EmbeddingRuntime

Vector = NDArray[np.float32]
Entry = Vector | JobError | JobStopped
Slot = tuple[int, int]
"""(job, index of the picture or text within the job)."""


def handle(inputs: list[EmbedInput], context: JobContext) -> list[EmbedOutput | JobError | JobStopped]:
    """All jobs of a batch name the same model (their batch key says so)."""
    alias = inputs[0].model or context.services.embedders.registry.default_for("embed").alias
    with leased(context.services, alias) as model:
        texts = dict(_embed_texts(inputs, context, model))
        pictures: dict[Slot, Entry] = {}
        results: dict[int, EmbedOutput | JobError | JobStopped] = {}

        def settle(job: int) -> None:
            own_pictures = [pictures[job, index] for index in range(len(inputs[job].images))]
            own_texts = [texts[job, index] for index in range(len(inputs[job].texts))]
            results[job] = _output(inputs[job], own_pictures, own_texts, model.model)
            context.settle(job, results[job])

        left = [len(input.images) for input in inputs]
        for job, count in enumerate(left):
            if count == 0:
                settle(job)
        for slot, entry in _embed_pictures(inputs, context, model):
            pictures[slot] = entry
            left[slot[0]] -= 1
            if left[slot[0]] == 0:
                settle(slot[0])
        return [results[job] for job in range(len(inputs))]


def _embed_pictures(inputs: list[EmbedInput], context: JobContext, model: CachedModel) -> Iterator[tuple[Slot, Entry]]:
    pictures = context.services.pictures
    wanted = (
        Wanted((job, index), picture, context.jobs[job])
        for job, input in enumerate(inputs)
        for index, picture in enumerate(input.images)
    )

    def prepare(slot: Slot, data: bytes) -> Prepared:
        tenant = context.jobs[slot[0]].tenant
        return model.prepare(tenant, data, lambda: pictures.decode(data, min_side=model.model.decode_hint))

    done = [0] * len(inputs)
    for batch in pictures.load(wanted, prepare, batch=IMAGE_BATCH, before_waiting=context.flush):
        good = [(slot, prepared) for slot, prepared in batch if isinstance(prepared, Prepared)]
        yield from zip((slot for slot, _ in good), model.pictures([prepared for _, prepared in good]), strict=True)
        yield from ((slot, error) for slot, error in batch if not isinstance(error, Prepared))
        for (job, _), _ in batch:
            done[job] += 1
        for job in {slot[0] for slot, _ in batch}:
            context.jobs[job].progress(done[job] / inputs[job].entries, f"{done[job]} of {inputs[job].entries}")


def _embed_texts(inputs: list[EmbedInput], context: JobContext, model: CachedModel) -> Iterator[tuple[Slot, Entry]]:
    texts = [((job, index), text) for job, input in enumerate(inputs) for index, text in enumerate(input.texts)]
    for part in slices(texts, TEXT_BATCH):
        owned = [(context.jobs[job].tenant, text) for (job, _), text in part]
        yield from zip((slot for slot, _ in part), model.texts(owned), strict=True)
        cuts = model.model.truncated([text for _, text in part])
        for ((job, index), _), cut in zip(part, cuts, strict=True):
            if cut:
                context.jobs[job].log(f"texts.{index} is longer than the model reads; only its beginning was embedded.")


def _output(
    input: EmbedInput, pictures: list[Entry], texts: list[Entry], model: EmbeddingRuntime
) -> EmbedOutput | JobError | JobStopped:
    entries = [*pictures, *texts]
    if stop := next((entry for entry in entries if isinstance(entry, JobStopped)), None):
        return stop
    errors = [entry for entry in entries if isinstance(entry, JobError)]
    if len(errors) == len(entries):
        return nothing_worked(errors)
    kinds: list[tuple[Literal["image", "text"], int]]
    kinds = [("image", index) for index in range(len(pictures))] + [("text", index) for index in range(len(texts))]
    return EmbedOutput.model_construct(
        embeddings=[
            Embedding.model_construct(
                index=index,
                kind=kind,
                vector=_encoded(entry, input.encoding_format) if isinstance(entry, np.ndarray) else None,
                error=EntryError(code=entry.code, message=entry.message) if isinstance(entry, JobError) else None,
            )
            for (kind, index), entry in zip(kinds, entries, strict=True)
        ],
        model=model.spec.alias,
        dimension=model.dimension,
    )


def _encoded(vector: Vector, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers

"""`tag`: which labels pictures show. The jobs of a batch share forward passes; that of a directory runs alone."""

from shared.contracts.tag import TagInput
from workers.context import JobContext, Result
from workers.embedding import leased
from workers.handlers.tagging.directory import tag_directory
from workers.handlers.tagging.pictures import tag_pictures


def handle(inputs: list[TagInput], context: JobContext) -> list[Result]:
    """All jobs of a batch name the same model (their batch key says so); a directory has no batch key."""
    alias = inputs[0].model or context.services.embedders.registry.default_for("tag").alias
    with leased(context.services, alias) as model:
        if inputs[0].directory is not None:
            return [tag_directory(inputs[0], context.jobs[0], context, model)]
        return tag_pictures(inputs, context, model)

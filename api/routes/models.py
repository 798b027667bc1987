"""`/v1/models`: the models that this stack offers, by alias."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from api import openapi
from api.auth import Caller, needs
from api.services import services_of
from shared.errors import NotFound
from shared.model_registry import ModelSpec, ModelUnknown

router = APIRouter(prefix="/v1/models", tags=["models"])
Anyone = Annotated[Caller, Depends(needs())]


class Model(BaseModel):
    """A model that jobs may name."""

    alias: str
    family: str
    dimension: int | None
    """Length of its vectors."""
    image_size: int
    """Side in pixels of the picture that it reads."""
    reads_text: bool
    """Whether it places texts and pictures in one space."""
    default_for: list[str]
    """Kinds of jobs that use it when they name none."""
    description: str
    licence: str


class ModelList(BaseModel):
    data: list[Model]
    next_cursor: str | None = None


@router.get("", operation_id="list_models", summary="The models that jobs may name", responses=openapi.problems())
async def list_models(request: Request, caller: Anyone) -> ModelList:
    return ModelList(data=[_view(spec) for spec in services_of(request).registry])


@router.get("/{alias}", operation_id="get_model", summary="One model", responses=openapi.problems(404))
async def get_model(alias: str, request: Request, caller: Anyone) -> Model:
    try:
        return _view(services_of(request).registry.get(alias))
    except ModelUnknown as error:
        raise NotFound(error.message) from None


def _view(spec: ModelSpec) -> Model:
    return Model(
        alias=spec.alias,
        family=spec.family,
        dimension=spec.dimension,
        image_size=spec.image_size,
        reads_text=spec.reads_text,
        default_for=list(spec.default_for),
        description=spec.description,
        licence=spec.licence,
    )

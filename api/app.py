"""The application: what it is made of, and what it opens and closes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api import errors, openapi
from api.metrics import Metrics
from api.middleware import RequestContext
from api.routes import (
    collections,
    health,
    items,
    jobs,
    keys,
    label_sets,
    metrics,
    models,
    queues,
    reference,
    submit,
    tags,
)
from api.routes.collections import CollectionRequest, ReembedRequest
from api.routes.items import ItemPatch, ItemSelection
from api.routes.keys import KeyRequest
from api.routes.label_sets import LabelSetRequest
from api.routes.tags import TagsEdit
from api.services import Services
from shared.settings import ApiSettings

DESCRIPTION = """
Submit a job, get its id at once, then poll it, wait for it with `Prefer: wait=N`, or list it by its metadata.

Errors are problems (RFC 9457) with a stable `code`; every fault of a request is named by its path. Every answer carries
`X-Request-ID`.
"""

BODIES = (CollectionRequest, ReembedRequest, ItemPatch, ItemSelection, KeyRequest, LabelSetRequest, TagsEdit)
"""Those that routes read themselves."""


def create_app(settings: ApiSettings) -> FastAPI:
    """The API over these settings. It connects to nothing before it is started.

    Raises:
        ConfigurationError: the model list or the storage cannot be used.
    """
    services = Services(settings)
    app = FastAPI(
        title="Darkroom",
        summary="Jobs for pictures: embed, index, search.",
        description=DESCRIPTION,
        version="0.1.0",
        docs_url=None,  # `api/routes/reference.py` serves it
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.services = services
    app.state.metrics = Metrics()
    app.include_router(submit.router(services.offered))
    for part in (jobs, collections, items, tags, label_sets, models, keys, queues, health, metrics):
        app.include_router(part.router)
    reference.install(app)
    errors.install(app)
    openapi.install(app, services.offered, bodies=BODIES)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: ApiSettings) -> None:
    """The last one added is the outermost: answers to other origins carry a request id as well."""
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "Prefer",
                "Cancel-After",
                "X-Request-ID",
            ],
            expose_headers=["Location", "X-Request-ID", "Retry-After", "Preference-Applied", "Idempotency-Replayed"],
            max_age=600,
        )
    app.add_middleware(RequestContext, metrics=app.state.metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await services.open()
    try:
        yield
    finally:
        await services.close()

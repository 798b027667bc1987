"""`/health/live`: the process runs. `/health/ready`: it can do its work, dependency by dependency."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.services import Services, services_of
from api.views import json_response

router = APIRouter(prefix="/health", tags=["health"])
CHECK_SECONDS = 2.0
_ROOT_PROBE = "health/probe"


class Dependency(BaseModel):
    """How a part of the system answers."""

    status: Literal["up", "down"]
    latency_ms: float
    error: str | None = None
    """The type of what went wrong, when it is down."""


class Readiness(BaseModel):
    """`degraded`: jobs are accepted, but something else is away (without Redis they start late)."""

    status: Literal["ready", "degraded", "unavailable", "stopping"]
    dependencies: dict[str, Dependency]


class Liveness(BaseModel):
    status: Literal["ok"] = "ok"


@router.get("/live", operation_id="get_liveness", summary="Whether the process runs")
async def live() -> Liveness:
    return Liveness()


@router.get(
    "/ready",
    operation_id="get_readiness",
    summary="Whether requests should be sent here",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Postgres is away, or the process is stopping"}},
)
async def ready(request: Request) -> Response:
    services = services_of(request)
    checks = {"postgres": _postgres, "redis": _redis, "storage": _storage, "vectors": _vectors}
    states = await asyncio.gather(*(_check(check, services) for check in checks.values()))
    dependencies = dict(zip(checks, states, strict=True))
    status, code = _verdict(services, dependencies)
    shown = {name: state.model_dump() for name, state in dependencies.items()}
    return json_response({"status": status, "dependencies": shown}, code)


def _verdict(services: Services, dependencies: dict[str, Dependency]) -> tuple[str, int]:
    if services.stopping:
        return "stopping", 503
    if dependencies["postgres"].status == "down":
        return "unavailable", 503
    return ("ready" if all(state.status == "up" for state in dependencies.values()) else "degraded"), 200


async def _check(check: Callable[[Services], Awaitable[object]], services: Services) -> Dependency:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check(services)
        failed = None
    except Exception as error:  # noqa: BLE001 - clients raise what they like; whatever it is, the part cannot be used
        failed = type(error.__cause__ or error).__name__
    milliseconds = round((time.perf_counter() - started) * 1000, 2)
    return Dependency(status="down" if failed else "up", latency_ms=milliseconds, error=failed)


async def _postgres(services: Services) -> None:
    await services.database.fetchrow("SELECT 1")


async def _redis(services: Services) -> None:
    await services.hub.ping()


async def _storage(services: Services) -> None:
    await asyncio.to_thread(services.storage.exists, _ROOT_PROBE)


async def _vectors(services: Services) -> None:
    if services.settings.qdrant_url is None:  # they are in Postgres
        await _postgres(services)
    else:
        await asyncio.to_thread(services.vectors.ping)

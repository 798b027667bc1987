"""`/v1/queues`: how deep the queues are, and stopping or opening them; for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from api import openapi
from api.auth import Caller, needs
from api.ringing import ring_again
from api.services import Services, services_of
from shared.contracts.registry import QUEUES
from shared.errors import NotFound
from shared.jobs import control, queries
from shared.jobs.queries import QueueDepth

router = APIRouter(prefix="/v1/queues", tags=["operators"])
Operator = Annotated[Caller, Depends(needs("admin"))]
RINGS_AFTER_RESUME = 8
"""Enough to wake every process of a machine; the sweeper sees to the rest."""


class Queue(BaseModel):
    """How a queue stands."""

    name: str
    depth: int
    """Jobs that are ready to run."""
    scheduled: int
    """Jobs that wait for the time of their next attempt."""
    running: int
    oldest_age_seconds: float | None
    """For how long the first ready job has been ready."""
    paused: bool


class QueueList(BaseModel):
    data: list[Queue]
    next_cursor: str | None = None


@router.get("", operation_id="list_queues", summary="Every queue", responses=openapi.problems())
async def list_queues(request: Request, caller: Operator) -> QueueList:
    depths = await queries.queue_depths(services_of(request).database, QUEUES)
    return QueueList(data=[_view(depth) for depth in depths])


@router.get("/{name}", operation_id="get_queue", summary="One queue", responses=openapi.problems(404))
async def get_queue(name: str, request: Request, caller: Operator) -> Queue:
    return await _shown(services_of(request), name)


@router.post(
    "/{name}/pause",
    operation_id="pause_queue",
    summary="Claim nothing more from a queue; what runs goes on",
    responses=openapi.problems(404),
)
async def pause_queue(name: str, request: Request, caller: Operator) -> Queue:
    services = services_of(request)
    await control.set_paused(services.database, _known(name), True)
    return await _shown(services, name)


@router.post(
    "/{name}/resume", operation_id="resume_queue", summary="Open a paused queue", responses=openapi.problems(404)
)
async def resume_queue(name: str, request: Request, caller: Operator) -> Queue:
    services = services_of(request)
    await control.set_paused(services.database, _known(name), False)
    for _ in range(RINGS_AFTER_RESUME):
        ring_again(services.doorbell, name)
    return await _shown(services, name)


async def _shown(services: Services, name: str) -> Queue:
    depths = await queries.queue_depths(services.database, (_known(name),))
    return next(_view(depth) for depth in depths if depth.name == name)


def _known(name: str) -> str:
    if name not in QUEUES:
        raise NotFound(f"There is no queue {name[:80]!a}; there are {', '.join(QUEUES)}.")
    return name


def _view(depth: QueueDepth) -> Queue:
    return Queue(
        name=depth.name,
        depth=depth.ready,
        scheduled=depth.queued - depth.ready,
        running=depth.running,
        oldest_age_seconds=depth.oldest_seconds,
        paused=depth.paused,
    )

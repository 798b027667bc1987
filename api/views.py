"""The job object as every answer shows it, written straight to JSON: input and output are never parsed again."""

import asyncio
from datetime import datetime
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from shared.contracts.jobs import PRIORITY_NAMES, TERMINAL
from shared.database.asynchronous import Row
from shared.errors import DependencyUnavailable
from shared.jobs.outputs import unpack_json
from shared.jobs.submission import MAX_AHEAD, Accepted, NewJob
from shared.storage import FileMissing, Storage

JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
View = dict[str, Any]


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content, option=JSON_OPTIONS), status, headers, media_type="application/json")


def base_url(request: Request, public_url: str | None) -> str:
    """What URLs in answers begin with: the public URL of the settings, or else the host that was asked."""
    return public_url.rstrip("/") if public_url else str(request.base_url).rstrip("/")


def ended(row: Row) -> bool:
    return row["state"] in TERMINAL


def new_job_view(job: NewJob, accepted: Accepted, base: str) -> View:
    """A job that was accepted this moment, without asking the database for it again.

    One whose output was known has begun and ended as it was accepted.
    """
    known = job.known
    moment, seconds = (accepted.created_at, 0.0) if known else (None, None)
    return {
        "id": str(accepted.id),
        "kind": job.kind,
        "status": "succeeded" if known else "queued",
        "priority": PRIORITY_NAMES[job.priority],
        "attempt": 0,
        "max_attempts": job.max_attempts,
        "input": orjson.Fragment(job.input),
        "output": orjson.Fragment(known.json) if known else None,
        "error": None,
        "progress": {"fraction": 1.0 if known else 0.0, "message": None},
        "queue_position": accepted.queue_position,
        "logs": "",
        "metadata": orjson.Fragment(job.metadata),
        "created_at": accepted.created_at,
        "started_at": moment,
        "completed_at": moment,
        "expires_at": accepted.expires_at if known else None,
        "metrics": {"queue_seconds": seconds, "run_seconds": seconds, "cached": known is not None},
        "urls": urls(str(accepted.id), base),
    }


def job_view(row: Row, base: str, output: bytes | None = None) -> View:
    """A job's row. `output`: the JSON of an output that rests in storage."""
    inline = row["output"]
    started, completed = row["started_at"], row["completed_at"]
    return {
        "id": str(row["id"]),
        "kind": row["kind"],
        "status": row["state"],
        "priority": PRIORITY_NAMES[row["priority"]],
        "attempt": row["attempt"],
        "max_attempts": row["max_attempts"],
        "input": _fragment(row["input"]),
        "output": _fragment(output if output is not None else inline),
        "error": _fragment(row["error"]),
        "progress": {"fraction": row["progress_fraction"], "message": row["progress_message"]},
        "queue_position": _position(row["ahead"]),
        "logs": row["logs"],
        "metadata": orjson.Fragment(row["metadata"]),
        "created_at": row["created_at"],
        "started_at": started,
        "completed_at": completed,
        "expires_at": row["expires_at"],
        "metrics": {
            "queue_seconds": _seconds(row["created_at"], started),
            "run_seconds": _seconds(started, completed),
            "cached": row["cached"],
        },
        "urls": urls(str(row["id"]), base),
    }


async def full_job_view(row: Row, base: str, storage: Storage) -> View:
    """A job's row with its output, wherever that rests.

    Raises:
        DependencyUnavailable: the stored output cannot be read.
    """
    if row["output_key"] is None:
        return job_view(row, base)
    try:
        packed = await asyncio.to_thread(storage.read, row["output_key"])
    except FileMissing as error:
        raise DependencyUnavailable("the stored output is not there") from error
    return job_view(row, base, await asyncio.to_thread(unpack_json, packed))


def urls(job_id: str, base: str) -> dict[str, str]:
    url = f"{base}/v1/jobs/{job_id}"
    return {"get": url, "cancel": f"{url}/cancel", "retry": f"{url}/retry"}


def _fragment(text: str | bytes | None) -> Any:
    return None if text is None else orjson.Fragment(text)


def _position(ahead: int | None) -> int | None:
    return None if ahead is None or ahead >= MAX_AHEAD else ahead + 1


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, round((end - start).total_seconds(), 6))

"""Round every request: its id, its log line, its time in the metrics, and an answer to what nobody expected."""

import re
import time
from urllib.parse import parse_qsl

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import INTERNAL, problem_of
from api.metrics import Metrics
from shared.errors import FieldFault, InvalidInput
from shared.jobs.submission import new_id

log = structlog.get_logger(__name__)

_SANE_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
_QUIET = ("/health/", "/metrics")
UNMATCHED = "unmatched"


class RequestContext:
    """Pure ASGI: a middleware that wraps requests in tasks of its own would cost more than the whole rest."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = _request_id(scope)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            _refuse_nul(scope)
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or 499
        except Exception as error:  # no request ends in a bare 500, and no trace leaves the server
            problem = problem_of(error) or INTERNAL
            if problem is INTERNAL:
                log.exception("request_failed")
            if not status:
                await problem.response(request_id)(scope, receive, send_with_id)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")
            self._note(scope, status, time.perf_counter() - started, request_id)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", UNMATCHED)
        self._metrics.observe(scope["method"], route, status, seconds)
        write = log.debug if scope["path"].startswith(_QUIET) else log.info
        write(
            "request",
            request_id=request_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=round(seconds * 1000, 2),
        )


def _refuse_nul(scope: Scope) -> None:
    """No parameter of any route may hold what the database cannot (bodies: `api/body.py`). Raises InvalidInput."""
    if b"%00" not in scope["query_string"]:
        return
    parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    faults = tuple(FieldFault(ascii(name)[1:-1], "holds a NUL") for name, value in parameters if "\0" in name + value)
    raise InvalidInput("The request is not valid.", faults=faults)


def _request_id(scope: Scope) -> str:
    """The client's own id when it is a sane one, else a new one."""
    given = Headers(scope=scope).get("x-request-id")
    return given if given and _SANE_ID.fullmatch(given) else f"req_{new_id().hex}"

"""From errors to answers: the only place that knows HTTP statuses. Every error answer is a problem (RFC 9457)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.validation import faults_of
from shared.errors import (
    Conflict,
    DarkroomError,
    DependencyUnavailable,
    ErrorCode,
    FieldFault,
    InvalidInput,
    JobError,
    NotFound,
    RequestError,
    TooLarge,
)
from shared.storage import StorageError

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
MAX_FAULTS = 100
"""Faults named in one problem; a request with more of them hears of the first ones and how many there are."""
RETRY_AFTER_SECONDS = 2


class Malformed(RequestError):
    """The body is not JSON at all."""

    code = "malformed"


class WrongContentType(RequestError):
    """The body is declared as something else than JSON."""

    code = "unsupported_content_type"


class Unauthorized(RequestError):
    """There is no key, or it is not a valid one."""

    code = "unauthorized"


class Forbidden(RequestError):
    """The key is valid, but lacks a scope."""

    code = "forbidden"


@dataclass(frozen=True)
class Problem:
    """An error answer before it has a request id."""

    status: int
    code: str
    detail: str
    faults: Sequence[FieldFault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, request_id: str | None) -> Response:
        content = {
            "type": f"urn:darkroom:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "errors": [{"path": fault.path, "message": fault.message} for fault in self.faults[:MAX_FAULTS]],
            "request_id": request_id,
        }
        return Response(_dumps(content), self.status, self.headers, media_type=PROBLEM_JSON)


_STATUSES: tuple[tuple[type[RequestError], int], ...] = (
    (Malformed, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (WrongContentType, 415),
    (InvalidInput, 422),
)
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def problem_of(error: Exception) -> Problem | None:
    """What an error is for the one who sent the request; None for a fault of our own."""
    if isinstance(error, RequestError):
        status = next((status for cls, status in _STATUSES if isinstance(error, cls)), 400)
        return Problem(status, str(error.code), _detail(error.message, error.faults), error.faults, _headers(status))
    if isinstance(error, RequestValidationError):
        faults = faults_of(error.errors(), drop=1)
        return Problem(422, InvalidInput.code, _detail("The request is not valid.", faults), faults)
    if isinstance(error, JobError):
        status = 409 if error.code == ErrorCode.MODEL_MISMATCH else 422
        return Problem(status, str(error.code), error.message)
    if isinstance(error, HTTPException):
        code = _HTTP_CODES.get(error.status_code, "invalid_request")
        return Problem(error.status_code, code, _http_detail(error), headers=error.headers or {})
    if isinstance(error, DependencyUnavailable | StorageError) or _is_lost_connection(error):
        log.warning("dependency_unavailable", error=str(error), cause=repr(error.__cause__))
        detail = "A part that this request needs does not answer at the moment. Send the request again."
        return Problem(503, "unavailable", detail, headers=_headers(503))
    return None


INTERNAL = Problem(
    500, ErrorCode.INTERNAL, "Something went wrong on our side. Send the request again, or report its request_id."
)


def install(app: FastAPI) -> None:
    """Answer every expected error of this application with a problem. `api/middleware.py` sees to all others."""
    for cls in (DarkroomError, HTTPException, RequestValidationError):
        app.add_exception_handler(cls, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if problem is None:
        raise error
    return problem.response(request.scope.get("request_id"))


def _headers(status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": 'Bearer realm="darkroom"'}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else {}


def _detail(message: str, faults: Sequence[FieldFault]) -> str:
    if len(faults) > MAX_FAULTS:
        return f"{message} These are the first {MAX_FAULTS} of {len(faults)} faults."
    return message


def _http_detail(error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is nothing at this address."
    if error.status_code == 405:
        return f"This address answers {(error.headers or {}).get('Allow', 'other methods')} only."
    return str(error.detail)


def _is_lost_connection(error: Exception) -> bool:
    """Of psycopg, which the slower routes go through in threads."""
    from psycopg import InterfaceError, OperationalError

    return isinstance(error, OperationalError | InterfaceError)


def _dumps(content: Any) -> bytes:
    """JSON; a string that came in with a lone surrogate goes out with a replacement character."""
    try:
        return orjson.dumps(content)
    except TypeError:
        return orjson.dumps({name: _printable(value) for name, value in content.items()})


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [{name: _printable(text) for name, text in entry.items()} for entry in value]
    return value

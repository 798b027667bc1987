"""The OpenAPI document: bodies that the routes read themselves, typed jobs, and problems on every operation."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, Optional

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, JsonValue, create_model
from pydantic.json_schema import models_json_schema

from api.errors import PROBLEM_JSON
from api.intake.drafts import request_model
from shared.contracts.common import Contract, JobKind
from shared.contracts.jobs import JobView

Responses = dict[int | str, dict[str, Any]]
Schemas = dict[str, Any]
_REFERENCE = "#/components/schemas/{model}"


_KEY = {"type": "http", "scheme": "bearer", "description": "A key: `dr_<id>_<secret>`."}


class FieldFaultView(Contract):
    """Where a request is wrong, and how."""

    path: str
    message: str


class ProblemView(Contract):
    """What went wrong with a request (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldFaultView]
    request_id: str | None


_ABOUT = {
    400: "The body is not JSON",
    401: "No key, or not a valid one",
    403: "The key lacks the scope that this needs",
    404: "There is no such thing for this tenant",
    409: "The request contradicts what is there",
    413: "The body is too large",
    415: "The body is not declared as JSON",
    422: "The input is not valid; `errors` names every fault by its path",
    503: "A part of the system is away; try again after `Retry-After` seconds",
}


def problems(*statuses: int) -> Responses:
    """The problems that an operation may answer with; 401, 403 and 503 come with all of them."""
    content = {PROBLEM_JSON: {"schema": {"$ref": _REFERENCE.format(model="Problem")}}}
    return {
        status: {"description": _ABOUT[status], "content": content} for status in sorted({401, 403, 503, *statuses})
    }


def json_body(schema: str, example: Any) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body itself."""
    media = {"schema": {"$ref": _REFERENCE.format(model=schema)}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": media}}}


def answer(description: str, schema: str, **headers: str) -> dict[str, Any]:
    """One answer of a route that writes it itself."""
    described: dict[str, Any] = {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": _REFERENCE.format(model=schema)}}},
    }
    if headers:
        described["headers"] = {
            name.replace("_", "-"): {"description": about, "schema": {"type": "string"}}
            for name, about in headers.items()
        }
    return described


def header(name: str, description: str, example: str) -> dict[str, Any]:
    """A request header that a route reads itself."""
    schema = {"type": "string"}
    return {"name": name, "in": "header", "required": False, "description": description, "schema": schema} | {
        "example": example
    }


@cache
def job_model(kind: JobKind[Any, Any]) -> type[BaseModel]:
    """A job with this kind's output, named `EmbedJob` and so on."""
    fields: Any = {"output": (Optional[kind.output], ...)}  # noqa: UP045 - a type that is known only now
    doc = f"A job of the kind `{kind.name}`."
    return create_model(f"{kind.name.capitalize()}Job", __base__=JobView, __doc__=doc, **fields)


class ListedJob(JobView):
    """A job as a list shows it: `input` and `output` are null when they are over 64 kB, `logs` is cut."""

    input: dict[str, JsonValue] | None  # type: ignore[assignment]


class JobList(Contract):
    """A page of jobs, newest first."""

    data: list[ListedJob]
    next_cursor: str | None


class JobBatch(Contract):
    """The jobs of a batch, in the order in which they were given."""

    jobs: list[JobView]


def install(app: FastAPI, kinds: Mapping[str, JobKind[Any, Any]], *, bodies: Sequence[type[BaseModel]] = ()) -> None:
    """Make the application serve the finished document. `bodies`: of routes that read them themselves."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, kinds, bodies)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(
    app: FastAPI, kinds: Mapping[str, JobKind[Any, Any]], bodies: Sequence[type[BaseModel]]
) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= _schemas(kinds, bodies)
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of a 422, which nobody ever sees
        schemas.pop(unused, None)
    document["components"]["securitySchemes"] = {"key": _KEY}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(operation, secured=path.startswith("/v1/"))
    return document


def _complete(operation: dict[str, Any], *, secured: bool) -> None:
    if secured:
        operation["security"] = [{"key": []}]
    invalid = operation["responses"].get("422", {})
    if "application/json" in invalid.get("content", {}):  # FastAPI's own form
        operation["responses"]["422"] = problems(422)[422]


def _schemas(kinds: Mapping[str, JobKind[Any, Any]], bodies: Sequence[type[BaseModel]]) -> Schemas:
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((request_model(kind), "validation") for kind in kinds.values()),
        *((body, "validation") for body in bodies),
        *((job_model(kind), "serialization") for kind in kinds.values()),
        *((model, "serialization") for model in (JobView, JobList, JobBatch, ProblemView)),
    ]
    _, definitions = models_json_schema(models, ref_template=_REFERENCE)
    schemas: Schemas = definitions["$defs"]
    schemas["BatchRequest"] = _batch_schema(kinds, schemas)
    return _renamed(schemas, {"JobView": "Job", "ProblemView": "Problem", "FieldFaultView": "FieldFault"})


def _batch_schema(kinds: Mapping[str, JobKind[Any, Any]], schemas: Schemas) -> Schemas:
    """`{"jobs": [...]}`, each entry a kind's request with its `kind` beside it."""
    for name in kinds:
        request = schemas[f"{name.capitalize()}Request"]
        tag = {"kind": {"type": "string", "const": name, "title": "Kind"}}
        schemas[f"{name.capitalize()}BatchEntry"] = request | {
            "title": f"{name.capitalize()}BatchEntry",
            "properties": tag | request["properties"],
            "required": ["kind", *request.get("required", [])],
        }
    entries = {name: _REFERENCE.format(model=f"{name.capitalize()}BatchEntry") for name in kinds}
    choice = {
        "oneOf": [{"$ref": reference} for reference in entries.values()],
        "discriminator": {"propertyName": "kind", "mapping": entries},
    }
    jobs = {"type": "array", "minItems": 1, "maxItems": 1000, "items": choice, "title": "Jobs"}
    return {
        "type": "object",
        "title": "BatchRequest",
        "description": "Up to 1,000 jobs of any kinds, accepted together or not at all.",
        "properties": {"jobs": jobs},
        "required": ["jobs"],
        "additionalProperties": False,
    }


def _renamed(schemas: Schemas, names: Mapping[str, str]) -> Schemas:
    references = {_REFERENCE.format(model=old): _REFERENCE.format(model=new) for old, new in names.items()}

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: references.get(inner, inner) if key == "$ref" and isinstance(inner, str) else walk(inner)
                for key, inner in value.items()
            }
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    return {
        names.get(name, name): walk(schema) | ({"title": names[name]} if name in names else {})
        for name, schema in schemas.items()
    }

"""A request's body as drafts of jobs: validated against the kinds' contracts, not yet checked against the world."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from pydantic import ValidationError, create_model

from api.validation import faults_of, validated
from shared.contracts.common import Contract, JobKind
from shared.contracts.jobs import MAX_BATCH_JOBS, EnvelopeFields
from shared.errors import FieldFault, InvalidInput

MAX_BATCH_ENTRIES = 20_000
"""Pictures, texts, items and query parts of all jobs of one batch: each costs time to check, and somebody waits."""
_ENTRIES = ("images", "texts", "items", "query")

Kinds = Mapping[str, JobKind[Any, Any]]


@dataclass(slots=True)
class Draft:
    """A job to be. `raw` is the input as it was submitted, `input` the same by its contract."""

    kind: JobKind[Any, Any]
    envelope: EnvelopeFields
    input: Contract
    raw: dict[str, Any]
    place: str = ""
    """What its paths begin with: nothing, or `jobs.3.` in a batch."""
    files: list[str] = field(default_factory=list)

    def get(self, field: str) -> Any:
        """A field of the input; None where this kind has no such field."""
        return getattr(self.input, field) if field in self.kind.input.model_fields else None

    def path(self, inside: str) -> str:
        return f"{self.place}input.{inside}"


@cache
def request_model(kind: JobKind[Any, Any]) -> type[EnvelopeFields]:
    """The envelope with this kind's input in it, named `EmbedRequest` and so on."""
    return create_model(
        f"{kind.name.capitalize()}Request", __base__=EnvelopeFields, __doc__=kind.summary + ".", input=(kind.input, ...)
    )


def read_one(kind: JobKind[Any, Any], body: Any) -> Draft:
    """The body of `POST /v1/<kind>`. Raises InvalidInput with every fault."""
    request: Any = validated(request_model(kind), body)
    return Draft(kind, request, request.input, body["input"])


def read_batch(kinds: Kinds, body: Any) -> list[Draft]:
    """The body of `POST /v1/jobs/batch`. Raises InvalidInput with every fault of every job."""
    jobs = _jobs_of(body)
    _refuse_too_many_entries(jobs)
    drafts: list[Draft] = []
    faults: list[FieldFault] = []
    for index, entry in enumerate(jobs):
        place = f"jobs.{index}"
        kind = _kind_of(kinds, entry, place, faults)
        if kind is None:
            continue
        fields = {name: value for name, value in entry.items() if name != "kind"}
        try:
            request: Any = request_model(kind).model_validate(fields)
        except ValidationError as error:
            faults.extend(faults_of(error.errors(include_url=False, include_input=False), prefix=place))
        else:
            drafts.append(Draft(kind, request, request.input, entry["input"], f"{place}."))
    if faults:
        raise InvalidInput("The batch is not valid; nothing of it was accepted.", faults=tuple(faults))
    return drafts


def _jobs_of(body: Any) -> list[Any]:
    if not isinstance(body, dict):
        raise InvalidInput("The request is not valid.", faults=(FieldFault("", "must be an object with `jobs`"),))
    faults = [FieldFault(name, "is no known field") for name in body if name != "jobs"]
    jobs = body.get("jobs")
    if not isinstance(jobs, list) or not 1 <= len(jobs) <= MAX_BATCH_JOBS:
        faults.append(FieldFault("jobs", f"must be a list of 1 to {MAX_BATCH_JOBS} jobs"))
    if faults:
        raise InvalidInput("The request is not valid.", faults=tuple(faults))
    assert isinstance(jobs, list)
    return jobs


def _refuse_too_many_entries(jobs: list[Any]) -> None:
    inputs = [entry["input"] for entry in jobs if isinstance(entry, dict) and isinstance(entry.get("input"), dict)]
    entries = sum(len(input[name]) for input in inputs for name in _ENTRIES if isinstance(input.get(name), list))
    if entries > MAX_BATCH_ENTRIES:
        message = (
            f"hold {entries} images, texts, items and query parts in all; a batch may have {MAX_BATCH_ENTRIES}: send "
            "several"
        )
        raise InvalidInput("The request is not valid.", faults=(FieldFault("jobs", message),))


def _kind_of(kinds: Kinds, entry: Any, place: str, faults: list[FieldFault]) -> JobKind[Any, Any] | None:
    if not isinstance(entry, dict):
        faults.append(FieldFault(place, "must be an object with `kind` and `input`"))
        return None
    name = entry.get("kind")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        faults.append(FieldFault(f"{place}.kind", f"must be one of {', '.join(kinds)}"))
    return kind


def request_hash(drafts: list[Draft]) -> bytes:
    """The same for requests that ask for the same thing, however their JSON is laid out (SHA-256).

    Take it before inline pictures are replaced. Raises InvalidInput for what is nested too deeply.
    """
    content = [(draft.kind.name, draft.envelope.model_dump(exclude={"input"}), draft.raw) for draft in drafts]
    return hashlib.sha256(to_json(content, orjson.OPT_SORT_KEYS)).digest()


def to_json(value: Any, option: int | None = None) -> bytes:
    """Raises InvalidInput for what is nested deeper than orjson writes (about 250 levels)."""
    try:
        return orjson.dumps(value, option=option)
    except TypeError:
        raise InvalidInput("The input is nested too deeply.") from None

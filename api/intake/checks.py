"""Checks of a draft that need no other part of the system but the model registry: limits, models, filters, URLs."""

from collections.abc import Mapping
from typing import Any

import orjson

from api.intake.drafts import Draft
from api.intake.faults import Faults
from shared.contracts.index import MAX_PAYLOAD_BYTES
from shared.errors import ConfigurationError, Conflict, ErrorCode, InvalidInput, PermanentJobError
from shared.images.fetch import FetchPolicy, check_url
from shared.model_registry import ModelRegistry, ModelUnknown
from shared.roots import Roots
from shared.vectors import filters
from shared.vectors.payload_schema import check_payload

MAX_PAYLOAD_DEPTH = 64


def check_draft(draft: Draft, registry: ModelRegistry, policy: FetchPolicy, roots: Roots, faults: Faults) -> None:
    """Add what is wrong with a draft to `faults`; give it its kind's default model."""
    _check_timeout(draft, faults)
    _check_model(draft, registry, faults)
    _check_filter(draft, faults)
    _check_payloads(draft, faults)
    _check_directory(draft, roots, faults)
    for path, picture in draft.kind.pictures(draft.input):
        if picture.url is not None:
            try:
                check_url(picture.url, policy)
            except PermanentJobError as error:
                faults.add(draft.path(path), error.message, error.code)


def check_against_collection(draft: Draft, model: str, schema: Mapping[str, str] | None, faults: Faults) -> None:
    """Add what contradicts the collection that a draft names, as it is now; the worker looks again."""
    name, asked, raw = draft.get("collection"), draft.get("model"), draft.get("filter")
    if asked and asked != model:
        faults.conflict = Conflict(
            f"{draft.path('model')}: the collection {name!r} was made with the model {model!r}, not {asked!r}. Leave "
            "`model` out, or use another collection.",
            code=ErrorCode.MODEL_MISMATCH,
        )
    if raw is not None and schema is not None:
        told = {fault.path for fault in faults.found}  # what is wrong without any schema
        try:
            filters.parse(raw, draft.path("filter"), schema)
        except InvalidInput as error:
            faults.extend(fault for fault in error.faults if fault.path not in told)
    if schema is not None:
        for index, item in enumerate(draft.get("items") or ()):
            faults.extend(check_payload(item.payload, schema, draft.path(f"items.{index}.payload")))


def _check_timeout(draft: Draft, faults: Faults) -> None:
    seconds = draft.envelope.timeout_seconds
    if seconds is not None and seconds > draft.kind.max_timeout:
        message = f"must be at most {draft.kind.max_timeout:g} for {draft.kind.name} jobs"
        faults.add(f"{draft.place}timeout_seconds", message)


def _check_model(draft: Draft, registry: ModelRegistry, faults: Faults) -> None:
    alias = draft.get("model")
    if alias is None and not draft.kind.uses_model:
        return
    try:
        spec = registry.resolve(alias, draft.kind.name)
    except ModelUnknown as error:
        faults.add(draft.path("model"), error.message, ErrorCode.MODEL_UNKNOWN)
    except ConfigurationError:
        faults.add(draft.path("model"), f"is missing, and this stack has no default model for {draft.kind.name} jobs")
    else:
        if not spec.embeds:
            faults.add(draft.path("model"), f"{spec.alias} does not turn pictures into vectors; name another model")
        elif draft.kind.reads_text and not spec.reads_text:
            faults.add(draft.path("model"), f"{spec.alias} reads no text; name a model of the open_clip family")
        elif alias is None:
            draft.raw["model"] = spec.alias
            draft.input = draft.input.model_copy(update={"model": spec.alias})


def _check_filter(draft: Draft, faults: Faults) -> None:
    raw = draft.get("filter")
    if raw is None:
        return
    try:
        filters.parse(raw, draft.path("filter"))
    except InvalidInput as error:
        faults.extend(error.faults)


def _check_payloads(draft: Draft, faults: Faults) -> None:
    for index, item in enumerate(draft.get("items") or ()):
        if item.payload and (fault := payload_fault(item.payload)):
            faults.add(draft.path(f"items.{index}.payload"), fault)


def _check_directory(draft: Draft, roots: Roots, faults: Faults) -> None:
    directory = draft.get("directory")
    if directory is None:
        return
    try:
        roots.check(directory)
    except PermanentJobError as error:
        faults.add(draft.path("directory"), error.message, error.code)


def payload_fault(payload: Any) -> str | None:
    """What keeps a payload from being stored, if anything."""
    if _depth_over(payload, MAX_PAYLOAD_DEPTH):
        return f"must be nested at most {MAX_PAYLOAD_DEPTH} levels deep"
    if len(orjson.dumps(payload)) > MAX_PAYLOAD_BYTES:
        return f"must be at most {MAX_PAYLOAD_BYTES} bytes of JSON"
    return None


def _depth_over(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True

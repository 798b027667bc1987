"""From pydantic's errors to faults that name a path and what to change."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.errors import FieldFault, InvalidInput

_MESSAGES = {
    "extra_forbidden": "is no known field",
    "missing": "is missing",
    "recursion_depth_exceeded": "is nested too deeply",
    "finite_number": "must be a finite number",
}
_CLASS_NAME = re.compile(r" or instance of \w+")


def faults_of(errors: Sequence[Mapping[str, Any]], *, prefix: str = "", drop: int = 0) -> tuple[FieldFault, ...]:
    """One fault an error. `drop`: parts of the location to leave out (FastAPI puts `query` or `path` in front)."""
    return tuple(FieldFault(_path(prefix, error["loc"][drop:]), _message(error)) for error in errors)


def validated(model: type[BaseModel], value: Any, *, prefix: str = "") -> Any:
    """`value` as a `model`.

    Raises:
        InvalidInput: with every fault at once.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = faults_of(error.errors(include_url=False, include_context=False, include_input=False), prefix=prefix)
        raise InvalidInput("The request is not valid.", faults=faults) from None


def _path(prefix: str, location: Sequence[Any]) -> str:
    return ".".join([*([prefix] if prefix else []), *map(str, location)])


def _message(error: Mapping[str, Any]) -> str:
    message = _MESSAGES.get(error["type"]) or _CLASS_NAME.sub("", error["msg"])
    return message.removeprefix("Value error, ").replace("Input should be ", "must be ", 1)

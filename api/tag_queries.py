"""The parameters of `/v1/tags`, and where its pages ended."""

from datetime import datetime
from typing import Annotated, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NaiveDatetime,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from api import cursors
from shared.contracts.labels import Label
from shared.errors import FieldFault, InvalidInput
from shared.tags.filtering import TagFilter
from shared.tags.paging import Position, Sort

MAX_NAMED_TAGS = 50
MAX_PATH_CHARACTERS = 1_000
MAX_ROW_ID = 2**31 - 1


def _local(moment: datetime) -> datetime:
    if moment.tzinfo is not None:
        raise ValueError("is the camera's local time: give a date or a time without an offset, such as 2024-05-01")
    return moment


Tags = Annotated[list[Label], Field(max_length=MAX_NAMED_TAGS)]
LocalTime = Annotated[datetime, AfterValidator(_local)]


class TagsFilterQuery(BaseModel):
    """What pictures are narrowed to; everything given must hold."""

    model_config = ConfigDict(extra="forbid")

    all: Tags = Field([], description="Tags that a picture must have, each of them; repeat the parameter")
    any: Tags = Field([], description="Tags of which a picture must have at least one")
    none: Tags = Field([], description="Tags that a picture must not have")
    min_score: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="Least score of each of `all` and of at least one of `any`; of any tag where neither is given"
    )
    taken_after: LocalTime | None = Field(None, description="Local time, the bound included", examples=["2024-05-01"])
    taken_before: LocalTime | None = Field(None, description="Local time, the bound excluded", examples=["2024-06-01"])
    path: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATH_CHARACTERS)] | None = Field(
        None, description="The one picture of this path"
    )

    def filter(self, tenant: str) -> TagFilter:
        return TagFilter(
            tenant=tenant,
            all=tuple(self.all),
            any=tuple(self.any),
            none=tuple(self.none),
            min_score=self.min_score,
            taken_after=self.taken_after,
            taken_before=self.taken_before,
            path=self.path,
        )


class TagsQuery(TagsFilterQuery):
    sort: Sort = Field(
        "-score",
        description="By the score of the best of the tags named in `all` and `any` (of the best tag where none is), by "
        "when it was taken, or by path. A minus begins with the highest; pictures without a score or a date come last",
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: str | None = None


class StatisticsQuery(TagsFilterQuery):
    limit: Annotated[int, Field(ge=1, le=1000, description="Tags to list, the most frequent ones")] = 100
    tag: Label | None = Field(None, description="Count months of pictures with this tag only")


class ExportQuery(TagsFilterQuery):
    format: Literal["csv", "jsonl"] = "csv"


_RowId = Annotated[int, Field(ge=0, le=MAX_ROW_ID)]
_ENDS: dict[str, TypeAdapter[tuple[str, float | datetime | str | None, int]]] = {
    "score": TypeAdapter(tuple[str, float | None, _RowId]),
    "taken": TypeAdapter(tuple[str, NaiveDatetime | None, _RowId]),
    "path": TypeAdapter(tuple[str, str, _RowId]),
}


def cursor_of(sort: Sort, position: Position) -> str:
    return cursors.of_text(orjson.dumps([sort, position.key, position.id]).decode())


def position_of(cursor: str, sort: Sort) -> Position:
    """Where `cursor_of` was. Raises InvalidInput for anything else, and for a cursor of another order."""
    try:
        made_for, key, id = _ENDS[sort.lstrip("-")].validate_json(cursors.to_text(cursor))
    except ValidationError:
        raise _foreign(sort) from None
    if made_for != sort or (isinstance(key, str) and "\0" in key):
        raise _foreign(sort)
    return Position(key, id)


def _foreign(sort: Sort) -> InvalidInput:
    message = f"is none that a list sorted by {sort} answered with; leave it out to begin anew"
    return InvalidInput("The request is not valid.", faults=(FieldFault("cursor", message),))

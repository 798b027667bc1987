"""Tags by hand: kept beside what the model finds, so that tagging a picture again changes neither."""

from collections.abc import Sequence

from shared.database.asynchronous import Connection
from shared.errors import FieldFault, InvalidInput
from shared.tags.paging import COLUMNS, TaggedRow, from_row

MAX_ADDED = 100
"""Tags that a picture may be given by hand."""
MAX_REMOVED = 1_000
"""Tags that may be kept away from a picture by hand."""


def _less(array: str, without: str) -> str:
    """Each text of an array once, in its first place, but for those of another array."""
    return f"""ARRAY(
      SELECT tag FROM unnest({array}) WITH ORDINALITY AS entry(tag, place)
      WHERE tag <> ALL ({without}) GROUP BY tag ORDER BY min(place)
    )"""


_ADDED = _less("added_tags || $3::text[]", "$4::text[]")
_REMOVED = _less("removed_tags || $4::text[]", "$3::text[]")
_ADDED_FITS = f"(cardinality($3::text[]) = 0 OR cardinality({_ADDED}) <= {MAX_ADDED})"
_REMOVED_FITS = f"(cardinality($4::text[]) = 0 OR cardinality({_REMOVED}) <= {MAX_REMOVED})"
# One statement: an edit that waits for another one is computed anew from what that one left.
EDIT = f"""
UPDATE tagged_images SET added_tags = {_ADDED}, removed_tags = {_REMOVED}, updated_at = now()
WHERE id = $1 AND tenant = $2 AND {_ADDED_FITS} AND {_REMOVED_FITS}
RETURNING {COLUMNS}
"""
_FITS = f"SELECT {_ADDED_FITS} AS added, {_REMOVED_FITS} AS removed FROM tagged_images WHERE id = $1 AND tenant = $2"
_DELETE = "DELETE FROM tagged_images WHERE id = $1 AND tenant = $2 RETURNING id"


async def edit(
    connection: Connection, tenant: str, id: int, *, add: Sequence[str], remove: Sequence[str]
) -> TaggedRow | None:
    """Give a picture tags and take others away, for good. What is added counts as removed no more, and the reverse.
    No tag may be in both. None when the tenant has no such picture.

    Raises:
        InvalidInput: it would have more tags by hand than MAX_ADDED, or more kept away than MAX_REMOVED.
    """
    arguments = (id, tenant, list(add), list(remove))
    row = await connection.fetchrow(EDIT, *arguments)
    if row is not None:
        return from_row(row)
    fits = await connection.fetchrow(_FITS, *arguments)
    if fits is None:
        return None
    faults = []
    if not fits["added"]:
        faults.append(FieldFault("add", f"would give this picture more than {MAX_ADDED} tags by hand; remove some"))
    if not fits["removed"]:
        faults.append(FieldFault("remove", f"would keep more than {MAX_REMOVED:,} tags away from this picture"))
    if not faults:  # another edit made room between the two statements
        return await edit(connection, tenant, id, add=add, remove=remove)
    raise InvalidInput("The request is not valid.", faults=tuple(faults))


async def delete(connection: Connection, tenant: str, id: int) -> bool:
    """Forget a picture with its tags, those by hand included; whether it was there."""
    return await connection.fetchrow(_DELETE, id, tenant) is not None

"""Label sets that inputs name: their labels and templates take the name's place, so that a job shows what it uses."""

from collections.abc import Sequence

from pydantic import ValidationError

from api.intake.aside import Aside
from api.intake.drafts import Draft
from api.intake.faults import Faults
from api.validation import faults_of
from shared import label_sets
from shared.database.asynchronous import Database
from shared.label_sets import LabelSetRow

MAX_ADDED_CHARACTERS = 4_000_000
"""What sets may add to the inputs of one batch, together: a name of a few characters can stand for 250,000."""
_PUNCTUATION = 3
"""Characters of JSON that come with each text."""


async def resolve(database: Database, tenant: str, drafts: Sequence[Draft], faults: Faults, aside: Aside) -> None:
    """Put labels where drafts name a set of the tenant's. Templates of the input's own stand. Faults go to `faults`."""
    found: dict[str, LabelSetRow | None] = {}
    resolved: list[tuple[Draft, LabelSetRow]] = []
    added = 0
    for draft in drafts:
        name = draft.get("label_set")
        if name is None:
            continue
        if name not in found:
            found[name] = await label_sets.find(database, tenant, name)
        row = found[name]
        if row is None:
            message = f"there is no label set {name!r}; make it with PUT /v1/label-sets/{name}, or give labels"
            faults.add(draft.path("label_set"), message)
            continue
        added += _characters(row)
        if added > MAX_ADDED_CHARACTERS:
            message = (
                f"makes more than {MAX_ADDED_CHARACTERS:,} characters of labels in this batch; send several batches"
            )
            faults.add(draft.path("label_set"), message)
            return
        resolved.append((draft, row))
    await aside.run(added, lambda: _put_all(resolved, faults))


def _characters(row: LabelSetRow) -> int:
    return sum(len(text) + _PUNCTUATION for texts in (row.labels, row.templates) for text in texts)


def _put_all(resolved: Sequence[tuple[Draft, LabelSetRow]], faults: Faults) -> None:
    for draft, row in resolved:
        _put(draft, row, faults)


def _put(draft: Draft, row: LabelSetRow, faults: Faults) -> None:
    raw = {field: value for field, value in draft.raw.items() if field != "label_set"}
    raw = {"template": row.templates, **raw, "labels": row.labels}
    try:
        draft.input = draft.kind.input.model_validate(raw)
    except ValidationError as error:  # top_k over the number of labels, say
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        faults.extend(faults_of(wrong, prefix=f"{draft.place}input"))
    else:
        draft.raw = raw

"""Which of many copies a store answers with."""

from collections.abc import Collection, Iterable

from shared.vectors.protocol import Copy


def few_of(copies: Iterable[Copy], apart: Collection[str]) -> list[Copy]:
    """Of those with the same two hashes the first by id, and each of `apart`; by id. Holds no more than it answers."""
    kept: dict[tuple[str, str, str | None], Copy] = {}
    for copy in copies:
        key = (copy.file_hash, copy.pixel_hash, copy.id if copy.id in apart else None)
        if key not in kept or copy.id < kept[key].id:
            kept[key] = copy
    return sorted(kept.values(), key=lambda copy: copy.id)

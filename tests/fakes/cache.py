"""A cache in memory that tells what it was asked."""

from collections.abc import Mapping, Sequence


class MemoryCache:
    """An `EntryCache` that forgets nothing by itself."""

    enabled = True

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.asked: list[list[str]] = []

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        self.asked.append(list(keys))
        return [self.entries.get(key) for key in keys]

    def put_many(self, entries: Mapping[str, bytes]) -> None:
        self.entries |= entries

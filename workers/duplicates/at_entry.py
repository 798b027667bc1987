"""Exact copies among the items that a job indexes, and of what their collection holds already."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from shared.images.fingerprint import Fingerprint
from shared.vectors.protocol import CollectionRef, Copy, VectorStore

Mark = tuple[str, str]
"""What two copies share: ("file", its hash) or ("pixels", its hash)."""


class EntryCheck:
    """The copies that one job's items are.

    What it finds does not depend on the order in which pictures arrive: an item is a copy of one that the collection
    holds, else of one that stands before it in the job. Items that this job writes anew do not count by the picture
    that the collection has of them.
    """

    def __init__(self, vectors: VectorStore, collection: CollectionRef, ids: Sequence[str]) -> None:
        """`ids`: the job's items, in their order."""
        self._vectors = vectors
        self._collection = collection
        self._ids = ids
        self._own = set(ids)
        self._seen: dict[str, Fingerprint] = {}
        self._looked_up: set[Mark] = set()
        self._stored: dict[Mark, set[str]] = defaultdict(set)
        """The first item with each mark, and beside it the job's own."""

    def add(self, fingerprints: Mapping[str, Fingerprint]) -> None:
        """Items of the job by id. Asks the store what it has of each picture, once a picture."""
        self._seen.update(fingerprints)
        unknown = [one for one in fingerprints.values() if not self._looked_up.issuperset(_marks(one))]
        if not unknown:
            return
        for copy in self._vectors.copies(self._collection, unknown, apart=self._own):
            for mark in _marks(copy):
                self._stored[mark].add(copy.id)
        self._looked_up.update(mark for one in unknown for mark in _marks(one))

    def stored_copy_of(self, id: str, *, failed: Collection[str] = ()) -> str | None:
        """The first item that the collection holds, and this job does not write, of the same picture."""
        held = {
            other
            for mark in _marks(self._seen[id])
            for other in self._stored.get(mark, ())
            if other not in self._own or other in failed
        }
        return min(held - {id}, default=None)

    def copies(self, *, unchanged: Collection[str], failed: Collection[str]) -> dict[str, str]:
        """Which item of the job is a copy of which other item, once every one has come through.

        Args:
            unchanged: the job's items that the collection holds as they are. They count as the earlier ones.
            failed: those that have no picture in this job: the collection may hold an older one.
        """
        if unchanged:
            stored = self._vectors.get(self._collection, unchanged)
            self.add({id: point.fingerprint for id, point in stored.items() if point.fingerprint is not None})
        first: dict[Mark, str] = {}
        found: dict[str, str] = {}
        known = [id for id in self._ids if id in self._seen]
        for id in sorted(known, key=lambda id: id not in unchanged):
            marks = _marks(self._seen[id])
            earlier = next((first[mark] for mark in marks if mark in first), None)
            original = self.stored_copy_of(id, failed=failed) or earlier
            if original is not None:
                found[id] = original
            for mark in marks:
                first.setdefault(mark, original or id)
        return found


def _marks(fingerprint: Fingerprint | Copy) -> tuple[Mark, Mark]:
    return ("file", fingerprint.file_hash), ("pixels", fingerprint.pixel_hash)

"""The one list of kinds. Adding a kind adds a line here (`docs/adding-a-job-kind.md`)."""

from typing import Any

from shared.contracts.common import JobKind
from shared.contracts.deduplicate import DEDUPLICATE
from shared.contracts.delete_collection import DELETE_COLLECTION
from shared.contracts.embed import EMBED
from shared.contracts.index import INDEX
from shared.contracts.noop import NOOP
from shared.contracts.reembed import REEMBED
from shared.contracts.search import SEARCH
from shared.contracts.tag import TAG

_ALL: tuple[JobKind[Any, Any], ...] = (
    EMBED,
    INDEX,
    SEARCH,
    TAG,
    DEDUPLICATE,
    NOOP,
    DELETE_COLLECTION,
    REEMBED,
)
KINDS: dict[str, JobKind[Any, Any]] = {kind.name: kind for kind in _ALL}
QUEUES: tuple[str, ...] = tuple(sorted({queue for kind in KINDS.values() for queue in kind.queues}))


def enabled_kinds(*, noop: bool) -> dict[str, JobKind[Any, Any]]:
    """Kinds that a stack runs: all, less `noop` where it is switched off."""
    return {name: kind for name, kind in KINDS.items() if noop or name != NOOP.name}


def offered_kinds(*, noop: bool) -> dict[str, JobKind[Any, Any]]:
    """Kinds that clients may submit by name: those that are enabled, less internal ones."""
    return {name: kind for name, kind in enabled_kinds(noop=noop).items() if not kind.internal}


def kinds_of(queue: str) -> list[JobKind[Any, Any]]:
    return [kind for kind in KINDS.values() if queue in kind.queues]

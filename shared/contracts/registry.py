"""The one list of kinds. Adding a kind adds a line here (`docs/adding-a-job-kind.md`)."""

from typing import Any

from shared.contracts.common import JobKind
from shared.contracts.embed import EMBED
from shared.contracts.index import INDEX
from shared.contracts.noop import NOOP
from shared.contracts.search import SEARCH

KINDS: dict[str, JobKind[Any, Any]] = {kind.name: kind for kind in (EMBED, INDEX, SEARCH, NOOP)}
QUEUES: tuple[str, ...] = tuple(sorted({queue for kind in KINDS.values() for queue in kind.queues}))


def enabled_kinds(*, noop: bool) -> dict[str, JobKind[Any, Any]]:
    """Kinds that a stack accepts: all, less `noop` where it is switched off."""
    return {name: kind for name, kind in KINDS.items() if noop or name != NOOP.name}


def kinds_of(queue: str) -> list[JobKind[Any, Any]]:
    return [kind for kind in KINDS.values() if queue in kind.queues]

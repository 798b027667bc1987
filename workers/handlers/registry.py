"""Which function handles which kind. The modules are imported when their first job comes."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import cast

from workers.executor import Handler

MODULES = {
    "embed": "workers.handlers.embed",
    "index": "workers.handlers.index",
    "search": "workers.handlers.search",
    "tag": "workers.handlers.tag",
    "deduplicate": "workers.handlers.deduplicate",
    "noop": "workers.handlers.noop",
    "delete_collection": "workers.handlers.delete_collection",
    "reembed": "workers.handlers.reembed",
}


class Handlers(Mapping[str, Handler]):
    """Handlers by kind; a worker of one queue never loads the libraries of another."""

    def __getitem__(self, kind: str) -> Handler:
        return cast(Handler, import_module(MODULES[kind]).handle)

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)

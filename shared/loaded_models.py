"""Which weights stand behind an alias: what a model's embeddings, and results made from them, depend on.

An alias may come to mean other weights: another entry of `models.toml`, or other files in its folder. What is kept of
the old ones must not be found then. The entry is read by every process; the files are only where workers are. So the
worker that loads a model looks at its files and writes what it saw into the table `loaded_models` before anybody can
get an answer from it, and the API reads it there.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg

from shared.model_registry import LOCAL, ModelSpec

Connection = psycopg.Connection[Any]

_NOTE = """
INSERT INTO loaded_models (alias, weights) VALUES (%s, %s)
ON CONFLICT (alias) DO UPDATE SET weights = excluded.weights, loaded_at = now()
"""


def entry_of(spec: ModelSpec) -> str:
    """What an entry of `models.toml` says of the vectors: equal in all processes that read the same file, wherever
    that lies on their machines.
    """
    source = spec.source if spec.folder is None else f"{LOCAL}{spec.folder.name}"
    facts = [spec.alias, spec.family, source, spec.revision, spec.dimension, spec.image_size, spec.dtype]
    return _hash(facts)


def weights_of(spec: ModelSpec) -> str:
    """What the model's files look like at this moment, by name, size and time of change, as all the bytes of large
    weights would take seconds to read. A hub's are told by their source and revision alone: name a commit there.
    """
    files = sorted(_files(spec.folder)) if spec.folder is not None else []
    return _hash([entry_of(spec), files])


def note(connection: Connection, alias: str, weights: str) -> None:
    """Write down which weights are about to be used for a model; what was made with others is not found any more."""
    connection.execute(_NOTE, (alias, weights))


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """(name, bytes, nanoseconds) of each file; none where the folder cannot be read, and the model not be loaded."""
    try:
        for path in folder.rglob("*"):
            if path.is_file():
                found = path.stat()
                yield str(path.relative_to(folder)), found.st_size, found.st_mtime_ns
    except OSError:
        return


def _hash(facts: list[Any]) -> str:
    return hashlib.blake2b(orjson.dumps(facts), digest_size=16).hexdigest()

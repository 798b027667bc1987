"""How an item lies in Qdrant, and how it is read back.

A point's id is uuid5(collection, item id), since Qdrant takes no text; the item's own id and payload lie inside the
point's payload. The version is kept in two halves: Qdrant compares numbers as doubles, which tell 60-bit integers apart
only so far. A deleted item is a point without a vector, so no search finds it.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from qdrant_client import models

from shared.images.fingerprint import Fingerprint
from shared.vectors.filter_nodes import Filter
from shared.vectors.filter_qdrant import compile_qdrant, key_of
from shared.vectors.protocol import CollectionRef, Copy, Hit, Point, StoredPoint, Vector
from shared.vectors.words import words

VECTOR = "image"
HALF = 2**30
LIVE: list[models.Condition] = [models.FieldCondition(key="deleted", match=models.MatchValue(value=True))]
"""What must not hold for an item to be there."""
WORDS = "words"
FILE_HASH, PIXEL_HASH = "fingerprint.file_hash", "fingerprint.pixel_hash"
INDEXES = {
    "deleted": models.PayloadSchemaType.BOOL,
    WORDS: models.PayloadSchemaType.KEYWORD,
    FILE_HASH: models.PayloadSchemaType.KEYWORD,
    PIXEL_HASH: models.PayloadSchemaType.KEYWORD,
}
"""The payload indexes of every collection, by key."""
OF_TYPE = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.FLOAT,
    "boolean": models.PayloadSchemaType.BOOL,
    "datetime": models.PayloadSchemaType.DATETIME,
}
"""The index of a field, by the field's type. Filters ask for numbers by ranges, whole ones too."""


def point_id(collection: CollectionRef, id: str) -> str:
    """The id of an item's point."""
    return str(uuid.uuid5(collection.id, id))


def to_qdrant(collection: CollectionRef, point: Point) -> models.PointStruct:
    """The point to store for an item."""
    payload = {
        "id": point.id,
        "hash": point.content_hash,
        "image": point.image,
        "fingerprint": point.fingerprint and point.fingerprint.to_json(),
    }
    return models.PointStruct(
        id=point_id(collection, point.id),
        vector={VECTOR: point.vector.tolist()},
        payload=payload | content_fields(point.payload, point.text) | version_fields(point.version),
    )


def payload_indexes(schema: Mapping[str, str]) -> dict[str, models.PayloadSchemaType]:
    """The payload indexes of declared fields, by key."""
    return {key_of(("payload", *field.split("."))): OF_TYPE[type] for field, type in schema.items()}


def content_fields(payload: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """What an item's submitter says of it, and the words that its text is found by."""
    return {"payload": dict(payload), "text": text, WORDS: None if text is None else words(text)}


def deleted(collection: CollectionRef, id: str, version: int) -> models.PointStruct:
    """The mark that a deleted item leaves."""
    payload = {"id": id, "deleted": True} | version_fields(version)
    return models.PointStruct(id=point_id(collection, id), vector={}, payload=payload)


def version_fields(version: int) -> dict[str, int]:
    """A version in two halves that a double holds exactly."""
    high, low = divmod(version, HALF)
    return {"high": high, "low": low}


def exactly(version: int) -> models.Filter:
    """Points of this version."""
    fields = version_fields(version).items()
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in fields]
    )


def not_above(version: int) -> models.Filter:
    """Points whose version is at most `version`."""
    high, low = divmod(version, HALF)
    same_high = models.FieldCondition(key="high", match=models.MatchValue(value=high))
    return models.Filter(
        should=[
            models.FieldCondition(key="high", range=models.Range(lt=high)),
            models.Filter(must=[same_high, models.FieldCondition(key="low", range=models.Range(lte=low))]),
        ]
    )


def live(filter: Filter | None, *others: models.Condition) -> models.Filter:
    """Items that are there, match the filter, and satisfy the other conditions."""
    wanted = [] if filter is None else [compile_qdrant(filter, ("payload",))]
    return models.Filter(must=[*wanted, *others], must_not=LIVE)


def with_word(word: str) -> models.FieldCondition:
    """Items whose text has the word."""
    return models.FieldCondition(key=WORDS, match=models.MatchValue(value=word))


def copies_of(fingerprints: Iterable[Fingerprint]) -> models.Filter:
    """Items of the same file or the same pixels as one of these."""
    hashes = [(each.file_hash, each.pixel_hash) for each in fingerprints]
    by_key = {FILE_HASH: sorted({file for file, _ in hashes}), PIXEL_HASH: sorted({pixels for _, pixels in hashes})}
    return models.Filter(
        should=[models.FieldCondition(key=key, match=models.MatchAny(any=values)) for key, values in by_key.items()]
    )


def to_stored(record: models.Record) -> StoredPoint:
    """An item as it is stored."""
    payload: dict[str, Any] = record.payload or {}
    return StoredPoint(
        payload["id"],
        payload.get("payload") or {},
        payload.get("text"),
        payload.get("hash"),
        payload["high"] * HALF + payload["low"],
        _vector(record.vector),
        payload.get("image"),
        Fingerprint.from_json(payload["fingerprint"]) if payload.get("fingerprint") else None,
    )


def to_copy(record: models.Record) -> Copy:
    """An item that has a fingerprint, by its exact hashes."""
    payload: dict[str, Any] = record.payload or {}
    fingerprint = payload["fingerprint"]
    return Copy(payload["id"], fingerprint["file_hash"], fingerprint["pixel_hash"])


def to_hit(scored: models.ScoredPoint) -> Hit:
    """A found item. Scores are rounded to 6 digits: a single float's error must not order equal vectors."""
    payload: dict[str, Any] = scored.payload or {}
    return Hit(
        payload["id"],
        round(scored.score, 6),
        payload.get("payload") or {},
        payload.get("text"),
        _vector(scored.vector),
    )


def is_deleted(record: models.Record) -> bool:
    """Whether a point only marks a delete."""
    return bool((record.payload or {}).get("deleted"))


def _vector(vectors: Any) -> Vector | None:
    if not isinstance(vectors, dict) or VECTOR not in vectors:
        return None
    return np.asarray(vectors[VECTOR], dtype=np.float32)

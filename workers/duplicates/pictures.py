"""What is known of a picture that is compared with others, as small as it can be kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from shared.images.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True)
class Candidate:
    """A picture by its fingerprint: some 400 bytes."""

    id: str
    file_hash: bytes
    pixel_hash: bytes
    perceptual: int
    """pHash, 64 bits."""
    difference: int
    """dHash, 64 bits."""
    detail: int
    width: int
    height: int
    size: int
    taken_at: str | None

    @classmethod
    def of(cls, id: str, fingerprint: Fingerprint) -> Self:
        return cls(
            id=id,
            file_hash=bytes.fromhex(fingerprint.file_hash),
            pixel_hash=bytes.fromhex(fingerprint.pixel_hash),
            perceptual=int(fingerprint.perceptual_hash, 16),
            difference=int(fingerprint.difference_hash, 16),
            detail=fingerprint.detail,
            width=fingerprint.width,
            height=fingerprint.height,
            size=fingerprint.size,
            taken_at=fingerprint.taken_at,
        )


def keeper_of(pictures: Sequence[Candidate], group: Sequence[int]) -> int:
    """The one of a group to keep: the most pixels, then the most bytes, then the oldest, then the first id."""
    return min(group, key=lambda index: _rank(pictures[index]))


def _rank(picture: Candidate) -> tuple[int, int, bool, datetime, str]:
    return (
        -picture.width * picture.height,
        -picture.size,
        picture.taken_at is None,
        _moment(picture.taken_at),
        picture.id,
    )


def _moment(text: str | None) -> datetime:
    """A camera's own clock counts as UTC: something has to be assumed for it to be compared."""
    if text is None:
        return datetime.max.replace(tzinfo=UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""What tells copies of a picture: hashes of its file, of its pixels, and of what it looks like."""

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hashes of one picture, in hex digits. Kept with an item, so that copies are found without the picture."""

    file_hash: str
    """SHA-256 of the file's bytes (64 digits)."""
    pixel_hash: str
    """SHA-256 of the decoded pixels with their mode and size (64 digits). Of a large JPEG that was decoded at a reduced
    scale: of the reduced pixels."""
    perceptual_hash: str
    """pHash: 64 bits (16 digits)."""
    difference_hash: str
    """dHash: 64 bits (16 digits)."""
    width: int
    """Pixels, as the file declares them."""
    height: int
    size: int
    """Bytes of the file."""
    taken_at: str | None = None
    """EXIF `DateTimeOriginal` as ISO 8601."""
    detail: int = 64
    """How many of the 64 bits of the pHash stand out of noise; next to none in a blank picture."""

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        return cls(**value)

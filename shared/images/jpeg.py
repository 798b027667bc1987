"""How many scans a JPEG holds, counted without decoding it."""

import re

_SCAN = b"\xff\xda"
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_END = 0xD9
_START_OF_SCAN = 0xDA
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and the restart markers carry no length


def scans_exceed(data: bytes, limit: int) -> bool:
    """Whether a JPEG has more than `limit` scans.

    Each scan of a progressive JPEG visits every pixel, however few bytes it takes, so their number bounds the work:
    a 2 MB file of 39 megapixels with 25,000 scans decodes for minutes inside any limit of pixels.
    """
    # Every scan shows as these two bytes, so few of them settle it; a preview or a film behind the picture may hold
    # more of them, so many of them are counted by walking the markers.
    if data.count(_SCAN) <= limit:
        return False
    return _walk(data, limit) > limit


def _walk(data: bytes, limit: int) -> int:
    """Count scans marker by marker, up to the picture's end, as the decoder reads them (ITU T.81, annex B)."""
    scans, position = 0, 2
    while scans <= limit:
        found = _NEXT_MARKER.search(data, position)
        if found is None or found[1][0] == _END:
            break
        position = found.end()
        marker = found[1][0]
        if marker in _BARE:
            continue
        scans += marker == _START_OF_SCAN
        position += max(2, int.from_bytes(data[position : position + 2], "big"))
    return scans

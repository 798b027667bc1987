"""JSON merge patches (RFC 7396)."""

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """`target` after `patch` (section 2): null takes a member away, an object goes into the one that is there, and
    anything else takes its place. Neither is changed. Recursive: the caller limits how deep a patch may be.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result

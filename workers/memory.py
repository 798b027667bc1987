"""The C allocator of a worker process: glibc keeps much of what is freed, more so the more threads there are."""

import ctypes
import gc
import sys

_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2
"""One for the model's thread and one for those that decode, instead of one for each of them."""


def use_few_arenas() -> None:
    """Call it before the process starts threads. Does nothing where the allocator is another one."""
    if libc := _glibc():
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return what is free to the system: worth its few milliseconds after a model was loaded or dropped."""
    gc.collect()
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None

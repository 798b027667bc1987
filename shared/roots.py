"""Named roots: folders of the worker's machine that jobs may read. A request names a root and folders below it
(`photos/2024/summer`), never a path of the machine; no link leads out of a root.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import ErrorCode, PermanentJobError

TENANT: Final = "{tenant}"
"""In a root's folder: replaced by the caller's tenant, so that each has a folder of its own."""
MAX_PATH_CHARACTERS = 1_000
"""Of a file's name from its root's name on; what `tagged_images.image_path` holds."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_roots(folders: Mapping[str, str]) -> dict[str, str]:
    """The setting IMAGE_ROOTS, checked. Raises ValueError naming the root and the fix."""
    for name, folder in folders.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a root; use 1 to 64 letters, digits or . _ -")
        if not Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise ValueError(f"the folder of {name!r} is {folder!r}; give an absolute path without ..")
    return dict(folders)


def check_directory(directory: str) -> str:
    """A directory as requests name it: a root, then folders. Returns it without a trailing slash.

    Raises ValueError for what might be meant as a path of the machine, or to lead out of the root.
    """
    if "\\" in directory or "\0" in directory:
        raise ValueError("must not hold a backslash or a NUL; folders are set apart by /")
    if directory.startswith("/"):
        raise ValueError("must not be an absolute path; begin with the name of a root, such as photos/2024")
    parts = directory.removesuffix("/").split("/")
    if ".." in parts:
        raise ValueError("must not hold ..; name the folder itself")
    if "" in parts or "." in parts:
        raise ValueError("must be the name of a root, then folders, such as photos/2024")
    return "/".join(parts)


@dataclass(frozen=True)
class Directory:
    """A directory that a job may read, as it lies on this machine."""

    root: Path
    """The root itself, resolved: nothing outside of it is read."""
    folder: Path
    """Resolved; the root or below it."""
    source: str
    """What names of files in it begin with, such as `photos/2024`."""


class Roots:
    """The roots of this stack."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = dict(folders)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._folders))

    def check(self, directory: str) -> None:
        """Raises PermanentJobError (`invalid_input`) unless `directory` begins with a known root. Reads no disk."""
        name = directory.partition("/")[0]
        if name not in self._folders:
            known = ", ".join(self.names) or "none; the operator names them in DARKROOM_IMAGE_ROOTS"
            raise PermanentJobError(ErrorCode.INVALID_INPUT, f"there is no root {name!r}. Known roots: {known}")

    def open(self, tenant: str, directory: str) -> Directory:
        """The directory that `directory` names for this tenant.

        Raises:
            PermanentJobError: `invalid_input`: unknown root, no such folder, it leads out of its root, or by a link
                to a name that is not UTF-8.
        """
        self.check(directory)
        name, *below = check_directory(directory).split("/")
        base = self._folders[name]
        if TENANT in base and not _NAME.fullmatch(tenant):
            raise _refusal(f"the tenant {tenant!r} can have no folder of its own in the root {name!r}")
        root = _resolved(Path(base.replace(TENANT, tenant)), name)
        folder = _resolved(root.joinpath(*below), directory)
        if not folder.is_relative_to(root):
            raise _refusal(f"the folder {directory!r} leads out of its root by a link")
        if not folder.is_dir():
            raise _refusal(f"{directory!r} is no folder; name the folder that the pictures are in")
        return Directory(root, folder, _source(name, folder.relative_to(root)))


def _resolved(path: Path, named: str) -> Path:
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, UnicodeEncodeError) as error:  # RuntimeError: a loop of links
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it cannot be opened"
        raise _refusal(f"the folder {named!r} cannot be read on the worker's machine: {reason}") from error


def _source(name: str, below: Path) -> str:
    source = "/".join([name, *below.parts])
    try:
        source.encode()
    except UnicodeEncodeError:  # a link led there: requests cannot name it
        raise _refusal("the folder is a link to one whose name is not UTF-8; rename that one") from None
    return source


def _refusal(message: str) -> PermanentJobError:
    return PermanentJobError(ErrorCode.INVALID_INPUT, f"input.directory: {message}.")

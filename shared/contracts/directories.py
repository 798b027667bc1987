"""Directories of pictures in an input: the same fields, with the same rules, for every kind that reads one."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from shared.roots import MAX_PATH_CHARACTERS, check_directory

DEFAULT_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")

DirectoryName = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_PATH_CHARACTERS), AfterValidator(check_directory)
]
"""A named root, then folders: `photos` or `photos/2024/summer`."""
Extension = Annotated[str, StringConstraints(pattern=r"^\.[A-Za-z0-9]{1,16}$", to_lower=True)]
Extensions = Annotated[list[Extension], Field(min_length=1, max_length=32)]
"""Endings of the files to read, whatever their case."""

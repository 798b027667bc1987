"""What `models.toml` says: the models a stack offers, by alias. Torch-free, so that the API can read it too.

Nothing is loaded here: an entry may name a model that is still on a hub. `workers/runtimes/load.py` turns a
`ModelSpec` into a runtime when a job first asks for it.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from shared.errors import ConfigurationError, ErrorCode, FieldFault, InvalidInput, PermanentJobError

Family = Literal["open_clip", "timm", "diffusers"]
Dtype = Literal["auto", "fp32", "bf16", "fp16"]

HUB = "hf-hub:"
LOCAL = "local-dir:"
_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FIXES = {
    "family": 'Write one of "open_clip", "timm" or "diffusers".',
    "source": (
        'Write "name/weights" (open_clip), a model name (timm), "hf-hub:owner/name", or "local-dir:folder" relative '
        "to the folder of models.toml."
    ),
    "revision": "Write a branch, tag or commit of the hub repository, or leave it out.",
    "dtype": 'Write one of "auto", "fp32", "bf16" or "fp16", or leave it out.',
    "default_for": 'Write a list of job kinds, e.g. ["embed", "index"].',
    "dimension": "Write the length of the model's vectors, a whole number above 0.",
    "image_size": "Write the side in pixels of the picture that the model reads, a whole number above 0.",
    "memory_bytes": "Write an estimate of what the loaded model takes, in bytes, a whole number above 0.",
}


class ModelUnknown(PermanentJobError, InvalidInput):
    """No model has this alias: a refused request where the API finds it, a failed job where a worker does."""

    code: ErrorCode

    def __init__(self, alias: str, known: tuple[str, ...]) -> None:
        listed = ", ".join(known) or "none"
        message = f"There is no model {alias!r}. Known models: {listed}. Name one of them or add it to models.toml."
        super().__init__(ErrorCode.MODEL_UNKNOWN, message)
        self.alias = alias
        self.known = known
        self.faults = (FieldFault("input.model", message),)


class ModelSpec(BaseModel):
    """One entry of `models.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    alias: str
    family: Family
    source: Annotated[str, StringConstraints(min_length=1)]
    """`name/weights`, `hf-hub:owner/name`, or `local-dir:/absolute/folder` once loaded."""
    revision: str | None = None
    dtype: Dtype = "auto"
    """`auto` follows the worker's setting."""
    default_for: tuple[str, ...] = ()
    """Job kinds that use this model when they name none."""
    dimension: int | None = Field(default=None, gt=0)
    """Length of the vectors; None for a family that makes none."""
    image_size: int = Field(gt=0)
    """Side in pixels of the picture that the model reads or makes."""
    memory_bytes: int = Field(gt=0)
    """Estimate of the loaded weights at the model's usual precision."""
    description: str = ""
    licence: str = ""

    @field_validator("default_for", mode="before")
    @classmethod
    def _list_to_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def embeds(self) -> bool:
        """Whether the model turns pictures into vectors."""
        return self.family in ("open_clip", "timm")

    @property
    def reads_text(self) -> bool:
        """Whether the model places texts and pictures in one space."""
        return self.family == "open_clip"

    @property
    def folder(self) -> Path | None:
        """The local folder of a `local-dir:` source, else None."""
        return Path(self.source.removeprefix(LOCAL)) if self.source.startswith(LOCAL) else None


class ModelRegistry:
    """Every model of one `models.toml`, by alias, in the file's order."""

    def __init__(self, specs: tuple[ModelSpec, ...]) -> None:
        self._specs = {spec.alias: spec for spec in specs}
        self._defaults = {kind: spec for spec in specs for kind in spec.default_for}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check `path`.

        Raises:
            ConfigurationError: the file is missing or not TOML, or an entry is wrong; names alias, key and fix.
        """
        entries = _read(path).get("models", {})
        if not isinstance(entries, dict) or not entries:
            raise ConfigurationError(f"{path} names no model. Add a table such as [models.starter-clip].")
        specs = tuple(_spec(path, alias, entry) for alias, entry in entries.items())
        _check_defaults(path, specs)
        return cls(specs)

    def get(self, alias: str) -> ModelSpec:
        """The model with this alias. Raises `ModelUnknown`, which lists the known ones."""
        if (spec := self._specs.get(alias)) is None:
            raise ModelUnknown(alias, tuple(self._specs))
        return spec

    def default_for(self, kind: str) -> ModelSpec:
        """The model that jobs of `kind` use when they name none. Raises `ConfigurationError` if there is none."""
        if (spec := self._defaults.get(kind)) is None:
            raise ConfigurationError(
                f'No model is the default of {kind!r} jobs. Add "{kind}" to default_for of an entry in models.toml.'
            )
        return spec

    def resolve(self, alias: str | None, kind: str) -> ModelSpec:
        """The named model, or the kind's default when `alias` is None."""
        return self.default_for(kind) if alias is None else self.get(alias)

    def __contains__(self, alias: object) -> bool:
        return alias in self._specs

    def __iter__(self) -> Iterator[ModelSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read the model list {path}: {error.strerror}. Set DARKROOM_MODELS_FILE to a models.toml."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}. Correct that place.") from error


def _spec(path: Path, alias: str, entry: Any) -> ModelSpec:
    place = f"{path}: [models.{alias}]"
    if not _ALIAS.fullmatch(alias):
        raise ConfigurationError(f"{place}: an alias is 1-64 of a-z, 0-9, '.', '_' and '-'. Rename the table.")
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{place} is not a table. Write [models.{alias}] and its keys below.")
    try:
        spec = ModelSpec(alias=alias, **{key: value for key, value in entry.items() if key != "alias"})
    except ValidationError as error:
        raise ConfigurationError("\n".join(_fault(place, fault) for fault in error.errors())) from None
    if spec.embeds and spec.dimension is None:
        raise ConfigurationError(f"{place} dimension: missing. {_FIXES['dimension']}")
    if spec.family == "open_clip" and not spec.source.startswith((HUB, LOCAL)) and spec.source.count("/") != 1:
        raise ConfigurationError(f"{place} source: {spec.source!r} names no weights. {_FIXES['source']}")
    if spec.folder is None:
        return spec
    return spec.model_copy(update={"source": f"{LOCAL}{(path.parent / spec.folder).resolve()}"})


def _fault(place: str, fault: Any) -> str:
    key = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return f"{place} {key}: unknown key. Remove it; known keys: {', '.join(list(ModelSpec.model_fields)[1:])}."
    return f"{place} {key}: {fault['msg']}. {_FIXES.get(key, 'Write a text in quotes.')}"


def _check_defaults(path: Path, specs: tuple[ModelSpec, ...]) -> None:
    owners: dict[str, str] = {}
    for spec in specs:
        for kind in spec.default_for:
            first = owners.setdefault(kind, spec.alias)
            if first != spec.alias:
                raise ConfigurationError(
                    f"{path}: [models.{spec.alias}] default_for: {kind!r} already belongs to [models.{first}]. "
                    "Remove it from one of them."
                )

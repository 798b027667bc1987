"""Finds a model's files (safetensors only) and turns whatever goes wrong on the way into one kind of job error."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.errors import DarkroomError, ErrorCode, PermanentJobError, RetryableJobError
from shared.model_registry import HUB, ModelSpec
from workers.runtimes.device import is_out_of_memory

_RETRY_HUB_IN = 60.0
_RETRYABLE_STATUS = (408, 429, 500, 502, 503, 504)


class LoadFailure(DarkroomError):
    """Why a model cannot be loaded, and what to change; never leaves this package."""


@contextmanager
def loading(spec: ModelSpec) -> Iterator[None]:
    """Whatever fails inside becomes `model_load_failed` with the model, the reason and a fix.

    Raises:
        RetryableJobError: the hub did not answer.
        PermanentJobError: anything else, e.g. a missing file or weights of another architecture.
        MemoryError or RuntimeError: out of memory, as it came: the cache makes room and tries once more.
    """
    try:
        yield
    except LoadFailure as error:
        raise _permanent(spec, str(error)) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if _hub_is_away(error):
            raise RetryableJobError(
                ErrorCode.MODEL_LOAD_FAILED,
                f"Model {spec.alias!r} cannot be loaded: the hub of {spec.source!r} did not answer "
                f"({_first_line(error)}). It is tried again; to do without the hub, point the model's source in "
                "models.toml to a local-dir.",
                retry_in=_RETRY_HUB_IN,
            ) from error
        raise _permanent(
            spec,
            f"{type(error).__name__}: {_first_line(error)}. Check source and revision in models.toml, and that the "
            "weights belong to that architecture.",
        ) from error


def local_file(folder: Path, *names: str) -> Path:
    """The first of `names` in `folder`. Raises LoadFailure when the folder or all of them are missing."""
    if not folder.is_dir():
        raise LoadFailure(f"the folder {folder} does not exist. Correct source in models.toml.")
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise LoadFailure(f"{folder} has none of: {', '.join(names)}. Put one there (weights as safetensors).")


def hub_file(repository: str, revision: str | None, *names: str) -> Path:
    """The first of `names` that the hub repository has, from the local cache or downloaded.

    Raises LoadFailure when it has none of them, or the hub is switched off and the file is not here.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in names:
        try:
            return Path(hf_hub_download(repository, name, revision=revision))
        except LocalEntryNotFoundError as error:
            if not HF_HUB_OFFLINE:
                raise
            raise LoadFailure(
                f"{name} of the hub repository {repository!r} is not on this machine, and HF_HUB_OFFLINE keeps it "
                "from the hub. Download it once without HF_HUB_OFFLINE, or point source to a local-dir."
            ) from error
        except EntryNotFoundError:
            continue
    raise LoadFailure(
        f"the hub repository {repository!r} has none of: {', '.join(names)}. Choose weights that are published as "
        "safetensors, or convert them into a local-dir."
    )


def model_file(spec: ModelSpec, *names: str) -> Path:
    """The first of `names` in the folder or hub repository of a `local-dir:` or `hf-hub:` source."""
    if spec.folder is not None:
        return local_file(spec.folder, *names)
    return hub_file(spec.source.removeprefix(HUB), spec.revision, *names)


def read_config(path: Path) -> dict[str, Any]:
    """A model's JSON. Raises LoadFailure when it is none, or when it asks for code of its repository to be run."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LoadFailure(f"{path} is not JSON ({error}). Correct or replace it.") from error
    if not isinstance(config, dict):
        raise LoadFailure(f"{path} holds no JSON object. Correct or replace it.")
    if _asks_for_code(config):
        raise LoadFailure(f"{path} asks to run code of its repository (trust_remote_code). Choose another model.")
    return config


def check_dimension(spec: ModelSpec, dimension: int) -> None:
    """Raises LoadFailure when the model's vectors are not as long as `models.toml` says."""
    if spec.dimension != dimension:
        raise LoadFailure(
            f"models.toml says dimension = {spec.dimension}, the model's vectors have {dimension}. "
            f"Write dimension = {dimension}."
        )


def _asks_for_code(value: Any) -> bool:
    if isinstance(value, dict):
        return any(("trust_remote_code" in key and item) or _asks_for_code(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_asks_for_code, value))


def _hub_is_away(error: BaseException) -> bool:
    """Whether some cause of `error` says that the network or the hub failed, rather than the request."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if HF_HUB_OFFLINE:
        return False
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HfHubHTTPError) and seen.response is not None:
            return seen.response.status_code in _RETRYABLE_STATUS
        # By name, for the hub's client has moved from one HTTP library to another and may again.
        lost = any(kind.__name__ == "TransportError" for kind in type(seen).__mro__)
        if lost or isinstance(seen, (LocalEntryNotFoundError, ConnectionError, TimeoutError)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _permanent(spec: ModelSpec, why: str) -> PermanentJobError:
    return PermanentJobError(ErrorCode.MODEL_LOAD_FAILED, f"Model {spec.alias!r} cannot be loaded: {why}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")[:300]

"""A stack and the bare model beside it: the same model, the same pictures, as many processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.bare.model import BareModel
from bench.rows import Completions, Rows
from bench.stack import Stack


@dataclass(frozen=True)
class Beside:
    """Both sides. `port`: of the stack's API."""

    port: int
    completions: Completions
    model: BareModel


@contextmanager
def beside(
    stack: Stack,
    alias: str,
    models_file: Path,
    folders: Sequence[Path],
    queue: str,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Beside]:
    """An API and a worker of `queue` with a process for each of the folders, whose pictures the bare model reads.

    Raises:
        Unfinished: at the end, when not every job succeeded.
    """
    database = stack.fresh_database()
    environment = {**stack.environment(database), "DARKROOM_MODELS_FILE": str(models_file), **(settings or {})}
    with ExitStack() as open_now:
        model = open_now.enter_context(BareModel.running(alias, models_file, folders))
        _, port = open_now.enter_context(stack.api(environment))
        open_now.enter_context(stack.worker(environment, [queue], len(folders)))
        rows, completions = Rows(database), Completions(stack.redis_url(0))
        open_now.callback(rows.close)
        open_now.callback(completions.close)
        yield Beside(port, completions, model)
        rows.check_all_succeeded()

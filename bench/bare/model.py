"""The bare model: one process a core decodes pictures and runs the model on them, and does nothing else.

`python -m bench.bare.model ALIAS FOLDER` loads the model, says so, and for each line on its input goes through all
pictures of the folder once. It uses the same runtime, precision and torch threads as a worker: what is left out is
the queue, the HTTP API, the files, the threads and the vector store.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil

from bench.stack import plain_environment
from local.settings import REPOSITORY

BATCH = 32


class BareModel:
    """Processes that each hold the model and their share of the pictures."""

    def __init__(self, processes: Sequence["subprocess.Popen[str]"]) -> None:
        self._processes = processes
        ready = [self._read(process) for process in processes]
        self.model_bytes = int(ready[0]["bytes"])

    @classmethod
    @contextmanager
    def running(cls, alias: str, models_file: Path, folders: Sequence[Path]) -> Iterator["BareModel"]:
        """A process for each folder of pictures."""
        command = [sys.executable, "-m", "bench.bare.model", alias, str(models_file)]
        with ExitStack() as open_now:
            processes = []
            for folder in folders:
                process = subprocess.Popen(
                    [*command, str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=REPOSITORY,
                    env=plain_environment(),
                )
                open_now.callback(_end, process)
                processes.append(process)
            yield cls(processes)

    def run(self) -> float:
        """Seconds until every process has gone through its pictures."""
        started = time.perf_counter()
        for process in self._processes:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in self._processes:
            self._read(process)
        return time.perf_counter() - started

    def rss(self) -> int:
        """Bytes of the first process."""
        return int(psutil.Process(self._processes[0].pid).memory_info().rss)

    @staticmethod
    def _read(process: "subprocess.Popen[str]") -> dict[str, Any]:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the bare model ended with exit code {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _end(process: "subprocess.Popen[str]") -> None:
    """End of input is its signal to go."""
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write_folders(pictures: Sequence[bytes], folder: Path, count: int) -> list[Path]:
    """Deal the pictures out to `count` folders."""
    folders = [folder / str(number) for number in range(count)]
    for one in folders:
        one.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        (folders[number % count] / f"{number:06}.webp").write_bytes(picture)
    return folders


def _main(alias: str, models_file: str, folder: str) -> None:
    import numpy as np
    from PIL import Image

    from shared.model_registry import ModelRegistry
    from workers.runtimes.device import choose, prepare_torch
    from workers.runtimes.load import load_embedding

    compute = choose("cpu")
    prepare_torch(compute)
    model = load_embedding(ModelRegistry.load(Path(models_file)).get(alias), compute)
    pictures = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    _say(bytes=model.bytes)
    for _ in sys.stdin:
        for start in range(0, len(pictures), BATCH):
            part = [Image.open(BytesIO(data)).convert("RGB") for data in pictures[start : start + BATCH]]
            model.encode_images(np.stack([model.preprocess(picture) for picture in part]))
        _say(pictures=len(pictures))


def _say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])

"""`python -m workers --queues search,embed --name cpu --concurrency 2`: one Celery worker with its processes."""

import argparse
import json
import os
import sys

from shared.contracts.registry import QUEUES
from shared.errors import ConfigurationError
from shared.model_registry import ModelRegistry
from shared.storage import open_storage


def main(argv: list[str] | None = None) -> int:
    options = _parse(argv)
    os.environ["DARKROOM_WORKER_QUEUES"] = json.dumps(options.queues.split(","))  # for the children
    try:
        from workers.celery_app import app, settings  # reads the settings

        ModelRegistry.load(settings.models_file)
        open_storage(settings.resolved_storage_url)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - before logging exists
        return 2
    if options.spawn:
        app.conf.worker_pool_start_method = "spawn"
    app.worker_main(
        [
            "--quiet",
            "worker",
            f"--hostname={options.name}@%h",
            f"--queues={options.queues}",
            f"--concurrency={options.concurrency}",
            "--pool=prefork",
            "--events",
            "--without-gossip",
            "--without-mingle",
        ]
    )
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers", description="Run a Darkroom worker.")
    parser.add_argument("--queues", default=",".join(QUEUES), type=_queues, help="comma-separated; default: all")
    parser.add_argument("--name", default="worker", help="shown in Flower as NAME@HOST")
    parser.add_argument("--concurrency", type=int, default=os.cpu_count() or 1, help="processes; default: one a core")
    parser.add_argument("--spawn", action="store_true", help="start processes afresh (CUDA cannot be forked)")
    return parser.parse_args(argv)


def _queues(text: str) -> str:
    unknown = set(text.split(",")) - set(QUEUES)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such queue: {', '.join(sorted(unknown))}; there are {', '.join(QUEUES)}")
    return text


if __name__ == "__main__":
    sys.exit(main())

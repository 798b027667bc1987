"""Structured logs of every process: one JSON object a line, to stderr, with whatever context is bound.

Bind what a block of work is about with `structlog.contextvars.bound_contextvars(job_id=…)`; the API binds `request_id`
for each request. Log events are short names (`ring_failed`), never sentences; values carry no secret.
"""

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from shared.settings import Settings

# A line a wake-up would drown the lines about jobs.
_NOISY = dict.fromkeys(
    ("uvicorn.access", "httpx", "httpcore", "celery.worker.strategy", "celery.app.trace"), logging.WARNING
)


def configure_logging(settings: Settings, *, role: str) -> None:
    """Set up logging for this process. Call it once as the process starts, and again in a forked child.

    Args:
        role: what the process is (`api`, `worker`, `sweeper`); stands in every line.
    """
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _constant(role=role),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = settings.log_format == "json"
    finish: list[Processor] = (
        [_tracebacks(), structlog.processors.JSONRenderer(serializer=_dumps)] if as_json else [_console()]
    )
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _route_standard_logging(level, shared, finish)


def _route_standard_logging(level: int, shared: list[Processor], finish: list[Processor]) -> None:
    """Lines of libraries (uvicorn, celery, redis) look like our own."""
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_not_chatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(max(level, least))


def _tracebacks() -> Processor:
    """Exceptions without their frames' variables, which may hold secrets and pictures."""
    return structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
    )


def _console() -> Processor:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)


def _not_chatter(record: logging.LogRecord) -> bool:
    """open_clip tells each step of a load to the root logger itself."""
    return record.name != "root" or record.levelno >= logging.WARNING


def _constant(**values: Any) -> Processor:
    def add(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
        event.update(values)
        return event

    return add


def _dumps(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()

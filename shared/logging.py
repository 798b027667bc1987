"""Structured logs, the same from every process: one JSON object a line on stderr, with what is bound to the context."""

import logging
import os
import sys
from typing import Any

import structlog

from shared.settings import Settings

BoundLogger = structlog.stdlib.BoundLogger


def configure_logging(settings: Settings, *, role: str) -> None:
    """Send Darkroom's and every library's lines through one pipeline. Call once a process.

    Args:
        role: which process this is (`api`, `worker`, `sweeper`), on every line.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = structlog.processors.JSONRenderer()
    if settings.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[_add_process(role), structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in (
        "httpx",
        "httpcore",
        "kombu",
        "amqp",
        "asyncio",
        "PIL",
        "celery.utils.functional",
        "celery.bootsteps",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _add_process(role: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["role"] = role
        event["pid"] = os.getpid()
        return event

    return add

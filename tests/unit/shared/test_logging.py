"""Log lines are JSON, carry their context, and hold no secret."""

import json
import logging

import pytest
import structlog

from shared.logging import configure_logging
from shared.settings import Settings


@pytest.fixture(autouse=True)
def _restored() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_our_lines_and_the_libraries_look_alike(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(embedded=True), role="worker")
    with structlog.contextvars.bound_contextvars(job_id="j1"):
        structlog.get_logger("here").info("started", n=1)
        logging.getLogger("library").warning("careful")
    ours, theirs = (line for line in lines(capfd.readouterr().err) if line["event"] in ("started", "careful"))
    assert (ours["event"], ours["n"], ours["job_id"], ours["role"]) == ("started", 1, "j1", "worker")
    assert (theirs["event"], theirs["job_id"], theirs["level"]) == ("careful", "j1", "warning")


def test_a_trace_shows_no_variables(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(embedded=True), role="api")
    authorization = "Bearer dr_secret"
    try:
        raise RuntimeError("boom" if authorization else "")
    except RuntimeError:
        structlog.get_logger("here").exception("failed")
        logging.getLogger("library").exception("failed")
    written = capfd.readouterr().err
    assert "boom" in written
    assert "dr_secret" not in written


def test_chatter_is_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(embedded=True), role="worker")
    logging.info("Instantiating model architecture")
    logging.getLogger("celery.app.trace").info("Task succeeded")
    written = capfd.readouterr().err
    assert "Instantiating" not in written
    assert "Task succeeded" not in written

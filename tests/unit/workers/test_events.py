"""Task events are counted one by one, however many come at once, and sent in groups."""

import threading
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from shared.jobs.lifecycle import ClaimedJob
from workers import events
from workers.events import TaskEvents


class Broker:
    """Plays Celery's app, with a broker that answers once `open` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.asked = threading.Event()
        self.sent: list[dict[str, Any]] = []
        self.news = threading.Condition()
        self.clock = SimpleNamespace(forward=lambda: 1)
        self.events = SimpleNamespace(Dispatcher=self._dispatcher)

    def connection_for_write(self) -> None:
        self.asked.set()
        assert self.open.wait(10)

    def wait_for(self, count: int) -> None:
        with self.news:
            assert self.news.wait_for(lambda: len(self.sent) >= count, timeout=10)

    def _dispatcher(self, connection: None, **_: Any) -> SimpleNamespace:
        exchange = SimpleNamespace(name="celeryev")
        return SimpleNamespace(producer=self, exchange=exchange, serializer="json", connection=None)

    def publish(self, group: list[dict[str, Any]], **_: Any) -> None:
        with self.news:
            self.sent += group
            self.news.notify_all()


def jobs(count: int) -> list[ClaimedJob]:
    """Running jobs."""
    one: Any = SimpleNamespace(id=uuid.uuid4(), kind="noop", attempt=1)
    return [one] * count


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def sender(broker: Broker) -> TaskEvents:
    """Its first event hangs at the broker, so what comes next is kept."""
    app: Any = broker
    sender = TaskEvents(app, "w@host")
    sender.started(jobs(1))
    assert broker.asked.wait(5)
    return sender


def test_many_small_lists_are_kept(broker: Broker, sender: TaskEvents) -> None:
    for _ in range(2_000):
        sender.started(jobs(1))
    broker.open.set()
    broker.wait_for(4_002)


def test_no_more_events_are_kept_than_the_bound(
    broker: Broker, sender: TaskEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_PENDING", 100)
    for _ in range(10):
        sender.started(jobs(20))
    broker.open.set()
    broker.wait_for(82)
    sender.started(jobs(1))
    broker.wait_for(84)
    assert len(broker.sent) == 84

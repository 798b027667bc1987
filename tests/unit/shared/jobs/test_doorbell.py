"""Rings are merged, never lost while the broker answers, and never fail their caller."""

import threading
import time
import uuid

from shared.jobs.doorbell import Doorbell

Rings = list[tuple[str, uuid.UUID | None]]


def test_the_first_ring_goes_out_at_once() -> None:
    rings: Rings = []
    rung = threading.Event()
    bell = Doorbell(lambda queue, job_id: (rings.append((queue, job_id)), rung.set())[0], debounce_seconds=10)
    job_id = uuid.uuid4()
    bell.ring("search", job_id)
    assert rung.wait(1)
    assert rings == [("search", job_id)]


def test_rings_in_quick_succession_share_one_more() -> None:
    rings: Rings = []
    bell = Doorbell(lambda queue, job_id: rings.append((queue, job_id)), debounce_seconds=0.2)
    bell.ring("noop")
    time.sleep(0.05)
    for _ in range(100):
        bell.ring("noop")
    assert rings == [("noop", None)]
    time.sleep(0.3)
    assert rings == [("noop", None)] * 2


def test_queues_do_not_share() -> None:
    rings: Rings = []
    bell = Doorbell(lambda queue, job_id: rings.append((queue, job_id)), debounce_seconds=5)
    bell.ring("a")
    bell.ring("b")
    bell.close()
    assert sorted(queue for queue, _ in rings) == ["a", "b"]


def test_rings_that_must_not_merge_all_go_out() -> None:
    rings: Rings = []
    bell = Doorbell(lambda queue, job_id: rings.append((queue, job_id)), debounce_seconds=5)
    ids = [uuid.uuid4() for _ in range(5)]
    for job_id in ids:
        bell.ring("generate", job_id, merge=False)
    bell.ring("noop", times=3)
    bell.close()
    assert rings == [("generate", job_id) for job_id in ids] + [("noop", None)] * 3


def test_a_broken_broker_fails_nobody_and_later_rings_go_out() -> None:
    rings: Rings = []
    broken = [True]

    def publish(queue: str, job_id: uuid.UUID | None) -> None:
        if broken[0]:
            raise ConnectionError("away")
        rings.append((queue, job_id))

    bell = Doorbell(publish, debounce_seconds=0)
    bell.ring("a")
    time.sleep(0.1)
    broken[0] = False
    bell.ring("b")
    bell.close()
    assert rings == [("b", None)]


def test_a_slow_broker_does_not_hold_up_the_caller() -> None:
    bell = Doorbell(lambda queue, job_id: time.sleep(0.3), debounce_seconds=0)
    started = time.monotonic()
    for _ in range(20):
        bell.ring("a", merge=False)
    assert time.monotonic() - started < 0.1

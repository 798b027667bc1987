"""Workers die and stall while they remove a collection or embed it anew: it is done whole, and once."""

import os
import signal
import time
import uuid
from typing import Any

import pytest

from tests.e2e.pictures import catalogue_items

from .conftest import FaultyStack

ITEMS = 20
POINTS = ["worker.before_effect", "worker.after_effect"]


@pytest.fixture
def collection(faulty: FaultyStack) -> str:
    """Twenty items."""
    name = f"faults-{uuid.uuid4().hex[:8]}"
    job = faulty.ended(faulty.submit("index", {"collection": name, "items": catalogue_items(ITEMS)}))
    assert job["output"]["indexed"] == ITEMS
    return name


def let_go(faulty: FaultyStack, point: str, strike: str, job_id: uuid.UUID) -> dict[str, Any]:
    """The job's end, which a worker that stood still and comes back does not change."""
    pid = faulty.wait_until_struck(point)
    job = faulty.ended(job_id, 60)
    if strike == "SIGSTOP":
        os.kill(pid, signal.SIGCONT)
        time.sleep(1.0)
        assert faulty.get(job_id) == job
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    return job


@pytest.mark.parametrize("strike", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_is_struck_while_it_embeds_anew(faulty: FaultyStack, collection: str, point: str, strike: str) -> None:
    ((before,),) = faulty.rows("SELECT vectors_id FROM collections WHERE name = %s", collection)
    faulty.arm(point, strike)
    (job_id,) = faulty.send(f"/v1/collections/{collection}/reembed", {"model": "starter-clip"})
    if strike == "SIGSTOP":  # nobody else serves the queue
        pid = faulty.wait_until_struck(point)
        faulty.stack.until(lambda: faulty.get(job_id)["status"] == "queued", "taken away")
        os.kill(pid, signal.SIGCONT)
    job = let_go(faulty, point, "SIGKILL", job_id)
    assert (job["output"]["items"], job["output"]["failed_count"]) == (ITEMS, 0)
    with faulty.stack.client() as client:
        shown = client.get(f"/v1/collections/{collection}").json()
    assert (shown["count"], shown["rebuilding"]) == (ITEMS, None)
    ((after,),) = faulty.rows("SELECT vectors_id FROM collections WHERE name = %s", collection)
    assert after != before
    assert faulty.rows("SELECT vectors_id FROM discarded_vectors WHERE vectors_id IN (%s, %s)", before, after) == [
        (before,)
    ]


@pytest.mark.parametrize("strike", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_is_struck_while_it_removes_a_collection(
    faulty: FaultyStack, collection: str, point: str, strike: str
) -> None:
    ((row, vectors),) = faulty.rows("SELECT id, vectors_id FROM collections WHERE name = %s", collection)
    faulty.arm(point, strike)
    with faulty.stack.client() as client:
        job_id = uuid.UUID(client.delete(f"/v1/collections/{collection}").json()["id"])
    let_go(faulty, point, strike, job_id)
    assert faulty.rows("SELECT count(*) FROM items WHERE collection_id = %s", vectors) == [(0,)]
    assert faulty.rows("SELECT count(*) FROM collections WHERE id = %s", row) == [(0,)]
    assert faulty.rows("SELECT count(*) FROM item_files WHERE collection_id = %s", row) == [(0,)]

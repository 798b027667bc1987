"""The sweeper and its housekeeping on a real Postgres; rings and announcements are only written down."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared import collections
from shared.database.pool import Connection, Pool, connect, open_pool
from shared.settings import SweeperSettings
from shared.storage import LocalStorage, StorageError
from shared.storage.keys import job_file_key
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef, Point
from tests.integration.shared.jobs.conftest import add_job, job_row, pass_time
from tests.integration.shared.jobs.test_lifecycle import claim
from workers.housekeeping import Housekeeper
from workers.sweeper import Sweeper

SETTINGS = SweeperSettings(embedded=True, sweep_page=3, sweep_seconds=1, ring_grace_seconds=1)


class Bench:
    """A sweeper whose rings and announcements can be looked at; it is its own bell."""

    def __init__(self, pool: Pool) -> None:
        self.rings: list[tuple[str, uuid.UUID | None]] = []
        self.announced: list[uuid.UUID] = []
        self.sweeper = Sweeper(pool, self, SETTINGS, self.announced.extend)

    def ring(self, queue: str, job_id: uuid.UUID | None = None, *, times: int = 1, merge: bool = True) -> None:
        self.rings += [(queue, job_id)] * times

    def sweep(self) -> list[tuple[str, uuid.UUID | None]]:
        """One sweep, and what it rang for."""
        self.rings = []
        self.sweeper.sweep()
        return self.rings


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as connection:
        yield connection


@pytest.fixture
def pool(postgres_url: str) -> Iterator[Pool]:
    with open_pool(postgres_url) as pool:
        yield pool


def test_lost_jobs_of_every_page_are_rescued_and_rung(pool: Pool, connection: Connection) -> None:
    bench = Bench(pool)
    ids = {add_job(connection, batch_key=None) for _ in range(8)}
    while claim(connection):
        pass
    pass_time(connection, 31)
    assert {job_id for _, job_id in bench.sweep()} >= ids
    assert {job_row(connection, job_id)["state"] for job_id in ids} == {"queued"}


def test_poison_is_announced(pool: Pool, connection: Connection) -> None:
    bench = Bench(pool)
    job_id = add_job(connection, crashes=2)
    claim(connection)
    pass_time(connection, 31)
    bench.sweep()
    assert bench.announced == [job_id]


def test_a_batching_kind_is_rung_once_a_batch_and_others_once_a_job(pool: Pool, connection: Connection) -> None:
    bench = Bench(pool)
    for _ in range(70):
        add_job(connection, next_run_in=-5)
    assert [queue for queue, _ in bench.sweep()] == ["noop", "noop"]


def test_a_queue_that_nobody_serves_is_rung_ever_more_seldom(
    pool: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("workers.sweeper.time.monotonic", lambda: now[0])
    bench = Bench(pool)
    add_job(connection, next_run_in=-5)
    rung_at = []
    for _ in range(120):
        if bench.sweep():
            rung_at.append(now[0] - 1000)
        now[0] += 1
    assert rung_at[:6] == [0, 1, 3, 7, 15, 31]
    assert rung_at[-1] - rung_at[-2] == 30


def test_a_backlog_that_is_served_is_rung_for_seldom_and_once(
    pool: Pool, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("workers.sweeper.time.monotonic", lambda: now[0])
    bench = Bench(pool)
    backlog = [add_job(connection, kind="generate", next_run_in=-100 + n) for n in range(40)]
    rings = []
    for job_id in backlog[:30]:
        rings.append(len(bench.sweep()))
        connection.execute("DELETE FROM jobs WHERE id = %s", (job_id,))
        now[0] += 1
    assert rings[0] == 8
    assert rings[1:] == ([0, 0, 0, 0, 1] * 6)[:29]


def test_nothing_waiting_is_not_rung(pool: Pool, connection: Connection) -> None:
    add_job(connection)
    assert Bench(pool).sweep() == []


def housekeeper(pool: Pool, folder: Path, threshold: int = 5_000) -> Housekeeper:
    store = PgVectorStore(pool, index_threshold=threshold)
    return Housekeeper(pool, LocalStorage(folder), store, SETTINGS, threading.Event())


def test_expired_jobs_go_with_all_that_their_attempts_stored(
    pool: Pool, connection: Connection, tmp_path: Path
) -> None:
    keeper, storage = housekeeper(pool, tmp_path), LocalStorage(tmp_path)
    job_id = add_job(connection, state="succeeded", attempt=2, expires_in=-1)
    files = [job_file_key("t", str(job_id), attempt, "output.json.gz") for attempt in (1, 2)]
    for file in files:
        storage.put(file, b"x")
    connection.execute("UPDATE jobs SET output_key = %s", (files[1],))
    for _ in range(6):
        add_job(connection, state="failed", expires_in=-1)
    kept = add_job(connection, state="succeeded", expires_in=60)
    assert keeper.expire() == 7
    assert [storage.exists(file) for file in files] == [False, False]
    assert connection.execute("SELECT id FROM jobs").fetchall() == [(kept,)]


def test_a_job_whose_files_cannot_be_deleted_yet_stays(pool: Pool, connection: Connection, tmp_path: Path) -> None:
    class Away(LocalStorage):
        def delete_prefix(self, prefix: str) -> int:
            raise StorageError("away")

    keeper = Housekeeper(pool, Away(tmp_path), PgVectorStore(pool), SETTINGS, threading.Event())
    job_id = add_job(connection, state="failed", attempt=2, expires_in=-1)
    with pytest.raises(StorageError):
        keeper.expire()
    assert connection.execute("SELECT id FROM jobs").fetchall() == [(job_id,)]
    assert housekeeper(pool, tmp_path).expire() == 1


def test_large_collections_get_an_index(pool: Pool, connection: Connection, tmp_path: Path) -> None:
    row = collections.ensure(connection, "t", "c", model="m", dimension=4)
    keeper = housekeeper(pool, tmp_path, threshold=10)
    store = PgVectorStore(pool)
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    store.upsert(row.ref, [Point(id=str(n), vector=vector) for n, vector in enumerate(vectors)])
    assert keeper.optimize_collections() == 1
    assert keeper.optimize_collections() == 0


def test_delete_marks_go_once_no_earlier_job_can_run(pool: Pool, connection: Connection, tmp_path: Path) -> None:
    ref = collections.ensure(connection, "t", "c", model="m", dimension=4).ref
    keeper, store = housekeeper(pool, tmp_path), PgVectorStore(pool)

    def marks_after(rounds: int) -> int:
        for _ in range(rounds):
            keeper.forget_deleted()
        row = connection.execute("SELECT count(*) FROM items").fetchone()
        return row[0] if row else 0

    store.delete(ref, ["nothing"], version=0)
    assert marks_after(2) == 1  # no job was ever submitted: nothing is known of the order
    failed = add_job(connection, kind="index", state="failed")
    store.delete(ref, ["a"], version=seq_of(connection, add_job(connection, state="succeeded")))
    assert marks_after(2) == 1  # below the failed job; its owner may yet retry it
    connection.execute("DELETE FROM jobs WHERE id = %s", (failed,))
    assert marks_after(1) == 1  # a job before the delete may have been under way, and not committed yet
    assert marks_after(1) == 0


def test_a_delete_mark_outlasts_a_job_that_was_being_accepted(
    pool: Pool, connection: Connection, postgres_url: str, tmp_path: Path
) -> None:
    ref = collections.ensure(connection, "t", "c", model="m", dimension=4).ref
    keeper, store = housekeeper(pool, tmp_path), PgVectorStore(pool)
    with connect(postgres_url) as other, other.transaction():
        add_job(other, kind="index")
        store.delete(ref, ["a"], version=seq_of(connection, add_job(connection, state="succeeded")))
        keeper.forget_deleted()
    keeper.forget_deleted()
    assert connection.execute("SELECT item_id FROM items").fetchall() == [("a",)]


def seq_of(connection: Connection, job_id: uuid.UUID) -> int:
    return int(job_row(connection, job_id)["seq"])


def test_a_long_index_build_keeps_nothing_from_expiring(pool: Pool, connection: Connection, tmp_path: Path) -> None:
    building, built = threading.Event(), threading.Event()

    class Slow(PgVectorStore):
        def optimize(self, collection: CollectionRef) -> bool:
            building.set()
            return built.wait(10)

    collections.ensure(connection, "t", "c", model="m", dimension=4)
    settings = SETTINGS.model_copy(update={"housekeeping_seconds": 0.01})
    stop = threading.Event()
    Housekeeper(pool, LocalStorage(tmp_path), Slow(pool), settings, stop).start()
    try:
        assert building.wait(5)
        add_job(connection, state="failed", expires_in=-1)
        wait_until(lambda: connection.execute("SELECT 1 FROM jobs").fetchone() is None)
    finally:
        built.set()
        stop.set()


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Return when it holds, or fail."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)

"""The promises of a job's life, driven by hypothesis: many workers, lost and doubled messages, a moving clock.

The machine keeps no model of the database's decisions. It drives the real statements in any order and checks, after
each step and at the end, what must hold whatever happened:

- an accepted job ends exactly once, and its row never changes afterwards;
- one attempt at a time owns a job, and only its owner can write;
- in the end, whatever died or was lost, every job is in a terminal state.
"""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from shared.database.pool import Connection, connect
from shared.jobs import control, lifecycle, sweeping
from shared.jobs.lifecycle import Beat, ClaimedJob, Outcome, Verdict

from .conftest import add_job, pass_time


def _for_psycopg(statement: str, *names: str) -> str:
    """A statement that the API runs over asyncpg, with names in the place of its numbers."""
    for number, name in enumerate(names, start=1):
        statement = statement.replace(f"${number}", f"%({name})s")
    return statement


CANCEL = _for_psycopg(control.CANCEL, "id", "tenant", "days")
RETRY = _for_psycopg(control.RETRY, "id", "tenant")
LEASE, MAX_CRASHES = 30.0, 3
TERMINAL = {"succeeded", "failed", "canceled"}
BATCH = st.sampled_from(["a", "b", None])
ERROR = {"code": "internal", "message": "m", "attempt": 1, "retryable": True}


class JobLife(RuleBasedStateMachine):
    """Workers are just attempts in `held`: one that is dropped has died, one that acts late was stalled."""

    held = Bundle("held")
    messages = Bundle("messages")
    connection: Connection

    def __init__(self) -> None:
        super().__init__()
        self.connection.execute("TRUNCATE jobs, queues CASCADE")
        self.jobs: set[uuid.UUID] = set()
        self.ended: dict[uuid.UUID, Any] = {}
        self.attempts: dict[uuid.UUID, int] = {}
        self.canceled_at: dict[uuid.UUID, int] = {}

    @initialize(target=messages, batches=st.lists(BATCH, min_size=2, max_size=4))
    def submit_some(self, batches: list[str | None]) -> Any:
        return multiple(*(self._submit(batch_key=batch) for batch in batches))

    @rule(
        target=messages,
        priority=st.integers(0, 2),
        batch=BATCH,
        cancel_in=st.sampled_from([None, 20]),
        timeout=st.sampled_from([10, 500]),
    )
    def submit(self, priority: int, batch: str | None, cancel_in: int | None, timeout: int) -> uuid.UUID:
        extra = {} if cancel_in is None else {"cancel_in": cancel_in}
        return self._submit(priority=priority, batch_key=batch, timeout_seconds=timeout, **extra)

    def _submit(self, **columns: Any) -> uuid.UUID:
        job_id = add_job(self.connection, max_attempts=2, **columns)
        self.jobs.add(job_id)
        return job_id

    @rule(target=held, named=messages)  # a message may be used twice, or never
    def wake(self, named: uuid.UUID) -> Any:
        return self._claim(named)

    @rule(target=held)
    def wake_without_name(self) -> Any:
        return self._claim(None)

    def _claim(self, named: uuid.UUID | None) -> Any:
        claimed = lifecycle.claim(
            self.connection,
            "noop",
            worker="w",
            lease_seconds=LEASE,
            limits={"noop": 3},
            max_crashes=MAX_CRASHES,
            named=named,
        )
        for job in claimed:
            assert job.id not in self.ended, "a finished job was claimed"
            assert job.attempt > self.attempts.get(job.id, 0), "an attempt number came twice"
            assert job.id not in self.canceled_at, "a job whose cancel was accepted was run once more"
            self.attempts[job.id] = job.attempt
        if len(claimed) > 1:
            assert all(job.crashes == 0 for job in claimed), "a job that crashed shared a batch"
        return multiple(*claimed)

    @rule(job=consumes(held), verdict=st.sampled_from(list(Verdict)))
    def finish(self, job: ClaimedJob, verdict: Verdict) -> None:
        self._finish(job, verdict)

    @rule(job=held, verdict=st.sampled_from(list(Verdict)))  # not consumed: the same attempt may try to finish again
    def finish_and_stay(self, job: ClaimedJob, verdict: Verdict) -> None:
        self._finish(job, verdict)

    def _finish(self, job: ClaimedJob, verdict: Verdict) -> None:
        state, attempt = self._state(job.id)
        owns = state == "running" and attempt == job.attempt
        if verdict is Verdict.RETRY and job.failures + 1 >= job.max_attempts:
            verdict = Verdict.FAILED
        outcome = Outcome(job.id, job.attempt, verdict, output={"by": job.attempt}, error=ERROR, delay_seconds=5)
        written = lifecycle.finish(self.connection, [outcome], retention_days=30)
        assert (job.id in written) == owns, "only the owner writes, and the owner always can"

    @rule(job=held)
    def beat(self, job: ClaimedJob) -> None:
        state, attempt = self._state(job.id)
        answer = lifecycle.beat(self.connection, [Beat(job.id, job.attempt)], lease_seconds=LEASE)
        assert (job.id in answer.owned) == (state == "running" and attempt == job.attempt)

    @rule(job=consumes(held))
    def die(self, job: ClaimedJob) -> None:
        """The worker is gone without a word."""

    @rule(job_id=messages)
    def cancel(self, job_id: uuid.UUID) -> None:
        """The API's own statement: at once when nobody runs the job, by request when somebody does."""
        row = self.connection.execute(CANCEL, {"id": job_id, "tenant": "t", "days": 30}).fetchone()
        if row is not None:
            self.canceled_at[job_id] = self._state(job_id)[1]

    @rule(job_id=messages)
    def retry(self, job_id: uuid.UUID) -> None:
        """The API's own statement: a failed or canceled job runs again, as if new."""
        row = self.connection.execute(RETRY, {"id": job_id, "tenant": "t"}).fetchone()
        if row is not None:
            del self.ended[job_id]
            self.canceled_at.pop(job_id, None)

    @rule(target=held, job=held)
    def stall_past_the_lease(self, job: ClaimedJob) -> Any:
        """The worker of `job` sleeps while another one takes over; it does not know yet."""
        pass_time(self.connection, LEASE + 1)
        return self._claim(job.id)

    @rule(paused=st.sampled_from([False, False, True]))
    def pause(self, paused: bool) -> None:
        self.connection.execute(
            "INSERT INTO queues VALUES ('noop', %s) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
            (paused,),
        )

    @rule(seconds=st.sampled_from([1, 6, 12, 31]))
    def wait(self, seconds: int) -> None:
        pass_time(self.connection, seconds)

    @rule()
    def sweep(self) -> None:
        sweeping.rescue(self.connection, max_crashes=MAX_CRASHES, retention_days=30, page=2)
        sweeping.time_out(self.connection, grace_seconds=2, retention_days=30, page=2)
        sweeping.cancel_due(self.connection, retention_days=30, page=2)

    @invariant()
    def ended_jobs_stay_as_they_are(self) -> None:
        rows = self.connection.execute("SELECT id, state, attempt, output, error FROM jobs").fetchall()
        assert {row[0] for row in rows} == self.jobs, "a job is lost"
        for job_id, state, *rest in rows:
            if state in TERMINAL:
                assert self.ended.setdefault(job_id, (state, rest)) == (state, rest), "a finished job changed"
            else:
                assert job_id not in self.ended, "a finished job came back"

    def teardown(self) -> None:
        """Whatever has died: a sweeper and one honest worker bring every job to its end."""
        self.pause(False)
        for _ in range(200):
            self.wait(31)
            self.sweep()
            for job in lifecycle.claim(
                self.connection,
                "noop",
                worker="last",
                lease_seconds=LEASE,
                limits={},
                max_crashes=MAX_CRASHES,
            ):
                self._finish(job, Verdict.SUCCEEDED)
            left = self.connection.execute("SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')").fetchone()
            if left == (0,):
                self.ended_jobs_stay_as_they_are()
                return
        raise AssertionError("jobs are stuck")

    def _state(self, job_id: uuid.UUID) -> tuple[str, int]:
        row = self.connection.execute("SELECT state, attempt FROM jobs WHERE id = %s", (job_id,)).fetchone()
        assert row is not None
        return row[0], row[1]


@pytest.mark.slow
def test_the_promises_hold_in_any_order(make_database: Callable[[], str]) -> None:
    with connect(make_database()) as connection:
        JobLife.connection = connection
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            JobLife,
            settings=settings(
                max_examples=400,
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )

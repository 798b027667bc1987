"""A real Flower shows operators every job under the id that its user holds."""

import uuid
from typing import Any

import httpx

from tests.e2e.conftest import Stack


def test_flower_lists_jobs_by_their_ids_with_kind_worker_and_state(stack: Stack) -> None:
    with stack.client() as client:
        good = [{"kind": "noop", "input": {"sleep_ms": 5}} for _ in range(50)]
        bad = [{"kind": "noop", "input": {"fail": "permanent"}}]
        again = [{"kind": "noop", "input": {"fail": "retryable", "fail_attempts": 1}}]
        answer = client.post("/v1/jobs/batch", json={"jobs": good + bad + again})
        assert answer.status_code == 202, answer.text
        ids = [job["id"] for job in answer.json()["jobs"]]
        for job_id in ids:
            stack.until(lambda job_id=job_id: client.get(f"/v1/jobs/{job_id}").json()["completed_at"], "ended")
    shown: dict[str, Any] = {}

    def all_shown() -> bool:
        shown.update(_tasks(stack))
        ended = {"SUCCESS", "FAILURE"}
        return all(job_id in shown and shown[job_id]["state"] in ended for job_id in ids)

    stack.until(all_shown, "shown by Flower")
    states = [shown[job_id]["state"] for job_id in ids]
    assert states == ["SUCCESS"] * 50 + ["FAILURE", "SUCCESS"]
    assert {shown[job_id]["name"] for job_id in ids} == {"noop"}
    assert all("cpu@" in str(shown[job_id]["worker"]) for job_id in ids)
    assert not any(name.startswith("darkroom.wake") for name in {task["name"] or "" for task in shown.values()})


def test_flower_lists_the_workers(stack: Stack) -> None:
    workers = httpx.get(f"{stack.url('flower')}/workers", params={"json": 1}, timeout=10, trust_env=False).json()
    names = {worker["hostname"].split("@")[0] for worker in workers["data"]}
    assert names >= {"search", "cpu", "batch"}


def _tasks(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(f"{stack.url('flower')}/api/tasks", params={"limit": 10_000}, timeout=10, trust_env=False)
    answer.raise_for_status()
    tasks: dict[str, Any] = answer.json()
    assert all(uuid.UUID(task_id) for task_id in tasks)
    return tasks

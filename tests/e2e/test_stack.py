"""The embedded stack as its user sees it: up, status, restarts, down, restart with its data, two side by side."""

import json
import shutil
import signal
import subprocess
import sys
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import MakeStack, Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
ROLES = ("postgres", "valkey", "api", "worker-search", "worker-cpu", "worker-batch", "sweeper", "flower")


def test_status(stack: Stack) -> None:
    stack.until_all_run()
    done = stack.darkroom("status", "--json")
    assert done.returncode == 0, done.stdout
    shown = json.loads(done.stdout)
    assert [process["role"] for process in shown["processes"]] == list(ROLES)
    assert all(psutil.pid_exists(process["pid"]) for process in shown["processes"])
    assert set(shown["urls"]) == {"api", "postgres", "redis", "flower"}
    assert httpx.get(shown["urls"]["flower"] + "/api/workers", trust_env=False).status_code == 200
    table = stack.darkroom("status")
    assert (table.returncode, "worker-search" in table.stdout) == (0, True)


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    listening = {
        connection.laddr.ip
        for process in stack.family()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_second_up_says_that_it_runs(stack: Stack) -> None:
    for words, code in ((["up", "--detach"], 0), (["up"], 1)):
        done = stack.darkroom(*words)
        assert (done.returncode, "already running" in done.stdout) == (code, True), done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_lines_to_try_work_as_pasted(stack: Stack) -> None:
    text = stack.output.read_text()
    lines = [line for line in text.splitlines() if line.strip().startswith("curl ")]
    assert len(lines) == 3
    answers = [run_in_shell(line) for line in lines]
    assert answers[0]["output"]["indexed"] + answers[0]["output"]["skipped"] == 1
    assert [result["id"] for result in answers[1]["output"]["results"]] == ["clock"]
    assert {job["kind"] for job in answers[2]["data"]} == {"index", "search"}


def test_the_environment_is_for_work_by_hand(stack: Stack) -> None:
    script = f'eval "$({sys.executable} -m darkroom env)" && echo "$DARKROOM_PORT $DARKROOM_EMBEDDED"'
    done = subprocess.run(["bash", "-c", script], env=stack.environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(stack.port), "true"]


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_comes_back(stack: Stack, role: str) -> None:
    stack.until_all_run()
    before = stack.state_of(role)
    psutil.Process(before["pid"]).kill()
    stack.until(lambda: stack.state_of(role)["restarts"] > before["restarts"], f"restarted: {role}")
    stack.until_all_run()
    assert stack.state_of(role)["pid"] != before["pid"]
    assert embed(stack)["status"] == "succeeded"


def test_a_stop_drains_and_leaves_nothing_and_a_restart_finds_its_data(make_stack: MakeStack) -> None:
    one = make_stack()
    one.up()
    key = key_in(one.output.read_text())
    family = one.family()
    done, running = embed(one), start_sleeping(one)

    assert one.stop(signal.SIGINT) == 0
    assert not [process for process in family if is_alive(process)]
    assert one.darkroom("status").returncode == 3
    assert one.darkroom("down").stdout.startswith("Nothing runs")

    begun = one.darkroom("up", "--detach")
    assert begun.returncode == 0, begun.stdout + begun.stderr
    assert key_in(begun.stdout) == key
    family = one.family()
    with one.client() as client:
        head = {"Authorization": f"Bearer {key}"}
        again = client.get(f"/v1/jobs/{done['id']}", headers=head)
        drained = client.get(f"/v1/jobs/{running}", headers=head).json()
    assert (again.status_code, again.json()["output"]) == (200, done["output"])
    assert (drained["status"], drained["attempt"]) == ("succeeded", 1), "Ctrl-C let it finish"

    assert one.darkroom("down").returncode == 0
    assert not [process for process in family if is_alive(process)]


def test_two_stacks_side_by_side_and_one_that_is_killed(stack: Stack, make_stack: MakeStack) -> None:
    other = make_stack()
    other.up()
    assert embed(stack)["status"] == embed(other)["status"] == "succeeded"
    assert set(stack.state()["urls"].values()).isdisjoint(other.state()["urls"].values())
    with other.client() as client:
        assert len(client.get("/v1/jobs").json()["data"]) == 1, "stacks share nothing"

    family = other.family()
    assert other.process is not None
    other.process.kill()
    other.process.wait()
    other.process = None
    assert other.darkroom("status").returncode == 3
    assert other.darkroom("down").returncode == 0
    assert not [process for process in family if is_alive(process)]
    assert stack.darkroom("status").returncode == 0, "its neighbour does not notice"


def test_a_port_in_use_is_named(stack: Stack, make_stack: MakeStack) -> None:
    other = make_stack()
    other.port = stack.port
    done = other.darkroom("up")
    assert done.returncode == 1
    assert f"DARKROOM_PORT: something else listens on port {stack.port}" in done.stderr
    assert "Traceback" not in done.stderr


def start_sleeping(one: Stack) -> str:
    """A job that takes two seconds, and runs now; its id."""
    with one.client() as client:
        answer = client.post("/v1/jobs/batch", json={"jobs": [{"kind": "noop", "input": {"sleep_ms": 2000}}]})
        job = str(answer.json()["jobs"][0]["id"])
        one.until(lambda: client.get(f"/v1/jobs/{job}").json()["status"] == "running", "running")
    return job


def embed(one: Stack) -> dict[str, Any]:
    """One job through the whole stack."""
    with one.client() as client:
        answer = client.post("/v1/embed", json={"input": {"texts": ["a red shoe"]}}, headers={"Prefer": "wait=60"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def run_in_shell(line: str) -> dict[str, Any]:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def key_in(greeting: str) -> str:
    return next(line.split()[1] for line in greeting.splitlines() if line.strip().startswith("Key "))


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

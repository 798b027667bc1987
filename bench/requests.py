"""The requests that load is made of."""

import json

from bench.load import request

BATCH = 1_000
_SINGLE = json.dumps({"input": {}}).encode()


def single_requests(count: int) -> list[bytes]:
    """One no-op job each."""
    return [request("/v1/noop", _SINGLE)] * count


def nothing_requests(count: int) -> list[bytes]:
    """The same body for the bare twin of the API."""
    return [request("/nothing", _SINGLE)] * count


def waiting_requests(count: int, seconds: int = 30) -> list[bytes]:
    """One no-op job each, answered when it has ended."""
    return [request("/v1/noop", _SINGLE, headers={"Prefer": f"wait={seconds}"})] * count


def batch_requests(jobs: int) -> list[bytes]:
    """No-op jobs, 1,000 a request."""
    sizes = [BATCH] * (jobs // BATCH) + ([jobs % BATCH] if jobs % BATCH else [])
    return [request("/v1/jobs/batch", _batch(size)) for size in sizes]


def _batch(size: int) -> bytes:
    return json.dumps({"jobs": [{"kind": "noop", "input": {}}] * size}).encode()

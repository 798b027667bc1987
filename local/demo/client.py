"""The public HTTP API, as far as the demo needs it."""

from typing import Any, Self
from uuid import uuid4

import httpx

from local.demo.errors import DemoFailed

ENDED = frozenset({"succeeded", "failed", "canceled"})
WAIT_SECONDS = 30
PAGE = 100

Job = dict[str, Any]
"""A job as the API shows it."""


class Api:
    """A client of one stack. Every answer that is not a success ends the demo with what the API said."""

    def __init__(self, url: str) -> None:
        # trust_env: a proxy of the environment has no business between this machine and itself.
        self._http = httpx.Client(base_url=url, timeout=WAIT_SECONDS + 30.0, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def submit(self, kind: str, request: dict[str, Any], *, wait: int | None = None) -> Job:
        """Submit a job; with `wait`, answer it finished when it takes no longer than so many seconds."""
        headers = {"Idempotency-Key": str(uuid4())}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        return self._json("POST", f"/v1/{kind}", json=request, headers=headers)

    def submit_batch(self, jobs: list[dict[str, Any]]) -> list[Job]:
        """Submit many jobs in one transaction: all are accepted, or none."""
        answer = self._json("POST", "/v1/jobs/batch", json={"jobs": jobs})
        accepted: list[Job] = answer["jobs"]
        return accepted

    def jobs(self, metadata: dict[str, str]) -> list[Job]:
        """Every job with this metadata, newest first."""
        found: list[Job] = []
        params = {f"metadata.{key}": value for key, value in metadata.items()} | {"limit": str(PAGE)}
        while True:
            page = self._json("GET", "/v1/jobs", params=params)
            found += page["data"]
            if not page.get("next_cursor"):
                return found
            params["cursor"] = page["next_cursor"]

    def count(self, collection: str) -> int:
        """Items in a collection."""
        return int(self._json("GET", f"/v1/collections/{collection}")["count"])

    def get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        """What a resource answers."""
        return self._json("GET", path, params=params)

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise DemoFailed(f"{method} {path}: no answer from the API ({type(error).__name__}: {error}).") from None
        if not answer.is_success:
            raise DemoFailed(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        body: dict[str, Any] = answer.json()
        return body

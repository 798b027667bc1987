"""Index a folder of pictures with Darkroom, and search it by words or by a picture.

    python examples/index_folder.py ~/Pictures --collection mine
    python examples/index_folder.py --collection mine --search "red car"
    python examples/index_folder.py --collection mine --search-picture ~/Pictures/cat.jpg

`make up` starts a server to try it with. Python and httpx are all that it needs (`.venv/bin/python` has both). Run
again, it sends the folder again, and the server skips what has not changed.
"""

import argparse
import base64
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".heic", ".heif"}
JOB_PICTURES = 64
JOB_BYTES = 30_000_000
"""A request may have 64 MB, and base64 makes four bytes of three."""
PICTURE_BYTES = 25_000_000
JOBS_AT_ONCE = 4
"""Enough to keep the workers busy without the whole folder standing in the queue."""
ENDED = {"succeeded", "failed", "canceled"}

Item = dict[str, Any]


@dataclass
class Tally:
    """What became of the pictures."""

    total: int
    indexed: int = 0
    unchanged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by item id."""

    def show(self) -> None:
        done = self.indexed + self.unchanged + len(self.failed)
        print(f"\r  {done} of {self.total} pictures", end="", flush=True)


def main() -> int:
    options = parse()
    headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
    try:
        with httpx.Client(base_url=options.url, headers=headers, timeout=90) as server:
            failed = index_folder(server, options) if options.folder else {}
            if options.search or options.search_picture:
                search(server, options)
    except httpx.ConnectError:
        sys.exit(f"Nothing answers at {options.url}. Start a server with `make up`, or name one with --url.")
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Index a folder of pictures, and search it.")
    parser.add_argument("folder", nargs="?", type=Path, help="pictures in it and below it are indexed")
    parser.add_argument("--collection", required=True, help="where they go; the first run makes it")
    parser.add_argument("--model", help="the collection's model, e.g. clip-vit-b-32 for photographs (first run only)")
    parser.add_argument("--search", metavar="WORDS")
    parser.add_argument("--search-picture", metavar="FILE", type=Path)
    parser.add_argument("--top", type=int, default=10, help="results to show (default: 10)")
    parser.add_argument("--url", default=os.environ.get("DARKROOM_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--key", default=os.environ.get("DARKROOM_KEY"), help="not needed on loopback")
    options = parser.parse_args()
    if not (options.folder or options.search or options.search_picture):
        parser.error("name a folder to index, or something to --search for")
    return options


def index_folder(server: httpx.Client, options: argparse.Namespace) -> dict[str, str]:
    """Index every picture below the folder; answers those that could not be, and why."""
    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        sys.exit(f"There are no pictures in {options.folder}.")
    print(f"Indexing {len(files)} pictures into the collection {options.collection}")
    tally = Tally(len(files))
    parts = parts_of(files, options.folder, tally)
    running: list[tuple[str, list[Item]]] = []
    while True:
        while len(running) < JOBS_AT_ONCE and (items := next(parts, None)):
            if job_id := submit(server, options, items, tally):
                running.append((job_id, items))
        tally.show()
        if not running:
            break
        job_id, items = running.pop(0)
        count(wait_for(server, job_id), items, tally)
    print(f"\r{tally.indexed} indexed, {tally.unchanged} unchanged, {len(tally.failed)} failed")
    for item_id, why in tally.failed.items():
        print(f"  {item_id}: {why}", file=sys.stderr)
    return tally.failed


def parts_of(files: list[Path], folder: Path, tally: Tally) -> Iterator[list[Item]]:
    """The pictures as items, as many at once as one job may take."""
    part: list[Item] = []
    size = 0
    for path in files:
        # A file name need not be valid UTF-8; an id must.
        item_id = path.relative_to(folder).as_posix().encode(errors="replace").decode()
        try:
            data = path.read_bytes()
        except OSError as error:
            tally.failed[item_id] = error.strerror or str(error)
            continue
        if len(data) > PICTURE_BYTES:
            tally.failed[item_id] = f"it has {len(data) / 1e6:.0f} MB; a picture may have {PICTURE_BYTES / 1e6:.0f}"
            continue
        if part and (len(part) == JOB_PICTURES or size + len(data) > JOB_BYTES):
            yield part
            part, size = [], 0
        image = {"base64": base64.b64encode(data).decode()}
        part.append({"id": item_id, "image": image, "payload": {"folder": Path(item_id).parent.as_posix()}})
        size += len(data)
    if part:
        yield part


def submit(server: httpx.Client, options: argparse.Namespace, items: list[Item], tally: Tally) -> str | None:
    """Submit an index job; answers its id.

    The server refuses a request in which a picture is none, and names every such picture. Those are dropped from
    `items`, and the others are sent again.
    """
    while items:
        request = {"collection": options.collection, "items": items}
        if options.model:
            request["model"] = options.model
        answer = server.post("/v1/index", json={"input": request})
        refused = refused_items(answer, len(items))
        if not refused:
            return str(accepted(answer)["id"])
        for position in sorted(refused, reverse=True):
            tally.failed[items.pop(position)["id"]] = refused[position]
    return None


def refused_items(answer: httpx.Response, count: int) -> dict[int, str]:
    """Which items a 422 complains about: positions and why."""
    if answer.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
        return {}
    faults = [
        (re.match(r"input\.items\.(\d+)\.", fault["path"]), fault["message"]) for fault in answer.json()["errors"]
    ]
    return {int(found[1]): message for found, message in faults if found and int(found[1]) < count}


def wait_for(server: httpx.Client, job_id: str) -> dict[str, Any]:
    """The job, once it has ended. Each request waits for up to a minute: no polling."""
    while True:
        job = accepted(server.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"}))
        if job["status"] in ENDED:
            return job


def count(job: dict[str, Any], items: list[Item], tally: Tally) -> None:
    """Add up what became of a job's items. An item that failed has not harmed the others."""
    if job["status"] == "succeeded":
        tally.indexed += job["output"]["indexed"]
        tally.unchanged += job["output"]["skipped"]
        tally.failed |= {item["id"]: item["message"] for item in job["output"]["failed"]}
    else:
        why = (job["error"] or {}).get("message", job["status"])
        tally.failed |= {item["id"]: why for item in items}


def search(server: httpx.Client, options: argparse.Namespace) -> None:
    """Print what is most like the words, or the picture, or both."""
    query: dict[str, Any] = {"collection": options.collection, "top_k": options.top}
    if options.search:
        query["text"] = options.search
    if options.search_picture:
        query["image"] = {"base64": base64.b64encode(options.search_picture.read_bytes()).decode()}
    job = accepted(server.post("/v1/search", json={"input": query}, headers={"Prefer": "wait=60"}))
    if job["status"] not in ENDED:
        job = wait_for(server, job["id"])
    if job["status"] != "succeeded":
        sys.exit(f"The search {job['status']}: {(job['error'] or {}).get('message')}")
    for result in job["output"]["results"]:
        print(f"{result['score']:6.3f}  {result['id']}")


def accepted(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON, or the end of the program with the server's own words."""
    body: dict[str, Any] = answer.json()
    if answer.is_success:
        return body
    faults = [f"\n  {fault['path']}: {fault['message']}" for fault in body.get("errors", [])]
    sys.exit(f"{body.get('title')}: {body.get('detail')}" + "".join(faults))


if __name__ == "__main__":
    sys.exit(main())

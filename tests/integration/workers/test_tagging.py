"""`tag` from its row to the table of tags, by a real executor on a real Postgres."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.database.pool import Connection
from shared.faults import arm
from tests.integration.shared.jobs.conftest import job_row, pass_time
from tests.integration.workers.tagging import Tagger, hard_links, submit, tagger
from tests.unit.workers.handlers.pictures import png

ROOT = Path(__file__).parents[3]
HOUR = 3_600


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def here(postgres_url: str, photos: Path, tmp_path: Path) -> Iterator[Tagger]:
    photos.mkdir(exist_ok=True)
    with tagger(postgres_url, photos=str(photos), own=f"{tmp_path}/own/{{tenant}}") as ready:
        yield ready


def rows(connection: Connection) -> int:
    found = connection.execute("SELECT count(*) FROM tagged_images").fetchone()
    assert found
    return int(found[0])


@pytest.mark.slow
def test_ten_thousand_files_in_one_job(here: Tagger, photos: Path) -> None:
    hard_links(png("red"), photos, 10_000)
    (photos / "broken.png").write_bytes(b"no picture")
    row = here.tag(directory="photos")
    assert row["state"] == "succeeded", row["error"]
    output = row["output"]
    assert (output["files"], output["tagged"], output["failed"]) == (10_001, 10_000, 1)
    assert [picture["source"] for picture in output["images"]] == ["photos/broken.png"]
    assert row["progress_message"] == "10,001 of 10,001 files"
    assert rows(here.connection) == here.encoded == 10_000
    again = here.tag(directory="photos")
    assert (again["output"]["unchanged"], again["output"]["tagged"]) == (10_000, 0)
    assert here.encoded == 10_000


def test_a_killed_job_goes_on_without_tagging_anything_twice(here: Tagger, photos: Path, tmp_path: Path) -> None:
    hard_links(png("red"), photos, 1_000)
    job_id = submit(here.connection, directory="photos")
    arm(tmp_path / "faults", "worker.after_effect")
    command = [sys.executable, "-m", "tests.integration.workers.tagging", here.worker.url, str(photos)]
    settings = {**os.environ, "DARKROOM_FAULTS_DIR": str(tmp_path / "faults"), "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(command, env=settings, cwd=ROOT, timeout=60, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = rows(here.connection)
    assert 0 < done < 1_000
    pass_time(here.connection, HOUR / 2)  # its lease runs out
    here.worker.wake("clip_batch")
    row = job_row(here.connection, job_id)
    assert (row["state"], row["attempt"]) == ("succeeded", 2)
    assert (row["output"]["unchanged"], row["output"]["tagged"]) == (done, 1_000 - done)
    assert (here.encoded, rows(here.connection)) == (1_000 - done, 1_000)


def test_an_attempt_that_lost_its_job_writes_nothing(here: Tagger, photos: Path) -> None:
    hard_links(png("red"), photos, 300)
    job_id = submit(here.connection, directory="photos")
    save = here.worker.executor._services.tags.save

    def stolen(*arguments: object, **named: object) -> None:
        here.connection.execute("UPDATE jobs SET attempt = attempt + 1 WHERE id = %s", (job_id,))
        save(*arguments, **named)  # type: ignore[arg-type]

    here.worker.executor._services.tags.save = stolen  # type: ignore[method-assign]
    here.worker.wake("clip_batch")
    assert rows(here.connection) == 0
    assert job_row(here.connection, job_id)["state"] == "running", "it is somebody else's"


def test_two_tenants_have_folders_and_rows_of_their_own(here: Tagger, tmp_path: Path) -> None:
    for tenant, colour in (("one", "red"), ("two", "blue")):
        folder = tmp_path / "own" / tenant
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(png(colour))
        assert here.tag(tenant=tenant, directory="own")["state"] == "succeeded"
    found = here.connection.execute(
        "SELECT tenant, image_path, tags->0->>'tag' FROM tagged_images ORDER BY tenant"
    ).fetchall()
    assert found == [("one", "own/a.png", "red"), ("two", "own/a.png", "blue")]
    assert here.tag(tenant="three", directory="own")["error"]["code"] == "invalid_input"


def test_an_empty_directory_succeeds_and_an_unknown_root_fails(here: Tagger) -> None:
    empty = here.tag(directory="photos")
    assert (empty["state"], empty["output"]["files"]) == ("succeeded", 0)
    assert "no pictures in photos" in empty["output"]["message"]
    unknown = here.tag(directory="elsewhere")
    assert (unknown["state"], unknown["error"]["code"]) == ("failed", "invalid_input")
    assert "own, photos" in unknown["error"]["message"]


def test_links_and_broken_files_are_listed_and_the_others_tagged(here: Tagger, photos: Path, tmp_path: Path) -> None:
    (photos / "good.png").write_bytes(png("green"))
    (photos / "cut.png").write_bytes(png()[:50])
    (tmp_path / "secret.png").write_bytes(png("red"))
    (photos / "out.png").symlink_to("../secret.png")
    (photos / "in.png").symlink_to("good.png")
    (photos / "up").symlink_to("..")
    name = os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png")
    Path(name).write_bytes(png())
    output = here.tag(directory="photos")["output"]
    assert (output["files"], output["tagged"], output["failed"]) == (5, 2, 3)
    assert {picture["source"]: picture["error"]["code"] for picture in output["images"]} == {
        "photos/caf\\xe9.png": "invalid_input",
        "photos/cut.png": "image_corrupt",
        "photos/out.png": "image_forbidden_address",
    }
    found = here.connection.execute("SELECT image_path FROM tagged_images ORDER BY image_path").fetchall()
    assert found == [("photos/good.png",), ("photos/in.png",)]

"""The writes of `tagged_images`, and the two questions that everybody may put to it."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from shared import tagging
from shared.database.pool import Connection, connect
from shared.errors import LeaseLost
from shared.tagging import KnownFile, SameFile, TaggedFile, Tagging
from shared.vectors.protocol import Fence
from tests.integration.shared.jobs.conftest import add_job

BEST = """SELECT image_path, tags->>0 AS best_tag FROM tagged_images WHERE tags @> '[{"tag": "cat"}]'::jsonb;"""
COUNTS = """
SELECT jsonb_array_elements(tags)->>'tag' AS tag, COUNT(*) AS count FROM tagged_images GROUP BY tag ORDER BY count DESC;
"""
CAT, DOG = ("cat", 0.89), ("dog", 0.1)


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection]:
    with connect(postgres_url) as connection:
        yield connection


def running(connection: Connection, *, tenant: str = "t") -> Tagging:
    """A job that its first attempt owns."""
    job_id = add_job(connection, tenant=tenant)
    row = connection.execute(
        "UPDATE jobs SET state = 'running', attempt = 1 WHERE id = %s RETURNING seq", (job_id,)
    ).fetchone()
    assert row
    return Tagging(tenant, row[0], Fence(job_id, 1))


def save(connection: Connection, by: Tagging, *files: TaggedFile, recipe: str = "r") -> None:
    tagging.save(connection, files, by, model="m", recipe=recipe)


def tags(connection: Connection, path: str, tenant: str = "t") -> Any:
    row = connection.execute(
        "SELECT tags FROM tagged_images WHERE tenant = %s AND image_path = %s", (tenant, path)
    ).fetchone()
    return row and [entry["tag"] for entry in row[0]]


def test_the_two_questions_return_rows(connection: Connection) -> None:
    job = running(connection)
    save(connection, job, TaggedFile("photos/1.jpg", [CAT, DOG]), TaggedFile("photos/2.jpg", [("dog", 0.7)]))
    assert connection.execute(BEST).fetchall() == [("photos/1.jpg", '{"tag": "cat", "score": 0.89}')]  # type: ignore[arg-type]
    assert connection.execute(COUNTS).fetchall() == [("dog", 2), ("cat", 1)]  # type: ignore[arg-type]


def test_the_first_question_is_answered_from_the_index(connection: Connection) -> None:
    job = running(connection)
    save(connection, job, *(TaggedFile(f"photos/{n}.jpg", [(f"tag {n}", 0.5)]) for n in range(5_000)))
    save(connection, job, TaggedFile("photos/cat.jpg", [CAT]))
    connection.execute("VACUUM ANALYZE tagged_images")
    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {BEST}"))  # type: ignore[arg-type]
    assert "ix_tagged_images_tags" in plan


def test_what_is_written_is_known(connection: Connection) -> None:
    job = running(connection)
    taken = datetime(2024, 5, 1, 12, tzinfo=UTC)
    save(connection, job, TaggedFile("p/1.jpg", [CAT], taken, "hash", 10, 123))
    assert tagging.known(connection, "t", ["p/1.jpg", "p/2.jpg"]) == {
        "p/1.jpg": KnownFile("p/1.jpg", "r", job.version, 10, 123, "hash")
    }
    assert tagging.known(connection, "other", ["p/1.jpg"]) == {}
    row = connection.execute("SELECT exif_datetime, model, created_at = updated_at FROM tagged_images").fetchone()
    assert row == (datetime(2024, 5, 1, 12), "m", True)


def test_tagging_anew_replaces_what_was_found(connection: Connection) -> None:
    save(connection, running(connection), TaggedFile("p/1.jpg", [CAT]))
    save(connection, running(connection), TaggedFile("p/1.jpg", [DOG]), recipe="other")
    assert tags(connection, "p/1.jpg") == ["dog"]
    row = connection.execute("SELECT count(*), max(recipe), bool_and(updated_at > created_at) FROM tagged_images")
    assert row.fetchone() == (1, "other", True)


def test_the_job_that_was_submitted_later_wins(connection: Connection) -> None:
    early, late = running(connection), running(connection)
    save(connection, late, TaggedFile("p/1.jpg", [CAT]))
    save(connection, early, TaggedFile("p/1.jpg", [DOG]), TaggedFile("p/2.jpg", [DOG]))
    assert (tags(connection, "p/1.jpg"), tags(connection, "p/2.jpg")) == (["cat"], ["dog"])


def test_a_confirmed_file_is_the_later_jobs(connection: Connection) -> None:
    first, early, late = (running(connection) for _ in range(3))
    save(connection, first, TaggedFile("p/1.jpg", [CAT], None, "hash", 1, 1), TaggedFile("p/2.jpg", [CAT]))
    save(connection, first, TaggedFile("p/2.jpg", [CAT]), recipe="other")
    same = [SameFile("p/1.jpg", 2, 3), SameFile("p/2.jpg", 2, 3), SameFile("p/3.jpg", 2, 3)]
    assert tagging.confirm(connection, same, late, recipe="r") == {"p/1.jpg"}
    assert tagging.known(connection, "t", ["p/1.jpg"])["p/1.jpg"] == KnownFile(
        "p/1.jpg", "r", late.version, 2, 3, "hash"
    )
    save(connection, early, TaggedFile("p/1.jpg", [DOG]))
    assert tags(connection, "p/1.jpg") == ["cat"]


def test_tags_given_and_taken_by_hand_are_kept(connection: Connection) -> None:
    save(connection, running(connection), TaggedFile("p/1.jpg", [CAT, DOG]))
    connection.execute("UPDATE tagged_images SET added_tags = '{mine}', removed_tags = '{cat}'")
    assert tags(connection, "p/1.jpg") == ["mine", "dog"]
    save(connection, running(connection), TaggedFile("p/1.jpg", [CAT, ("bird", 0.5)]))
    assert tags(connection, "p/1.jpg") == ["mine", "bird"]


def test_tenants_are_kept_apart(connection: Connection) -> None:
    save(connection, running(connection, tenant="one"), TaggedFile("p/1.jpg", [CAT]))
    save(connection, running(connection, tenant="two"), TaggedFile("p/1.jpg", [DOG]))
    assert tags(connection, "p/1.jpg", "one") == ["cat"]
    assert tags(connection, "p/1.jpg", "two") == ["dog"]


def test_of_two_pictures_with_one_path_the_last_counts(connection: Connection) -> None:
    save(connection, running(connection), TaggedFile("https://a/1", [CAT]), TaggedFile("https://a/1", [DOG]))
    assert tags(connection, "https://a/1") == ["dog"]


@pytest.mark.parametrize("change", ["attempt = 2", "state = 'queued'", "id = gen_random_uuid()"])
def test_an_attempt_that_lost_its_job_writes_nothing(connection: Connection, change: str) -> None:
    job = running(connection)
    save(connection, job, TaggedFile("p/1.jpg", [CAT]))
    connection.execute(f"UPDATE jobs SET {change} WHERE id = %s", (job.fence.job_id,))  # type: ignore[arg-type]
    with pytest.raises(LeaseLost):
        save(connection, job, TaggedFile("p/1.jpg", [DOG]))
    with pytest.raises(LeaseLost):
        tagging.confirm(connection, [SameFile("p/1.jpg", 1, 1)], job, recipe="r")
    assert tags(connection, "p/1.jpg") == ["cat"]


def test_the_job_is_held_until_the_tags_are_written(connection: Connection, postgres_url: str) -> None:
    job = running(connection)
    with connect(postgres_url) as other, connection.transaction():
        save(connection, job, TaggedFile("p/1.jpg", [CAT]))
        taken = other.execute("SELECT 1 FROM jobs WHERE id = %s FOR UPDATE SKIP LOCKED", (job.fence.job_id,)).fetchall()
        other.execute("UPDATE jobs SET lease_until = now() WHERE id = %s", (job.fence.job_id,))  # a heartbeat passes
    assert taken == [], "nobody takes it over meanwhile"


def test_a_job_that_nobody_knows(connection: Connection) -> None:
    with pytest.raises(LeaseLost):
        save(connection, Tagging("t", 1, Fence(uuid.uuid4(), 1)), TaggedFile("p/1.jpg", [CAT]))

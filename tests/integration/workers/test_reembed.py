"""`reembed`: whatever happens meanwhile, the new vectors are of what the collection holds when they take its place."""

import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import QdrantClient

from shared.database.pool import connect, open_pool
from shared.errors import DependencyUnavailable
from shared.vectors.fencing import build_id, hold_collection, move_version
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef, Point
from tests.integration.shared.jobs.conftest import job_row
from tests.integration.workers.catalogue import Catalogue
from tests.integration.workers.rig import until


@pytest.fixture(params=["pgvector", "qdrant"])
def qdrant(request: pytest.FixtureRequest) -> QdrantClient | None:
    if request.param == "pgvector":
        return None
    warnings.filterwarnings("ignore", message="Local mode is not recommended")
    return QdrantClient(":memory:")


@pytest.fixture
def catalogue(postgres_url: str, qdrant: QdrantClient | None) -> Iterator[Catalogue]:
    with open_pool(postgres_url) as pool:
        catalogue = Catalogue(postgres_url, pool, qdrant)
        yield catalogue
        catalogue.close()


@pytest.fixture
def other(postgres_url: str, qdrant: QdrantClient | None, catalogue: Catalogue) -> Iterator[Catalogue]:
    """A second worker beside the first."""
    with open_pool(postgres_url) as pool:
        other = Catalogue(postgres_url, pool, qdrant)
        other.pictures.data = catalogue.pictures.data
        yield other
        other.close()


def contents(catalogue: Catalogue) -> dict[str, Any]:
    return {id: (point.version, point.payload, point.text, point.image) for id, point in catalogue.stored().items()}


def discarded(catalogue: Catalogue) -> set[Any]:
    return {row[0] for row in catalogue.connection.execute("SELECT vectors_id FROM discarded_vectors")}


def test_the_new_vectors_take_the_place_of_the_old(catalogue: Catalogue) -> None:
    catalogue.index(*(catalogue.item(f"{n}", "red", n, payload={"n": n}, text=f"t{n}") for n in range(5)))
    before, old = contents(catalogue), catalogue.row()
    job = catalogue.end_of(catalogue.submit_reembed())
    assert job["output"] == {"model": "other", "dimension": 8, "items": 5, "failed": [], "failed_count": 0}
    row = catalogue.row()
    assert (row.model, row.dimension, row.id) == ("other", 8, old.id)
    assert row.version > old.version
    assert contents(catalogue) == before
    assert {len(point.vector) for point in catalogue.stored().values() if point.vector is not None} == {8}
    assert discarded(catalogue) == {old.vectors_id}, "the old ones go some time later"
    assert catalogue.vectors.count(old.ref) == 5


def test_items_that_are_indexed_again_unchanged_are_skipped(catalogue: Catalogue) -> None:
    items = [catalogue.item(f"{n}", "red", n, payload={"n": n}) for n in range(3)]
    catalogue.index(*items)
    catalogue.end_of(catalogue.submit_reembed())
    assert catalogue.index(*items)["output"]["skipped"] == 3
    changed = catalogue.item("0", "blue")
    assert catalogue.index(changed, *items[1:])["output"]["indexed"] == 1


def test_the_same_model_may_make_them_anew(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    before, old = catalogue.stored()["a"], catalogue.row()
    catalogue.end_of(catalogue.submit_reembed(model="fake"))
    after = catalogue.stored()["a"]
    assert catalogue.row().vectors_id != old.vectors_id
    assert (after.content_hash, after.vector.tolist()) == (before.content_hash, before.vector.tolist())  # type: ignore[union-attr]


def test_what_is_written_between_the_passes_is_caught_up_with(catalogue: Catalogue, other: Catalogue) -> None:
    keep = catalogue.item("keep", payload={"n": 1})
    catalogue.index(keep, catalogue.item("change"), catalogue.item("repaint"), catalogue.item("delete"))

    def meanwhile() -> None:
        other.index(other.item("add", "green"), other.item("repaint", "blue"))
        other.vectors.delete(other.row().ref, ["delete"], version=other.seq())
        point = other.stored()["change"]
        other.vectors.replace_payload(
            other.row().ref, "change", payload={"new": 1}, text="x", version=other.seq(), expected_version=point.version
        )
        other.index(keep)  # unchanged: confirmed with a higher version, and nothing else

    catalogue.vectors.after_first_pass = meanwhile
    job = catalogue.submit_reembed()
    catalogue.wake("clip_batch")
    assert catalogue.job(job)["state"] == "succeeded"
    (old,) = discarded(catalogue)
    page = catalogue.vectors.list_items(CollectionRef(old, catalogue.old.dimension))
    assert contents(catalogue) == {
        point.id: (point.version, point.payload, point.text, point.image) for point in page.points
    }
    assert set(contents(catalogue)) == {"keep", "change", "repaint", "add"}
    assert sum(catalogue.new.image_batches) == 6, "a picture that has not changed is not embedded twice"


def test_a_job_submitted_before_a_delete_does_not_bring_the_item_back_after(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"), catalogue.item("b"))
    early = catalogue.submit_index(catalogue.item("a", "blue"), next_run_in=3600)
    catalogue.vectors.delete(catalogue.row().ref, ["a"], version=catalogue.seq())
    catalogue.end_of(catalogue.submit_reembed())
    catalogue.end_of(early)
    assert set(contents(catalogue)) == {"b"}


def test_a_confirmation_alone_asks_for_another_pass(catalogue: Catalogue, other: Catalogue) -> None:
    item = catalogue.item("a")
    catalogue.index(item)
    early = catalogue.submit_index(catalogue.item("a", "blue"), next_run_in=3600)
    version = catalogue.row().version
    catalogue.vectors.after_first_pass = lambda: other.index(item)
    catalogue.end_of(catalogue.submit_reembed())
    assert catalogue.row().version == version + 1, "what was found before the confirmation is still true"
    catalogue.end_of(early)
    assert catalogue.stored()["a"].image == item["image"], "the last submitted wins"


def test_a_job_that_began_before_writes_into_the_new_vectors(catalogue: Catalogue, other: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    old = catalogue.row()
    rebuild = other.submit_reembed()
    catalogue.old.before_first = lambda: other.wake("clip_batch")
    late = catalogue.submit_index(catalogue.item("b", "blue"))
    catalogue.wake("index")
    assert job_row(catalogue.connection, rebuild)["state"] == "succeeded"
    waiting = catalogue.job(late)
    assert (waiting["state"], waiting["failures"]) == ("queued", 0)
    assert catalogue.vectors.get(old.ref, ["b"]) == {}
    assert catalogue.end_of(late)["output"]["indexed"] == 1
    assert {len(point.vector) for point in catalogue.stored().values() if point.vector is not None} == {8}
    assert set(contents(catalogue)) == {"a", "b"}


def test_a_writer_that_holds_the_collection_is_waited_for(catalogue: Catalogue, postgres_url: str) -> None:
    if not isinstance(catalogue.vectors, PgVectorStore):
        pytest.skip("it writes with a statement of its own")
    catalogue.index(catalogue.item("a"), catalogue.item("b"))
    ref = catalogue.row().ref
    job = catalogue.submit_reembed()
    running = threading.Thread(target=catalogue.wake, args=("clip_batch",))
    with connect(postgres_url) as writer, connect(postgres_url) as looker:
        with writer.transaction():
            assert hold_collection(writer, ref)
            running.start()
            until(lambda: _someone_waits(looker))
            writer.execute("UPDATE items SET payload = '{\"late\": 1}', version = version + 1000 WHERE item_id = 'a'")
            writer.execute("DELETE FROM items WHERE item_id = 'b' AND collection_id = %s", (ref.id,))
            move_version(writer, ref)
        running.join(10)
    assert catalogue.job(job)["state"] == "succeeded"
    assert {id: point.payload for id, point in catalogue.stored().items()} == {"a": {"late": 1}}


def _someone_waits(connection: Any) -> bool:
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return bool(row[0])


def test_a_collection_that_is_written_to_all_the_time_is_held_for_the_last_pass(
    catalogue: Catalogue, other: Catalogue
) -> None:
    catalogue.index(catalogue.item("a"))
    written: list[int] = []

    def write() -> None:
        if len(written) < 10:
            written.append(len(written))
            other.index(other.item(f"w{len(written)}", "blue", len(written)))

    catalogue.vectors.during_pass = write
    job = catalogue.submit_reembed()
    catalogue.wake("clip_batch")
    assert catalogue.job(job)["state"] == "succeeded"
    assert set(contents(catalogue)) == {"a", *(f"w{n}" for n in range(1, 11))}


def test_an_attempt_that_died_leaves_its_work_to_the_next(catalogue: Catalogue) -> None:
    catalogue.index(*(catalogue.item(f"{n:03}", ("red", "green", "blue")[n % 3], n // 3) for n in range(300)))
    job, calls = catalogue.submit_reembed(), []

    def die_the_second_time() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise DependencyUnavailable("gone")

    catalogue.vectors.before_upsert = die_the_second_time
    catalogue.wake("clip_batch")
    assert catalogue.job(job)["state"] == "queued"
    made = catalogue.vectors.count(CollectionRef(build_id(job), catalogue.new.dimension))
    assert 0 < made < 300
    before = sum(catalogue.new.image_batches)
    assert catalogue.end_of(job)["output"]["items"] == 300
    assert sum(catalogue.new.image_batches) - before == 300 - made


def test_an_attempt_that_died_after_the_swap_has_done_its_work(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    job = catalogue.submit_reembed()
    catalogue.end_of(job)
    row = catalogue.row()
    catalogue.connection.execute("UPDATE jobs SET state = 'queued', output = NULL WHERE id = %s", (job,))
    assert catalogue.end_of(job)["output"]["items"] == 1
    assert catalogue.row() == row


def test_items_without_a_picture_fail_the_job_and_change_nothing(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("good"), catalogue.item("lost", "blue"), catalogue.item("gone", "green"))
    lost = catalogue.stored()["lost"]
    assert lost.vector is not None
    catalogue.vectors.upsert(catalogue.row().ref, [Point("lost", lost.vector, version=lost.version)])
    del catalogue.pictures.data["t", catalogue.picture("green")]
    before = catalogue.row()
    failed = catalogue.end_of(catalogue.submit_reembed())
    assert (failed["state"], failed["error"]["code"]) == ("failed", "image_unreachable")
    assert "2 of 3 items" in failed["error"]["message"]
    assert "item lost" in failed["logs"]
    assert "item gone" in failed["logs"]
    assert catalogue.row() == before
    dropped = catalogue.end_of(catalogue.submit_reembed(drop_failed=True))["output"]
    assert (dropped["items"], dropped["failed_count"]) == (1, 2)
    assert {item["id"] for item in dropped["failed"]} == {"lost", "gone"}
    assert set(contents(catalogue)) == {"good"}


def test_an_item_whose_new_picture_is_lost_is_left_out_although_its_old_one_was_embedded(
    catalogue: Catalogue, other: Catalogue
) -> None:
    catalogue.index(catalogue.item("a"), catalogue.item("b", "blue"))

    def lose() -> None:
        other.index(other.item("a", "green"))
        del catalogue.pictures.data["t", catalogue.stored()["a"].image["file"]]  # type: ignore[index]

    catalogue.vectors.after_first_pass = lose
    dropped = catalogue.end_of(catalogue.submit_reembed(drop_failed=True))["output"]
    assert ([item["id"] for item in dropped["failed"]], set(contents(catalogue))) == (["a"], {"b"})


def test_a_canceled_job_has_what_it_made_removed(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    before, job = catalogue.row(), catalogue.submit_reembed()

    def cancel() -> None:
        catalogue.connection.execute("UPDATE jobs SET cancel_requested_at = now() WHERE id = %s", (job,))
        (handle,) = catalogue.worker.executor._heartbeat._held.values()  # it looks in its own time
        until(lambda: handle.stop_reason is not None)

    catalogue.vectors.after_first_pass = cancel
    catalogue.wake("clip_batch")
    assert catalogue.job(job)["state"] == "canceled"
    assert catalogue.row() == before
    due = catalogue.one("SELECT remove_after <= now() FROM discarded_vectors WHERE vectors_id = %s", build_id(job))
    assert due is True


def test_a_collection_deleted_meanwhile_ends_it(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    job = catalogue.submit_reembed()
    catalogue.vectors.after_first_pass = catalogue.mark_deleted
    failed = catalogue.end_of(job)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "collection_unknown")
    due = catalogue.one("SELECT remove_after <= now() FROM discarded_vectors WHERE vectors_id = %s", build_id(job))
    assert due is True


def test_another_job_may_have_been_faster(catalogue: Catalogue, other: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    slow, fast = catalogue.submit_reembed(), other.submit_reembed(model="fake")
    catalogue.connection.execute("UPDATE jobs SET next_run_at = now() + interval '1 hour' WHERE id = %s", (fast,))

    def overtake() -> None:
        other.connection.execute("UPDATE jobs SET next_run_at = now() WHERE id = %s", (fast,))
        other.wake("clip_batch")

    catalogue.vectors.after_first_pass = overtake
    failed = catalogue.end_of(slow)
    assert (failed["state"], catalogue.row().model) == ("failed", "fake")
    assert "Another job" in failed["error"]["message"]

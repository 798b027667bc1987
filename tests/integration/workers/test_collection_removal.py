"""Deleted collections, replaced vectors and pictures of items: everything goes, and nothing too early."""

import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import collections, files, rebuilding
from shared.collections import CollectionRow
from shared.database.pool import Pool, connect, open_pool
from shared.errors import DependencyUnavailable
from shared.settings import SweeperSettings
from shared.storage import LocalStorage
from shared.vectors.fencing import hold_collection, move_version
from shared.vectors.pgvector import PgVectorStore
from shared.vectors.protocol import CollectionRef
from tests.integration.workers.catalogue import Catalogue
from tests.integration.workers.rig import until
from workers.housekeeping import Housekeeper

SETTINGS = SweeperSettings(embedded=True, sweep_page=2)


@pytest.fixture
def pool(postgres_url: str) -> Iterator[Pool]:
    with open_pool(postgres_url) as pool:
        yield pool


@pytest.fixture
def catalogue(postgres_url: str, pool: Pool) -> Iterator[Catalogue]:
    catalogue = Catalogue(postgres_url, pool)
    yield catalogue
    catalogue.close()


@pytest.fixture
def keeper(pool: Pool, tmp_path: Path) -> Housekeeper:
    return Housekeeper(pool, LocalStorage(tmp_path), PgVectorStore(pool), SETTINGS, threading.Event())


def fill(catalogue: Catalogue, ref: CollectionRef, items: int) -> None:
    catalogue.connection.execute(
        "INSERT INTO items (collection_id, item_id, embedding, version) "
        "SELECT %s, 'i' || n, array_fill(1, ARRAY[16])::vector, 1 FROM generate_series(1, %s) AS n",
        (ref.id, items),
    )


def items_left(catalogue: Catalogue) -> int:
    return int(catalogue.one("SELECT count(*) FROM items"))


def test_a_deleted_collection_goes_with_all_that_it_has(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"), catalogue.item("b", "blue"))
    catalogue.index(catalogue.item("a"), name="other")
    catalogue.vectors.delete(catalogue.row().ref, ["b"], version=catalogue.seq())
    job = catalogue.end_of(catalogue.submit_delete())
    assert job["output"] == {"deleted": 1}
    assert [row[0] for row in catalogue.connection.execute("SELECT name FROM collections")] == ["other"]
    assert items_left(catalogue) == 1
    assert catalogue.one("SELECT count(*) FROM item_files") == 1


def test_its_name_is_free_at_once(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    job = catalogue.submit_delete()
    catalogue.index(catalogue.item("new", "blue"))
    catalogue.end_of(job)
    assert set(catalogue.stored()) == {"new"}


def test_a_delete_that_died_is_gone_on_with(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    fill(catalogue, catalogue.row().ref, 12_000)
    left: list[int] = []

    class Dying(PgVectorStore):
        def drop_pages(self, collection: CollectionRef) -> Iterator[int]:
            for count in super().drop_pages(collection):
                yield count
                left.append(items_left(catalogue))
                raise DependencyUnavailable("gone")

    whole = catalogue.services.vectors
    object.__setattr__(catalogue.services, "vectors", Dying(catalogue.worker.pool))
    job = catalogue.submit_delete()
    catalogue.wake("index")
    assert catalogue.job(job)["state"] == "queued"
    assert 0 < left[0] < 12_001
    object.__setattr__(catalogue.services, "vectors", whole)
    assert catalogue.end_of(job)["output"] == {"deleted": left[0]}
    assert (items_left(catalogue), catalogue.one("SELECT count(*) FROM collections")) == (0, 0)


def test_a_delete_that_died_at_its_end_succeeds(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    job = catalogue.submit_delete()
    catalogue.end_of(job)
    catalogue.connection.execute("UPDATE jobs SET state = 'queued' WHERE id = %s", (job,))
    assert catalogue.end_of(job)["output"] == {"deleted": 0}


def test_a_writer_that_came_first_leaves_nothing_behind(catalogue: Catalogue, postgres_url: str) -> None:
    catalogue.index(catalogue.item("a"))
    ref = catalogue.row().ref
    running = threading.Thread(target=catalogue.wake, args=("index",))
    with connect(postgres_url) as writer, connect(postgres_url) as looker:
        with writer.transaction():
            assert hold_collection(writer, ref)
            job = catalogue.submit_delete()
            running.start()
            until(lambda: bool(looker.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone()))
            writer.execute("INSERT INTO items (collection_id, item_id, version) VALUES (%s, 'late', 1)", (ref.id,))
            move_version(writer, ref)
        running.join(10)
    assert catalogue.job(job)["state"] == "succeeded"
    assert items_left(catalogue) == 0


def test_a_job_that_indexes_into_a_collection_that_is_deleted_fails_alone(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    catalogue.old.before_first = catalogue.mark_deleted
    jobs = [catalogue.submit_index(catalogue.item("b", "blue")), catalogue.submit_index(catalogue.item("x"), name="d")]
    ends = [catalogue.end_of(job) for job in jobs]
    assert [end["state"] for end in ends] == ["failed", "succeeded"]
    assert ends[0]["error"]["code"] == "collection_unknown"
    assert catalogue.one("SELECT count(*) FROM items WHERE item_id = 'b'") == 0


def test_a_job_whose_collection_is_gone_to_its_last_row_fails_alone(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))

    def remove() -> None:
        row = catalogue.row()
        catalogue.mark_deleted()
        catalogue.services.vectors.drop_collection(row.ref)
        catalogue.services.collections.erase(row.id)

    catalogue.old.before_first = remove
    jobs = [catalogue.submit_index(catalogue.item("b", "blue")), catalogue.submit_index(catalogue.item("x"), name="d")]
    ends = [catalogue.end_of(job) for job in jobs]
    assert [end["state"] for end in ends] == ["failed", "succeeded"]
    assert ends[0]["error"]["code"] == "collection_unknown"
    assert collections.find(catalogue.connection, "t", "c") is None, "no other one is made in its place"


def abandon(catalogue: Catalogue) -> CollectionRow:
    row = catalogue.row()
    catalogue.submit_delete()
    catalogue.connection.execute("UPDATE collections SET deleted_at = now() - interval '2 hours'")
    return row


def test_a_collection_whose_delete_was_lost_is_removed_by_housekeeping(
    catalogue: Catalogue, keeper: Housekeeper
) -> None:
    catalogue.index(catalogue.item("a"), catalogue.item("b"), catalogue.item("c"))
    abandon(catalogue)
    assert keeper.finish_deletes() == 0, "its job is queued"
    catalogue.connection.execute("UPDATE jobs SET state = 'failed' WHERE kind = 'delete_collection'")
    assert keeper.finish_deletes() == 1
    assert (items_left(catalogue), catalogue.one("SELECT count(*) FROM collections")) == (0, 0)


def test_a_collection_that_cannot_be_removed_does_not_keep_others(
    catalogue: Catalogue, pool: Pool, tmp_path: Path
) -> None:
    catalogue.index(catalogue.item("a"))
    catalogue.index(catalogue.item("a"), name="d")
    stuck = catalogue.row().ref
    catalogue.mark_deleted()
    catalogue.mark_deleted("d")
    catalogue.connection.execute("UPDATE collections SET deleted_at = deleted_at - interval '2 hours'")

    class Stuck(PgVectorStore):
        def drop_collection(self, collection: CollectionRef) -> None:
            if collection == stuck:
                raise DependencyUnavailable("gone")
            super().drop_collection(collection)

    stiff = Housekeeper(pool, LocalStorage(tmp_path), Stuck(pool), SETTINGS, threading.Event())
    assert stiff.finish_deletes() == 1
    assert catalogue.one("SELECT array_agg(name) FROM collections") == ["c"]


def test_replaced_vectors_go_some_time_later(catalogue: Catalogue, keeper: Housekeeper) -> None:
    catalogue.index(catalogue.item("a"))
    old = catalogue.row()
    catalogue.end_of(catalogue.submit_reembed())
    assert keeper.remove_discarded() == 0
    assert catalogue.vectors.count(old.ref) == 1
    catalogue.connection.execute("UPDATE discarded_vectors SET remove_after = now() - interval '1 s'")
    assert keeper.remove_discarded() == 1
    assert keeper.remove_discarded() == 0
    assert catalogue.vectors.count(old.ref) == 0
    assert set(catalogue.stored()) == {"a"}
    catalogue.connection.execute("UPDATE discarded_vectors SET removed_at = now() - interval '2 days'")
    keeper.remove_discarded()
    assert catalogue.one("SELECT count(*) FROM discarded_vectors") == 0


def test_vectors_of_a_collection_are_never_removed(catalogue: Catalogue, keeper: Housekeeper) -> None:
    catalogue.index(catalogue.item("a"))
    rebuilding.set_removal(catalogue.connection, catalogue.row().ref, in_seconds=-1)
    assert keeper.remove_discarded() == 0
    assert set(catalogue.stored()) == {"a"}


def test_vectors_that_cannot_be_removed_do_not_keep_others(
    catalogue: Catalogue, pool: Pool, tmp_path: Path, keeper: Housekeeper
) -> None:
    catalogue.index(catalogue.item("a"))
    stuck = catalogue.row().ref
    catalogue.end_of(catalogue.submit_reembed())
    catalogue.end_of(catalogue.submit_reembed(model="fake"))
    catalogue.connection.execute("UPDATE discarded_vectors SET remove_after = now() - interval '1 s'")

    class Stuck(PgVectorStore):
        def drop_collection(self, collection: CollectionRef) -> None:
            if collection == stuck:
                raise DependencyUnavailable("gone")
            super().drop_collection(collection)

    stiff = Housekeeper(pool, LocalStorage(tmp_path), Stuck(pool), SETTINGS, threading.Event())
    assert stiff.remove_discarded() == 1
    assert catalogue.vectors.count(stuck) == 1
    catalogue.connection.execute("UPDATE discarded_vectors SET remove_after = now() - interval '1 s'")
    assert keeper.remove_discarded() == 1


def noted(catalogue: Catalogue) -> set[tuple[str, str]]:
    rows = catalogue.connection.execute("SELECT item_id, file_id FROM item_files")
    return {(item, file) for item, file in rows}


def test_pictures_of_items_are_kept_as_long_as_the_items(
    catalogue: Catalogue, keeper: Housekeeper, tmp_path: Path
) -> None:
    red, green, blue = (catalogue.picture(colour) for colour in ("red", "green", "blue"))
    catalogue.index(catalogue.item("a"), catalogue.item("b"), catalogue.item("c", "green"), catalogue.item("d", "blue"))
    assert noted(catalogue) == {("a", red), ("b", red), ("c", green), ("d", blue)}
    assert keeper.release_files() == 0
    catalogue.index(catalogue.item("d", "red"))
    catalogue.vectors.delete(catalogue.row().ref, ["c"], version=catalogue.seq())
    assert keeper.release_files() == 2
    assert noted(catalogue) == {("a", red), ("b", red), ("d", red)}
    catalogue.connection.execute("DELETE FROM jobs")
    catalogue.connection.execute("UPDATE files SET touched_at = now() - interval '1 day'")
    assert files.erase_unused_files(catalogue.connection, LocalStorage(tmp_path), page=10) == 2
    assert [row[0] for row in catalogue.connection.execute("SELECT id FROM files")] == [red]
    catalogue.end_of(catalogue.submit_delete())
    catalogue.connection.execute("DELETE FROM jobs")
    assert files.erase_unused_files(catalogue.connection, LocalStorage(tmp_path), page=10) == 1


def test_a_picture_that_a_job_may_still_write_stays_noted(catalogue: Catalogue, keeper: Housekeeper) -> None:
    catalogue.index(catalogue.item("a"))
    green = catalogue.picture("green")

    def look() -> None:
        assert ("a", green) in noted(catalogue)
        assert keeper.release_files() == 0
        assert ("a", green) in noted(catalogue)

    catalogue.vectors.before_upsert = look
    assert catalogue.index(catalogue.item("a", "green"))["output"]["indexed"] == 1
    assert keeper.release_files() == 1
    assert noted(catalogue) == {("a", green)}


def test_pictures_are_looked_for_in_the_vectors_that_a_collection_has_by_then(
    catalogue: Catalogue, pool: Pool, tmp_path: Path
) -> None:
    """Housekeeping reads many collections at once, and may be at the last of them much later."""
    catalogue.index(catalogue.item("a"))
    catalogue.index(catalogue.item("a"), name="d")
    first = catalogue.row().ref

    class Slow(PgVectorStore):
        def get(self, collection: CollectionRef, ids: Collection[str], *, with_vectors: bool = False) -> dict[str, Any]:
            if collection == first and catalogue.row("d").model == "fake":
                catalogue.end_of(catalogue.submit_reembed(name="d"))
                catalogue.index(catalogue.item("b", "blue"), name="d")
            return super().get(collection, ids, with_vectors=with_vectors)

    slow = Housekeeper(pool, LocalStorage(tmp_path), Slow(pool), SETTINGS, threading.Event())
    assert slow.release_files() == 0
    assert catalogue.row("d").model == "other"
    assert noted(catalogue) == {(id, catalogue.picture(colour)) for id, colour in (("a", "red"), ("b", "blue"))}


def test_the_picture_of_a_write_that_lost_is_let_go(catalogue: Catalogue, keeper: Housekeeper) -> None:
    early = catalogue.submit_index(catalogue.item("a", "green"), next_run_in=3600)
    catalogue.index(catalogue.item("a"))
    catalogue.end_of(early)
    assert len(noted(catalogue)) == 2
    assert keeper.release_files() == 1
    assert noted(catalogue) == {("a", catalogue.picture("red"))}


def test_a_note_waits_for_whoever_looks_at_it(catalogue: Catalogue, pool: Pool) -> None:
    """Otherwise a job that ran in the middle would find its picture noted, and lose the note after."""
    catalogue.index(catalogue.item("a"))
    row, red = catalogue.row(), catalogue.picture("red")
    noting = threading.Thread(target=catalogue.services.collections.keep_files, args=(row.id, {"a": red}))
    with pool.connection() as connection, connection.transaction():
        connection.execute("SELECT 1 FROM item_files FOR UPDATE")
        noting.start()
        until(lambda: bool(catalogue.one("SELECT 1 FROM pg_locks WHERE NOT granted")))
        connection.execute("DELETE FROM item_files")
    noting.join(5)
    assert noted(catalogue) == {("a", red)}


def test_collections_of_other_tenants_are_not_found(catalogue: Catalogue) -> None:
    catalogue.index(catalogue.item("a"))
    assert collections.find(catalogue.connection, "u", "c") is None

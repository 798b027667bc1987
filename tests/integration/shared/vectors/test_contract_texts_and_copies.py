"""What every vector store promises of texts, samples, copies and patches, held against each of them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool

from shared.errors import PermanentJobError
from shared.images.fingerprint import Fingerprint
from shared.vectors.filters import parse
from shared.vectors.protocol import CollectionRef, Copy, Point, TextHit, VectorStore
from shared.vectors.words import weight, words

from .conftest import DIMENSION, STORES, add_collection, unit


def fingerprint(file: str, pixels: str) -> Fingerprint:
    """One whose file and pixel hashes begin so."""
    hashes = (file.ljust(64, "0"), pixels.ljust(64, "0"), "ab" * 8, "cd" * 8)
    return Fingerprint(*hashes, width=640, height=480, size=1_000, taken_at="2026-01-31T12:00:00")


def fill(store: VectorStore, collection: CollectionRef, texts: dict[str, str | None], **fields: Any) -> None:
    """An item for each text."""
    store.upsert(collection, [Point(id, unit(1), text=text, **fields) for id, text in texts.items()])


def texts_found(store: VectorStore, collection: CollectionRef, text: str, **options: Any) -> list[str]:
    """Ids of the items whose texts have words of `text`, best first."""
    return [hit.id for hit in store.search_text(collection, words(text), **{"top_k": 10, **options})]


def test_a_picture_and_its_hashes_read_back(store: VectorStore, collection: CollectionRef) -> None:
    image = {"url": "https://example.com/a.jpg"}
    plain = Point("plain", unit(1))
    store.upsert(collection, [Point("a", unit(1), image=image, fingerprint=fingerprint("f", "p")), plain])

    read = store.get(collection, ["a", "plain"])
    assert (read["a"].image, read["a"].fingerprint) == (image, fingerprint("f", "p"))
    assert (read["plain"].image, read["plain"].fingerprint) == (None, None)
    listed = {point.id: point for point in store.list_items(collection).points}
    assert (listed["a"].image, listed["a"].fingerprint) == (image, fingerprint("f", "p"))

    store.upsert(collection, [Point("a", unit(1))])
    assert (store.get(collection, ["a"])["a"].image, store.get(collection, ["a"])["a"].fingerprint) == (None, None)


def test_a_picture_that_cannot_be_stored_is_refused(store: VectorStore, collection: CollectionRef) -> None:
    with pytest.raises(PermanentJobError) as refused:
        store.upsert(collection, [Point("a", unit(1), image={"url": "nul\x00"})])
    assert refused.value.code == "invalid_input"


def test_the_rarer_word_counts_more(store: VectorStore, collection: CollectionRef) -> None:
    texts = {f"shoe-{n}": "a red shoe" for n in range(8)}
    fill(store, collection, {**texts, "named": "thing SKU-1042", "other": "thing SKU-7"})

    hits = store.search_text(collection, words("red sku 1042 absent"), top_k=3)

    assert [hit.id for hit in hits] == ["named", "other", "shoe-0"]
    expected = [weight(2, 10) + weight(1, 10), weight(2, 10), weight(8, 10)]
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-8)


def test_equal_texts_go_by_length_then_id(store: VectorStore, collection: CollectionRef) -> None:
    fill(
        store, collection, {"c": "red shoe", "b": "red hat", "a": "red shoe with laces", "d": "RED red Red", "e": "hat"}
    )
    assert texts_found(store, collection, "red") == ["d", "b", "c", "a"]
    assert texts_found(store, collection, "red", top_k=2) == ["d", "b"]
    assert texts_found(store, collection, "red", top_k=2, exclude_ids=["d", "nobody"]) == ["b", "c"]


def test_words_in_any_script(store: VectorStore, collection: CollectionRef) -> None:
    fill(
        store,
        collection,
        {"ru": "Красные тапочки", "de": "Größe 42", "wide": "ＳＫＵ１０４２", "sql": "'; DROP {} \" , NULL"},
    )
    assert texts_found(store, collection, "ТАПОЧКИ") == ["ru"]
    assert texts_found(store, collection, "GRÖSSE") == ["de"]
    assert texts_found(store, collection, "sku1042") == ["wide"]
    assert texts_found(store, collection, "null") == ["sql"]


def test_texts_with_a_filter(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point(f"{n}", unit(1), {"n": n}, "red shoe") for n in range(6)])
    assert texts_found(store, collection, "shoe", filter=parse({"n": {"gte": 4}})) == ["4", "5"]
    # What a word is worth does not depend on the filter.
    (hit,) = store.search_text(collection, ["shoe"], top_k=1, filter=parse({"n": 5}))
    assert hit.score == pytest.approx(weight(6, 6), abs=1e-8)


def test_texts_that_are_not_there(store: VectorStore, collection: CollectionRef) -> None:
    assert texts_found(store, collection, "red") == []
    fill(store, collection, {"none": None, "empty": "", "signs": "?!", "red": "red"})
    assert texts_found(store, collection, "") == []
    assert texts_found(store, collection, "blue") == []
    assert texts_found(store, collection, "red") == ["red"]


def test_what_was_deleted_or_replaced_is_found_by_no_word(store: VectorStore, collection: CollectionRef) -> None:
    fill(
        store,
        collection,
        {"a": "red", "b": "red", "c": "red", "d": "red"},
        fingerprint=fingerprint("f", "p"),
        version=1,
    )
    store.delete(collection, ["a"], version=2)
    store.delete(collection, ["b"])
    fill(store, collection, {"c": "blue"}, version=2)
    store.delete_where(collection, parse({"n": {"exists": False}}), version=0)

    (hit,) = store.search_text(collection, ["red"], top_k=10)
    assert hit == TextHit("d", pytest.approx(weight(1, 2), abs=1e-8))
    assert [point.id for point in store.copies(collection, [fingerprint("f", "")])] == ["d"]
    assert store.sample(collection, 10).shape == (2, DIMENSION)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), max_size=5), min_size=1, max_size=12),
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6),
    st.integers(1, 12),
)
def test_all_stores_find_the_same_texts(
    stores: dict[str, VectorStore],
    pool: ConnectionPool[Any],
    texts: list[list[str]],
    query: list[str],
    top_k: int,
) -> None:
    collection = add_collection(pool, DIMENSION)
    found = {}
    for name in STORES:
        fill(stores[name], collection, {f"{n:02}": " ".join(text) for n, text in enumerate(texts)})
        found[name] = stores[name].search_text(collection, query, top_k=top_k)
        stores[name].drop_collection(collection)
    assert found["pgvector"] == found["memory"]
    assert found["qdrant"] == found["memory"]


def test_a_sample(store: VectorStore, collection: CollectionRef) -> None:
    assert store.sample(collection, 5).shape == (0, DIMENSION)
    angles = [unit(np.cos(n / 50), np.sin(n / 50)) for n in range(40)]
    store.upsert(collection, [Point(f"{n:02}", vector) for n, vector in enumerate(angles)])

    everything = store.sample(collection, 100)
    assert everything.dtype == np.float32
    np.testing.assert_allclose(sorted(everything[:, 1]), [vector[1] for vector in angles], atol=1e-6)

    some = store.sample(collection, 10)
    assert some.shape == (10, DIMENSION)
    assert len({round(float(vector[1]), 4) for vector in some}) == 10
    np.testing.assert_array_equal(some, store.sample(collection, 10))
    assert max(some[:, 1]) > angles[20][1] > min(some[:, 1]), "the ids' order is not the sample's"


def test_a_sample_of_more_than_a_page(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point(f"{n}", unit(1)) for n in range(600)])
    assert store.sample(collection, 550).shape == (550, DIMENSION)


def test_copies_are_of_the_same_file_or_the_same_pixels(store: VectorStore, collection: CollectionRef) -> None:
    prints = {
        "file": ("f1", "p2"),
        "pixels": ("f3", "p1"),
        "both": ("f1", "p1"),
        "neither": ("f9", "p9"),
        "cross": ("p1", "f1"),
    }
    store.upsert(collection, [Point(id, unit(1), fingerprint=fingerprint(*each)) for id, each in prints.items()])
    store.upsert(collection, [Point("unknown", unit(1), {"fingerprint": {"file_hash": "f1"}})])

    found = store.copies(collection, [fingerprint("f1", "p1"), fingerprint("f0", "p0")])
    assert [point.id for point in found] == ["both", "file", "pixels"]
    assert found[0] == Copy("both", "f1".ljust(64, "0"), "p1".ljust(64, "0"))
    assert store.copies(collection, []) == []
    many = [fingerprint(f"f{n}", f"p{n}") for n in range(600)]
    assert [point.id for point in store.copies(collection, many)] == ["both", "file", "neither", "pixels"]


def test_of_many_copies_the_first_is_found_and_those_asked_for(store: VectorStore, collection: CollectionRef) -> None:
    ids = [f"{n:03}" for n in reversed(range(600))]
    store.upsert(collection, [Point(id, unit(1), fingerprint=fingerprint("f1", "p1")) for id in ids])
    store.upsert(collection, [Point(id, unit(1), fingerprint=fingerprint("f2", "p1")) for id in ("B", "a")])
    found = store.copies(collection, [fingerprint("f1", "p1")], apart=["000", "007", "a", "none"])
    assert [copy.id for copy in found] == ["000", "001", "007", "B", "a"]


def test_a_payload_is_replaced_and_nothing_else(store: VectorStore, collection: CollectionRef) -> None:
    image, hashes = {"file": "file_1"}, fingerprint("f", "p")
    store.upsert(collection, [Point("a", unit(1, 2), {"old": {"x": 1}}, "old", "hash", 3, image, hashes)])

    assert store.replace_payload(collection, "a", payload={"new": 1}, text="new", version=5, expected_version=3)

    read = store.get(collection, ["a"], with_vectors=True)["a"]
    assert (read.payload, read.text, read.content_hash, read.version) == ({"new": 1}, "new", None, 5)
    assert (read.image, read.fingerprint) == (image, hashes)
    np.testing.assert_allclose(read.vector, unit(1, 2), atol=1e-6)
    assert texts_found(store, collection, "new") == ["a"]
    assert texts_found(store, collection, "old") == []
    assert store.content_hashes(collection, ["a"]) == {}
    assert store.count(collection, filter=parse({"new": 1})) == 1

    assert store.replace_payload(collection, "a", payload={}, text=None, version=6, expected_version=5)
    assert store.get(collection, ["a"])["a"].text is None
    assert texts_found(store, collection, "new") == []


def test_a_payload_that_changed_meanwhile_is_not_replaced(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1), {"n": 1}, version=2**40)])
    store.upsert(collection, [Point("gone", unit(1), version=3)])
    store.delete(collection, ["gone"], version=4)

    def replace(id: str, version: int, expected: int) -> bool:
        return store.replace_payload(
            collection, id, payload={"n": 2}, text=None, version=version, expected_version=expected
        )

    assert not replace("a", 2**40 + 1, 2**40 - 1)
    assert not replace("a", 2**40 - 1, 2**40)
    assert not replace("gone", 5, 4)
    assert not replace("nobody", 1, 0)
    assert store.get(collection, ["a"])["a"].payload == {"n": 1}
    assert store.count(collection) == 1


def test_a_payload_that_cannot_be_stored_is_refused(store: VectorStore, collection: CollectionRef) -> None:
    store.upsert(collection, [Point("a", unit(1))])
    for bad in ({"payload": {"x": float("nan")}}, {"text": "nul\x00"}, {"version": 2**60}):
        with pytest.raises(PermanentJobError) as refused:
            store.replace_payload(
                collection, "a", **{"payload": {}, "text": None, "version": 1, "expected_version": 0, **bad}
            )
        assert refused.value.code == "invalid_input"

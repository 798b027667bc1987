"""A model that remembers."""

import io

import numpy as np
import pytest
from PIL.Image import Image
from PIL.Image import open as open_image

from tests.fakes.cache import MemoryCache
from tests.fakes.models import FakeEmbedder
from tests.unit.workers.handlers.pictures import png
from workers.embedding import CachedModel, Prepared


class Decoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.calls = 0

    def __call__(self) -> Image:
        self.calls += 1
        return open_image(io.BytesIO(self.data))


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache()


@pytest.fixture
def fake() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def model(fake: FakeEmbedder, cache: MemoryCache) -> CachedModel:
    return CachedModel(fake, cache, "weights")


def test_texts_come_back_as_the_model_made_them(model: CachedModel, fake: FakeEmbedder, cache: MemoryCache) -> None:
    texts = [("t", "red"), ("t", "blue"), ("t", "red")]
    plain = fake.encode_texts([text for _, text in texts])
    fake.text_batches.clear()
    assert np.array_equal(model.texts(texts), plain)
    assert np.array_equal(model.texts([("t", "green"), *texts]), np.vstack([fake.encode_texts(["green"]), plain]))
    assert fake.text_batches == [2, 1, 1], "equal ones once, then only the new one (and this test's own)"
    assert len(cache.entries) == 3
    assert [len(keys) for keys in cache.asked] == [2, 3]


def test_no_texts_are_no_rows(model: CachedModel, fake: FakeEmbedder) -> None:
    assert model.texts([]).shape == (0, fake.dimension)
    assert model.pictures([]).shape == (0, fake.dimension)
    assert fake.text_batches == fake.image_batches == []


def test_tenants_weights_and_precisions_are_apart(model: CachedModel, fake: FakeEmbedder, cache: MemoryCache) -> None:
    model.texts([("t", "red")])
    model.texts([("u", "red")])
    CachedModel(fake, cache, "others").texts([("t", "red")])
    fake.precision = "bf16"
    CachedModel(fake, cache, "weights").texts([("t", "red")])
    assert fake.text_batches == [1] * 4
    assert len(cache.entries) == 4


def test_a_known_picture_is_not_even_decoded(model: CachedModel, fake: FakeEmbedder) -> None:
    red, blue = Decoder(png("red")), Decoder(png("blue"))
    first = model.pictures([model.prepare("t", one.data, one) for one in (red, blue)])
    again = model.pictures([model.prepare("t", one.data, one) for one in (blue, red)])
    assert np.array_equal(again, first[::-1])
    assert (red.calls, blue.calls, fake.image_batches) == (1, 1, [2])
    other = model.pictures([model.prepare("u", red.data, red)])
    assert np.array_equal(other[0], first[0])
    assert red.calls == 2


def test_known_and_new_pictures_share_a_batch_in_order(model: CachedModel, fake: FakeEmbedder) -> None:
    colours = [Decoder(png("red", shade)) for shade in range(4)]
    known = model.pictures([model.prepare("t", colours[2].data, colours[2])])
    rows = model.pictures([model.prepare("t", one.data, one) for one in colours])
    assert np.array_equal(rows[2], known[0])
    assert np.array_equal(rows, FakeEmbedder().encode_images(np.stack([fake.preprocess(one()) for one in colours])))
    assert fake.image_batches == [1, 3]


@pytest.mark.parametrize("content", [b"", b"\0" * 63, b"\0" * 64, b"\xff" * 64, b"\0" * 65, b"\0\0\x80\x7f" * 16])
def test_an_entry_that_is_no_vector_is_unknown(
    model: CachedModel, fake: FakeEmbedder, cache: MemoryCache, content: bytes
) -> None:
    rows = model.texts([("t", "red")])
    (key,) = cache.entries
    cache.entries[key] = content
    assert np.array_equal(model.texts([("t", "red")]), rows)
    assert cache.entries[key] == rows[0].astype("<f4").tobytes()
    assert fake.text_batches == [1, 1]


def test_without_a_cache_nothing_is_hashed(fake: FakeEmbedder, cache: MemoryCache) -> None:
    cache.enabled = False
    model = CachedModel(fake, cache, "weights")
    prepared = model.prepare("t", png(), Decoder(png()))
    assert isinstance(prepared, Prepared)
    assert prepared.key is None
    assert np.array_equal(model.pictures([prepared]), fake.encode_images(fake.preprocess(Decoder(png())())[None]))
    model.texts([("t", "red")])
    assert cache.asked == []
    assert cache.entries == {}

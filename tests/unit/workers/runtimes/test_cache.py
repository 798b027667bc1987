"""The cache loads once, drops what is old and unused, and forgets failures."""

import threading
from collections.abc import Callable

import pytest

from shared.errors import ErrorCode, JobError, PermanentJobError, RetryableJobError
from shared.model_registry import ModelSpec
from tests.fakes.models import FakeEmbedder, fake_spec
from workers.runtimes.cache import ModelCache

_A, _B, _C = (fake_spec(alias, memory_bytes=100) for alias in "abc")


class _Loader:
    """Makes fakes, counts, and does `before` first (which may wait or raise)."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.before: Callable[[ModelSpec], None] = lambda _: None

    def __call__(self, spec: ModelSpec) -> FakeEmbedder:
        self.calls.append(spec.alias)
        self.before(spec)
        return FakeEmbedder(spec)


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def loader() -> _Loader:
    return _Loader()


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def freed() -> list[str]:
    return []


@pytest.fixture
def cache(loader: _Loader, clock: _Clock, freed: list[str]) -> ModelCache[FakeEmbedder]:
    return ModelCache(loader, 250, failure_seconds=50, free=lambda: freed.append("freed"), clock=clock)


def _use(cache: ModelCache[FakeEmbedder], spec: ModelSpec) -> FakeEmbedder:
    with cache.lease(spec) as runtime:
        return runtime


def _aliases(cache: ModelCache[FakeEmbedder]) -> list[str]:
    return [model.alias for model in cache.loaded()]


def test_a_model_loads_once_and_is_told_about(cache: ModelCache[FakeEmbedder], loader: _Loader) -> None:
    assert _use(cache, _A) is _use(cache, _A)
    assert loader.calls == ["a"]
    with cache.lease(_A):
        (model,) = cache.loaded()
        assert (model.alias, model.bytes, model.in_use, model.load_seconds) == ("a", 100, True, 0.0)
    assert not cache.loaded()[0].in_use


def test_the_least_recently_used_is_dropped(cache: ModelCache[FakeEmbedder], freed: list[str]) -> None:
    for spec in (_A, _B, _A, _C):
        _use(cache, spec)
    assert _aliases(cache) == ["a", "c"]
    assert freed == ["freed"]


def test_a_model_in_use_is_never_dropped(cache: ModelCache[FakeEmbedder]) -> None:
    with cache.lease(_A), cache.lease(_B), cache.lease(_C):
        assert _aliases(cache) == ["a", "b", "c"]
    assert len(cache.loaded()) == 2


def test_a_model_above_the_budget_is_kept_until_another_needs_room(
    cache: ModelCache[FakeEmbedder], loader: _Loader
) -> None:
    big = fake_spec("big", memory_bytes=1_000)
    _use(cache, big)
    _use(cache, big)
    assert loader.calls == ["big"]
    _use(cache, _A)
    assert _aliases(cache) == ["a"]


def test_room_is_made_before_loading(cache: ModelCache[FakeEmbedder], loader: _Loader) -> None:
    _use(cache, _A)
    _use(cache, _B)
    seen: list[list[str]] = []
    loader.before = lambda _: seen.append(_aliases(cache))
    _use(cache, _C)
    assert seen == [["b"]]


def test_threads_that_want_the_same_model_share_one_load(cache: ModelCache[FakeEmbedder], loader: _Loader) -> None:
    gate = threading.Event()
    loader.before = lambda spec: (spec is _A and gate.wait(5), None)[1]
    got: list[FakeEmbedder] = []
    threads = [threading.Thread(target=lambda: got.append(_use(cache, _A))) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert _use(cache, _B).spec is _B, "another model is not held up"
    assert not got
    gate.set()
    for thread in threads:
        thread.join(5)
    assert len(got) == 8
    assert len(set(map(id, got))) == 1
    assert sorted(loader.calls) == ["a", "b"]


def test_a_failure_reaches_every_waiter_and_is_forgotten_after_a_while(
    cache: ModelCache[FakeEmbedder], loader: _Loader, clock: _Clock
) -> None:
    gate = threading.Event()

    def fail(_: ModelSpec) -> None:
        gate.wait(5)
        raise PermanentJobError(ErrorCode.MODEL_LOAD_FAILED, "no such file")

    loader.before = fail
    errors: list[JobError] = []

    def use() -> None:
        try:
            _use(cache, _A)
        except JobError as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert [error.code for error in errors] == [ErrorCode.MODEL_LOAD_FAILED] * 4
    assert loader.calls == ["a"], "asking again at once does not try again"

    loader.before = lambda _: None
    clock.now += 60
    assert _use(cache, _A).spec is _A


def test_an_unexpected_error_is_not_remembered(cache: ModelCache[FakeEmbedder], loader: _Loader) -> None:
    def fail(_: ModelSpec) -> None:
        raise ZeroDivisionError

    loader.before = fail
    with pytest.raises(ZeroDivisionError):
        _use(cache, _A)
    loader.before = lambda _: None
    assert _use(cache, _A).spec is _A


def test_out_of_memory_drops_what_is_unused_and_tries_once_more(
    cache: ModelCache[FakeEmbedder], loader: _Loader, freed: list[str]
) -> None:
    _use(cache, _A)
    with cache.lease(_B):

        def only_alone(_: ModelSpec) -> None:
            if "a" in _aliases(cache):
                raise MemoryError

        loader.before = only_alone
        tiny = fake_spec("tiny", memory_bytes=1)
        assert _use(cache, tiny).spec is tiny
        assert _aliases(cache) == ["b", "tiny"]
    assert loader.calls == ["a", "b", "tiny", "tiny"]
    assert freed


def test_out_of_memory_twice_is_a_job_error(cache: ModelCache[FakeEmbedder], loader: _Loader) -> None:
    def never(_: ModelSpec) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    loader.before = never
    with pytest.raises(RetryableJobError) as caught:
        _use(cache, _A)
    assert caught.value.code == ErrorCode.OUT_OF_MEMORY
    assert loader.calls == ["a", "a"]
    loader.before = lambda _: None
    assert _use(cache, _A).spec is _A


def test_a_batch_that_runs_out_of_memory_drops_the_other_models(cache: ModelCache[FakeEmbedder]) -> None:
    _use(cache, _A)
    with pytest.raises(RetryableJobError), cache.lease(_B):
        raise RetryableJobError(ErrorCode.OUT_OF_MEMORY, "too many pictures")
    assert _aliases(cache) == ["b"]


def test_clear_drops_all_but_what_is_in_use(cache: ModelCache[FakeEmbedder]) -> None:
    _use(cache, _A)
    with cache.lease(_B):
        cache.clear()
        assert _aliases(cache) == ["b"]
    cache.clear()
    assert _aliases(cache) == []

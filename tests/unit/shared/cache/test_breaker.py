"""A breaker on a clock that the test turns."""

from collections.abc import Callable

import pytest

from shared.cache.breaker import Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Callable[[], float]) -> Breaker:
    return Breaker(2.0, clock)


def test_nobody_asks_during_the_pause(breaker: Breaker, clock: Clock) -> None:
    assert [breaker.permits() for _ in range(3)] == [True] * 3
    breaker.failed()
    clock.now += 1.9
    assert [breaker.permits() for _ in range(3)] == [False] * 3


def test_one_finds_out_for_all(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 2.1
    assert [breaker.permits() for _ in range(3)] == [True, False, False]
    breaker.failed()
    clock.now += 1.9
    assert not breaker.permits()
    clock.now += 0.2
    assert breaker.permits()
    breaker.succeeded()
    assert [breaker.permits() for _ in range(3)] == [True] * 3


def test_one_who_never_came_back_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    breaker.failed()
    clock.now += 2.1
    assert breaker.permits()
    clock.now += 2.1
    assert breaker.permits()


def test_news_is_told_once(breaker: Breaker) -> None:
    assert [breaker.succeeded(), breaker.failed(), breaker.failed(), breaker.succeeded(), breaker.succeeded()] == [
        False,
        True,
        False,
        True,
        False,
    ]

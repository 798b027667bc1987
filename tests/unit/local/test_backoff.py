"""Waiting before a restart: short at first, longer in a crash loop, short again after calm."""

from local.backoff import CALM_SECONDS, FIRST_SECONDS, LONGEST_SECONDS, LOOP_DEATHS, Backoff


def test_waits_double_up_to_a_cap() -> None:
    backoff = Backoff()
    waits = [backoff.died(lived_seconds=0.1) for _ in range(12)]
    assert waits[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert waits[-1] == LONGEST_SECONDS


def test_a_long_life_forgets_the_deaths_before() -> None:
    backoff = Backoff()
    for _ in range(LOOP_DEATHS):
        backoff.died(lived_seconds=1)
    assert backoff.is_loop
    assert backoff.died(lived_seconds=CALM_SECONDS) == FIRST_SECONDS
    assert not backoff.is_loop

"""Backoff grows, is capped, and never is nothing."""

import random

from workers.retry import backoff_seconds


def test_steps_double_up_to_the_cap() -> None:
    rng = random.Random(1)
    for failures, step in [(1, 2.0), (2, 4.0), (3, 8.0), (9, 512.0), (10, 600.0), (5000, 600.0)]:
        draws = [backoff_seconds(failures, base=2.0, cap=600.0, rng=rng) for _ in range(200)]
        assert step / 2 <= min(draws) <= max(draws) <= step
        assert max(draws) - min(draws) > step / 4, "two jobs that failed together do not come back together"

"""When a failed attempt may run again: exponential backoff with equal jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import random


def backoff_seconds(failures: int, *, base: float, cap: float, rng: random.Random | None = None) -> float:
    """Seconds to wait after the `failures`-th failed attempt (1 for the first), between half and all of the step.

    The lower half is never drawn: a retry at once would meet the same trouble.
    """
    step = min(cap, base * 2.0 ** min(60, max(0, failures - 1)))
    return step / 2 + (rng or random).random() * step / 2

"""Measured numbers: several rounds of one thing, and their median and spread."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Samples:
    """One number a round."""

    label: str
    unit: str
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the range of the rounds over their median: 0.1 says that they lay within about 10 % of it."""
        middle = self.median
        return (max(self.values) - min(self.values)) / 2 / abs(middle) if middle else 0.0

    def over(self, other: "Samples", label: str) -> "Samples":
        """Ratios of rounds that ran side by side: what slowed both down cancels out."""
        pairs = zip(self.values, other.values, strict=False)
        return Samples(label, "x", [mine / theirs for mine, theirs in pairs if theirs])


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie, by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


Side = Callable[[], None]


def rounds(count: int, samples: Sequence[Samples], *sides: Side, step: Side = lambda: None) -> None:
    """Run the sides in turn, `count` times (A B A B …), so that a machine that changes its pace meets them alike.

    One turn before that is thrown away: it warms up what is forked, connected, prepared and cached.

    Args:
        samples: where the sides put their numbers.
        step: called after each run, for a progress bar.
    """
    for turn in range(count + 1):
        for side in sides:
            side()
            step()
        if turn == 0:
            for one in samples:
                one.values.clear()

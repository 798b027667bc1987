"""How long to wait before a process that died is started again."""

from dataclasses import dataclass

FIRST_SECONDS = 0.25
LONGEST_SECONDS = 30.0
CALM_SECONDS = 60.0
"""A process that lived this long starts from the beginning again."""
LOOP_DEATHS = 4
"""This many quick deaths one after another are called a crash loop."""


@dataclass
class Backoff:
    """Of one process."""

    deaths: int = 0
    """Quick deaths in a row."""

    def died(self, lived_seconds: float) -> float:
        """Count a death; answers the seconds to wait before the next start."""
        self.deaths = 1 if lived_seconds >= CALM_SECONDS else self.deaths + 1
        return min(FIRST_SECONDS * 2.0 ** (self.deaths - 1), LONGEST_SECONDS)

    @property
    def is_loop(self) -> bool:
        return self.deaths >= LOOP_DEATHS

"""One line of the table: what was measured, what stands beside it, and what it should have reached."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench.samples import Samples


class Mark(StrEnum):
    AIM = "aim reached"
    BAR = "bar reached"
    SHORT = "short"
    NONE = ""


@dataclass
class Figure:
    """A result.

    Attributes:
        beside: bare things measured in the same rounds.
        bar: must be reached; `aim` is hoped for.
        higher_is_better: False for times and bytes.
    """

    name: str
    samples: Samples
    beside: list[Samples] = field(default_factory=list)
    bar: float | None = None
    aim: float | None = None
    higher_is_better: bool = True
    note: str = ""

    @property
    def mark(self) -> Mark:
        if self.aim is not None and self._reaches(self.aim):
            return Mark.AIM
        if self.bar is not None:
            return Mark.BAR if self._reaches(self.bar) else Mark.SHORT
        return Mark.NONE if self.aim is None else Mark.SHORT

    def _reaches(self, goal: float) -> bool:
        return self.samples.median >= goal if self.higher_is_better else self.samples.median <= goal

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            **_json(self.samples),
            "bar": self.bar,
            "aim": self.aim,
            "higher_is_better": self.higher_is_better,
            "mark": self.mark.value,
            "note": self.note,
            "beside": [
                {**_json(other), "ratio": self.samples.over(other, "").median if other.median else None}
                for other in self.beside
            ],
        }


def _json(samples: Samples) -> dict[str, Any]:
    return {
        "label": samples.label,
        "unit": samples.unit,
        "median": samples.median,
        "spread": samples.spread,
        "values": samples.values,
    }

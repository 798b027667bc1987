"""Collecting every fault of a request before it is refused."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.errors import Conflict, FieldFault, InvalidInput


@dataclass
class Faults:
    """What is wrong with a request so far. The refusal carries a fault's own code when all of them share it."""

    found: list[FieldFault] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)
    conflict: Conflict | None = None
    """Told only when the request is valid in itself."""

    def add(self, path: str, message: str, code: str = InvalidInput.code) -> None:
        self.found.append(FieldFault(path, message))
        self.codes.add(str(code))

    def extend(self, faults: Iterable[FieldFault], code: str = InvalidInput.code) -> None:
        for fault in faults:
            self.add(fault.path, fault.message, code)

    def raise_any(self) -> None:
        """Raises InvalidInput or Conflict if anything is wrong."""
        if self.found:
            code = next(iter(self.codes)) if len(self.codes) == 1 else InvalidInput.code
            raise InvalidInput("The input cannot be accepted as it is.", code=code, faults=tuple(self.found))
        if self.conflict is not None:
            raise self.conflict

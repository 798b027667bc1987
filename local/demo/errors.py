"""How a demo ends early."""

from shared.errors import DarkroomError


class DemoFailed(DarkroomError):
    """The demo cannot go on; the message says what it was doing and what it saw."""

"""What an aggregator says while nothing can be stored, and for how long it waits. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DISK, STORE = "disk", "store"
"""Causes: the disk is almost full; a commit failed."""

RETRIED = frozenset({"store-full", "store-denied", "store-busy", "store-closed"})
"""Codes of errors after which a commit is tried again: the cause may go away. `store-closed` comes
after an error of another task that uses the file."""

PAUSE_MAX = 30.0
"""Maximum seconds between two attempts to commit."""


@dataclass(frozen=True, slots=True)
class Held:
    """The event that nothing is accepted from now on."""

    cause: str
    message: str

    def line(self) -> str:
        """Return it in words."""
        return f"nothing is accepted now: {self.message}"


@dataclass(frozen=True, slots=True)
class Resumed:
    """The event that a cause to accept nothing is gone. `refused` bundles came meanwhile."""

    cause: str
    refused: int

    def line(self) -> str:
        """Return it in words."""
        what = "the file" if self.cause == STORE else "the disk"
        return f"{what} can be written again; {self.refused} bundles were refused meanwhile"


def pauses() -> Iterator[float]:
    """Yield seconds between attempts to commit, without end."""
    pause = 0.5
    while True:
        yield pause
        pause = min(2 * pause, PAUSE_MAX)

"""What a judge of a message may answer besides a decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from methrics.schema.wire.verdict import Decision


@dataclass(frozen=True, slots=True)
class Wait:
    """A message cannot be judged yet: it waits, whole, until what it needs has come."""

    on: bytes
    """What the message waits for, such as the id of a catalog."""


class Unseen(Enum):
    """The type of `UNSEEN`."""

    UNSEEN = "unseen"


UNSEEN = Unseen.UNSEEN
"""The message was dropped without a verdict. It is forgotten, so that it is judged when it arrives
again."""

Outcome = Decision | Wait | Unseen
"""The answer of whoever judges a message."""

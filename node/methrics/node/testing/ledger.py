"""Notes which simulated message reached whom and when, and which signatures are genuine (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field

from methrics.node.mesh.rpc import Message


@dataclass(slots=True)
class Published:
    """One message that all honest nodes should get."""

    size: int
    """Bytes of its content."""
    time: float
    """Virtual seconds at which it was published."""
    publisher: str
    arrived: dict[str, float] = field(default_factory=dict)
    """When each participant accepted it."""
    hops: dict[str, int] = field(default_factory=dict)
    """Over how many connections it came to each participant."""


class Ledger:
    """All messages of one simulation."""

    def __init__(self) -> None:
        self.published: dict[bytes, Published] = {}
        self._genuine: dict[bytes, tuple[bytes, bytes, str, bytes]] = {}

    def sign(self, sender: str, topic: str, data: bytes) -> Message:
        """Make a message with a signature that `genuine` knows. It is as long as a real one, which
        would take most of the time of a simulation."""
        seqno = (len(self._genuine) + 1).to_bytes(8, "big")
        name = b"\x00\x24\x08\x01\x12\x20" + hashlib.sha256(sender.encode()).digest()
        signature = hashlib.sha512(seqno + name).digest()
        self._genuine[signature] = (name, seqno, topic, data)
        return Message(name, data, seqno, topic, signature)

    def genuine(self, message: Message) -> bool:
        """Whether `sign` made this message, and nobody has changed it since."""
        signed = (message.sender, message.seqno, message.topic, message.data)
        return self._genuine.get(message.signature) == signed

    def note_published(self, message: Message, publisher: str, now: float) -> bytes:
        """Note a message that all honest nodes should get; return its content id."""
        content = message.content
        one = self.published.setdefault(content, Published(len(message.data), now, publisher))
        one.arrived.setdefault(publisher, now)
        one.hops.setdefault(publisher, 0)
        return content

    def note_accepted(self, content: bytes, name: str, forwarder: str, now: float) -> None:
        """Note that a participant has accepted a message that `forwarder` sent to it."""
        published = self.published.get(content)
        if published is not None and name not in published.arrived:
            published.arrived[name] = now
            published.hops[name] = published.hops.get(forwarder, 0) + 1

    def delivered(self, names: Collection[str]) -> dict[bytes, float]:
        """Return, for each message, the share of these participants that have it."""
        wanted = frozenset(names)
        return {
            content: len(wanted & one.arrived.keys()) / len(wanted)
            for content, one in self.published.items()
        }

    def delays(self, names: Collection[str]) -> list[float]:
        """Return the seconds from publishing to each arrival at these participants, ascending."""
        wanted = frozenset(names)
        return sorted(
            time - one.time
            for one in self.published.values()
            for name, time in one.arrived.items()
            if name in wanted and name != one.publisher
        )

    def hops(self, names: Collection[str]) -> list[int]:
        """Return over how many connections each arrival at these participants came."""
        wanted = frozenset(names)
        return [
            hops
            for one in self.published.values()
            for name, hops in one.hops.items()
            if name in wanted and name != one.publisher
        ]


def quantile(ascending: list[float], share: float) -> float:
    """Return the value below which `share` of the values lie; 0 if there are none."""
    if not ascending:
        return 0.0
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]

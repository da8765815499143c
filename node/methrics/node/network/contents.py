"""Remembers the contents of messages, so that each content is judged once (pure, bounded).

The same message arrives from several peers. The first arrival starts the validator. While the
validator runs, and until `ttl` seconds after the first arrival, further arrivals are duplicates.
With the verdict, the caller gets all peers that forwarded the content, so that after REJECT the
peer score of each one is lowered.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from methrics.schema.wire.verdict import Decision

ID_SIZE = 20
"""Bytes of a message id, which IHAVE messages contain. 20 bytes are enough against collisions."""

_FORWARDERS_MAX = 64
"""Most forwarders that are remembered per content: more than a node has mesh peers."""


def content_id(topic: str, data: bytes) -> bytes:
    """Return the gossip message id: the first 20 bytes of SHA-256(topic, 0x00, data).

    It depends on the content, so that one bundle published by two relays is one message. It depends
    on the topic, so that a bundle which was published on a wrong topic, and rejected there, can
    still be published on the right one.
    """
    return hashlib.sha256(topic.encode() + b"\0" + data).digest()[:ID_SIZE]


@dataclass(slots=True)
class _Entry:
    expires: float
    decision: Decision | None = None
    forwarders: set[str] = field(default_factory=set)


class Contents:
    """Known contents; the oldest is forgotten first. `now` is in seconds on a clock that never goes
    back."""

    def __init__(self, *, ttl: float = 120.0, capacity: int = 65_536) -> None:
        self._ttl = ttl
        self._capacity = capacity
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def knows(self, content: bytes, now: float) -> bool:
        """Whether `content` is being judged, or first arrived less than `ttl` seconds ago."""
        entry = self._entries.get(content)
        return entry is not None and (entry.decision is None or entry.expires > now)

    def arrive(self, content: bytes, peer: str, now: float) -> bool:
        """Note that `peer` sent `content`. Return True if it is new; the caller must then judge
        it."""
        self._forget(now)
        entry = self._entries.get(content)
        if entry is None:
            self._entries[content] = _Entry(now + self._ttl, None, {peer})
            return True
        if entry.decision is None and len(entry.forwarders) < _FORWARDERS_MAX:
            entry.forwarders.add(peer)
        return False

    def settle(self, content: bytes, decision: Decision) -> frozenset[str]:
        """Set the verdict; return all peers that sent `content` before it had one."""
        entry = self._entries.get(content)
        if entry is None:
            return frozenset()
        entry.decision = decision
        forwarders, entry.forwarders = frozenset(entry.forwarders), set()
        return forwarders

    def own(self, content: bytes, now: float) -> None:
        """Note a message of this node, so that it is a duplicate when it returns from the
        network."""
        self._forget(now)
        self._entries[content] = _Entry(now + self._ttl, Decision.ACCEPT)
        self._entries.move_to_end(content)

    def forget(self, content: bytes) -> None:
        """Forget `content`, which was dropped before it was judged, so that a later arrival is
        new."""
        self._entries.pop(content, None)

    def decision(self, content: bytes) -> Decision | None:
        """Return the verdict on `content`, or None if it has none yet or is unknown."""
        entry = self._entries.get(content)
        return None if entry is None else entry.decision

    def _forget(self, now: float) -> None:
        entries = self._entries
        while entries:
            content = next(iter(entries))
            entry = entries[content]
            if entry.expires > now and len(entries) < self._capacity:
                return
            if entry.decision is None and len(entries) < self._capacity:
                return  # it is still being judged; its validator has a time limit
            del entries[content]

"""The contents that are being judged, in bounded and fair shares (pure).

What is being judged cannot be taken back, so the shares are hard limits. The share of a peer
shrinks with the square of the part of the places that is free: so as many strangers as can be
connected do not fill all places, and a newcomer finds one. One network holds its portion at most.
Direct peers have places of their own, and so has what waited: it was admitted before.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.promises import Arrived
from methrics.node.mesh.rpc import Message
from methrics.node.mesh.waiting import Account

H = TypeVar("H", bound=Hashable)


@dataclass(slots=True, eq=False)
class Judging:
    """A content that is being judged. `account`: of the peer that sent the copy being judged.
    `since`: when it first arrived."""

    message: Message
    account: Account
    since: float
    started: float
    forwarders: dict[str, None]
    copies: list[tuple[Account, Message]] = field(default_factory=list)
    others: list[Account] = field(default_factory=list)
    had: Arrived = field(default_factory=lambda: Arrived({}, 0, 0))
    """What was known of it when it came; more offers are added."""


class _Places:
    """A number of places, of which each peer and each network holds a share."""

    def __init__(self, capacity: int, per_peer: int, per_origin: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._per_peer = per_peer
        self._per_origin = per_origin
        self._peers: dict[str, int] = {}
        self._origins: dict[bytes, int] = {}

    def fits(self, account: Account) -> bool:
        """Whether the peer of an account may hold one more."""
        free = self.capacity - self.used
        share = -(-self._per_peer * free * free // (self.capacity * self.capacity))
        return (
            free > 0
            and self._peers.get(account.peer, 0) < share
            and (not account.origin or self._origins.get(account.origin, 0) < self._per_origin)
        )

    def held(self, peer: str) -> int:
        return self._peers.get(peer, 0)

    def change(self, account: Account, amount: int) -> None:
        self.used += amount
        _change(self._peers, account.peer, amount)
        if account.origin:
            _change(self._origins, account.origin, amount)


class Judgings:
    """The contents that are being judged, and whose places they take."""

    def __init__(self, settings: MeshSettings) -> None:
        most, per_peer = settings.judging_max, settings.judging_per_peer
        per_origin = max(1, int(most * settings.judging_portion))
        direct = settings.judging_direct
        self._per_peer = per_peer
        self._strangers = _Places(most, per_peer, per_origin)
        self._direct = _Places(direct, max(per_peer, direct // 2), direct)
        self._waited = _Places(settings.judging_waited, settings.judging_waited, most)
        self._held: dict[bytes, tuple[Judging, Account, _Places]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, content: bytes) -> bool:
        return content in self._held

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._held)

    def get(self, content: bytes) -> Judging | None:
        """Return what is being judged, or None."""
        found = self._held.get(content)
        return None if found is None else found[0]

    def fits(self, account: Account) -> bool:
        """Whether one more content of a peer may be judged now."""
        return self._places(account).fits(account)

    def crowded_out(self, account: Account) -> bool:
        """Whether a peer for which nothing fits holds less than its share would be, if others held
        nothing."""
        return self._places(account).held(account.peer) < self._per_peer

    def holds(self, peer: str) -> bool:
        """Whether a content that `peer` has sent is being judged."""
        return bool(self._strangers.held(peer) or self._direct.held(peer))

    def add(self, content: bytes, entry: Judging) -> None:
        """Take in a content for which there is a place."""
        self._add(content, entry, self._places(entry.account))

    @property
    def room(self) -> int:
        """How many contents that waited may be judged now."""
        return max(0, self._waited.capacity - self._waited.used)

    def add_waited(self, content: bytes, entry: Judging) -> None:
        """Take in a content that waited, for which there is room."""
        self._add(content, entry, self._waited)

    def pop(self, content: bytes) -> Judging | None:
        """Remove a content and return it, or None if it is not being judged."""
        found = self._held.pop(content, None)
        if found is None:
            return None
        entry, account, places = found
        places.change(account, -1)
        return entry

    def started_before(self, limit: float) -> list[bytes]:
        """Return the contents whose judging has started by `limit`."""
        return [content for content, held in self._held.items() if held[0].started <= limit]

    def _places(self, account: Account) -> _Places:
        return self._direct if account.direct else self._strangers

    def _add(self, content: bytes, entry: Judging, places: _Places) -> None:
        self._held[content] = (entry, entry.account, places)
        places.change(entry.account, 1)


def _change(counts: dict[H, int], name: H, amount: int) -> None:
    left = counts.get(name, 0) + amount
    if left:
        counts[name] = left
    else:
        del counts[name]

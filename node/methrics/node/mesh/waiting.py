"""Messages that cannot be judged yet and wait whole, in a bounded room (pure).

A message waits *on* something, such as a catalog, on the account of the peer that forwarded it. If
there is no more room, the oldest message of the network that holds most makes room, unless that
network holds less than its portion; then the new message is dropped. Messages of direct peers never
make room. A message that several peers forwarded moves to the account of another one before it is
dropped, so that a stranger who is faster than honest peers cannot take it away with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.rpc import Message


@dataclass(frozen=True, slots=True)
class Account:
    """Who a message waits for: a peer, and the opaque token of its network."""

    peer: str
    origin: bytes
    direct: bool = False


@dataclass(slots=True, eq=False)
class Waiter:
    """A message that waits, and all peers that have sent it."""

    content: bytes
    message: Message
    on: bytes
    since: float
    account: Account
    forwarders: dict[str, None] = field(default_factory=dict)
    others: list[Account] = field(default_factory=list)
    """Peers that sent it later, whose accounts it can move to."""
    offers: dict[str, None] = field(default_factory=dict)
    """Peers that offer it, and can be asked for it if it is dropped."""


@dataclass(slots=True, eq=False)
class _Holding:
    size: int = 0
    waiters: dict[bytes, Waiter] = field(default_factory=dict)


class WaitingRoom:
    """The messages that wait, by content, by what they wait on, by peer and by origin."""

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._portion = int(settings.waiting_bytes * settings.waiting_portion)
        self._bytes = 0
        self._waiters: dict[bytes, Waiter] = {}
        self._by_on: dict[bytes, dict[bytes, Waiter]] = {}
        self._by_peer: dict[str, _Holding] = {}
        self._by_origin: dict[bytes, _Holding] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, content: bytes) -> bool:
        return content in self._waiters

    @property
    def size(self) -> int:
        """Bytes of all messages, as they are counted."""
        return self._bytes

    def bytes_of(self, origin: bytes) -> int:
        """Return the bytes that messages from one network hold."""
        holding = self._by_origin.get(origin)
        return 0 if holding is None else holding.size

    def waits(self) -> list[bytes]:
        """Return what messages wait on."""
        return list(self._by_on)

    def holds(self, on: bytes) -> bool:
        """Whether a message waits on `on`."""
        return on in self._by_on

    def put(self, waiter: Waiter) -> list[Waiter]:
        """Let a message wait; return the messages that were dropped for it, itself included."""
        dropped: list[Waiter] = []
        if not self._fits(waiter.account, waiter) and not self._move(waiter):
            return [waiter]
        while self._bytes + self._size(waiter) > self._settings.waiting_bytes:
            victim = self._victim(waiter)
            if victim is None:
                return [*dropped, waiter]
            self._remove(victim)
            if not (self._move(victim) and self._readd(victim)):
                dropped.append(victim)
        self._add(waiter)
        return dropped

    def get(self, content: bytes) -> Waiter | None:
        """Return a message that waits, or None."""
        return self._waiters.get(content)

    def pop(self, content: bytes) -> Waiter | None:
        """Remove a message and return it, or None if it does not wait."""
        waiter = self._waiters.get(content)
        if waiter is not None:
            self._remove(waiter)
        return waiter

    def take(self, on: bytes, most: int) -> list[Waiter]:
        """Remove and return up to `most` messages that wait on `on`, oldest first."""
        found = list(self._by_on.get(on, {}).values())[:most]
        for waiter in found:
            self._remove(waiter)
        return found

    def expire(self, now: float) -> int:
        """Drop the messages that have waited too long; return their number."""
        limit = now - self._settings.waiting_time
        old = [waiter for waiter in self._waiters.values() if waiter.since <= limit]
        for waiter in old:
            self._remove(waiter)
        return len(old)

    def _size(self, waiter: Waiter) -> int:
        return max(len(waiter.message.data), self._settings.waiting_least)

    def _fits(self, account: Account, waiter: Waiter) -> bool:
        held = self._by_peer.get(account.peer)
        if held is None:
            return True
        settings = self._settings
        return (
            len(held.waiters) < settings.waiting_per_peer
            and held.size + self._size(waiter) <= settings.waiting_bytes_per_peer
        )

    def _move(self, waiter: Waiter) -> bool:
        """Move a message that is not in the room to the account of the next peer with space."""
        while waiter.others:
            account = waiter.others.pop(0)
            if self._fits(account, waiter):
                waiter.account = account
                return True
        return False

    def _readd(self, moved: Waiter) -> bool:
        """Put back a message that has moved to another account, if its network holds less than its
        portion."""
        held = self.bytes_of(_origin(moved.account)) + self._size(moved)
        if held > self._portion and not moved.account.direct:
            return False
        self._add(moved)
        return True

    def _victim(self, waiter: Waiter) -> Waiter | None:
        """Return the message that makes room for `waiter`, or None if none has to."""
        if not self._by_origin:
            return None
        mine = self.bytes_of(_origin(waiter.account)) + self._size(waiter)
        most = max(self._by_origin.values(), key=lambda holding: holding.size)
        if not waiter.account.direct and (most.size <= self._portion or most.size < mine):
            return None
        return next(iter(most.waiters.values()))

    def _add(self, waiter: Waiter) -> None:
        size, account = self._size(waiter), waiter.account
        self._bytes += size
        self._waiters[waiter.content] = waiter
        self._by_on.setdefault(waiter.on, {})[waiter.content] = waiter
        for holding in self._holdings(account):
            holding.size += size
            holding.waiters[waiter.content] = waiter

    def _remove(self, waiter: Waiter) -> None:
        size, account = self._size(waiter), waiter.account
        self._bytes -= size
        del self._waiters[waiter.content]
        del self._by_on[waiter.on][waiter.content]
        if not self._by_on[waiter.on]:
            del self._by_on[waiter.on]
        for holding in self._holdings(account):
            holding.size -= size
            del holding.waiters[waiter.content]
        if not self._by_peer[account.peer].waiters:
            del self._by_peer[account.peer]
        if not account.direct and not self._by_origin[_origin(account)].waiters:
            del self._by_origin[_origin(account)]

    def _holdings(self, account: Account) -> list[_Holding]:
        """Return where an account is counted: direct peers make no room, so by peer only."""
        holdings = [self._by_peer.setdefault(account.peer, _Holding())]
        if not account.direct:
            holdings.append(self._by_origin.setdefault(_origin(account), _Holding()))
        return holdings


def _origin(account: Account) -> bytes:
    """The network of a peer; a peer of an unknown network is one of its own."""
    return account.origin or account.peer.encode()

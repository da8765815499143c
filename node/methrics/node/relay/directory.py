"""The directory of relays: the descriptors that this node holds to be valid (pure).

Anyone can make relays up, so the directory is bounded. A relay that has a place keeps it for as
long as it says something new. When all places are taken, a newcomer gets the place of a relay from
the network that has the most, if its own network has fewer: the newest one goes first. Relays that
this node has met, because they answered at an address of theirs, have their places before those
that it has only heard of; and those that the operator named, and this node itself, always have one.

Two different descriptors of one relay and day are a proof that the relay tells different things to
different people. Then the relay is in the directory no longer, and its proof is told to others
until it has expired.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from methrics.node.network.peer_ids import peer_id_of
from methrics.schema.errors import RefusedError
from methrics.schema.wire.descriptor import (
    SignedDescriptor,
    check_time,
    contradicts,
    read_descriptor,
)
from methrics.schema.wire.envelope import split
from methrics.schema.wire.limits import DAY
from methrics.schema.wire.verdict import Reason

RELAYS_MAX = 512
"""Most relays: with three descriptors each, they take at most 24 MiB, and about 1 MiB usually."""

_PREFIX = {4: 16, 6: 32}
"""Leading bits of an address that name the network of a relay: about one provider."""


@dataclass(slots=True)
class _Relay:
    network: str
    fixed: bool
    met: bool = False
    days: dict[int, SignedDescriptor] = field(default_factory=dict)
    proof: tuple[SignedDescriptor, SignedDescriptor] | None = None

    def is_over(self, now: int) -> bool:
        """Whether nothing of the relay is valid any more."""
        if self.proof is not None:
            return self.proof[0].descriptor.expires <= now
        return not any(one.descriptor.expires > now for one in self.days.values())


class Directory:
    """Descriptors by relay and day. `fixed`: the ids (32 bytes) of relays that always have a place,
    such as this one and those that the operator named. Times are in Unix seconds."""

    def __init__(self, fixed: Collection[bytes] = (), *, most: int = RELAYS_MAX) -> None:
        self._fixed = list(dict.fromkeys(fixed))
        self._most = most
        self._relays: dict[bytes, _Relay] = {}
        """In the order in which they came."""

    def __len__(self) -> int:
        return len(self._relays)

    def add(self, raw: bytes, now: int) -> Reason:
        """Judge a descriptor, and keep it if it is new. Never raises.

        Returns OK for a new one, and for one that proves a contradiction: others should have it,
        too. Otherwise a reason why it is not kept: as `read_descriptor`; FOREIGN if it has an
        address of another relay; DUPLICATE; QUOTA if there is no room.
        """
        try:
            item = split(raw)
            known = self._relays.get(item.key)
            if known is not None and any(one.item.raw == raw for one in known.days.values()):
                return Reason.DUPLICATE
            found = read_descriptor(raw)
            if not _has_own_addresses(found):
                return Reason.FOREIGN
            check_time(found.descriptor, now)
        except RefusedError as error:
            return Reason(error.code)
        return self._add(found, now)

    def _add(self, found: SignedDescriptor, now: int) -> Reason:
        self.expire(now)
        known = self._relays.get(found.relay)
        if known is None:
            fixed = found.relay in self._fixed
            known = _Relay(network_of(found.descriptor.addresses), fixed)
            if not fixed and not self._make_room(known):
                return Reason.QUOTA
            self._relays[found.relay] = known
        if known.proof is not None:
            return Reason.DUPLICATE
        day = found.descriptor.day
        before = known.days.get(day)
        if before is None:
            known.days[day] = found
            return Reason.OK
        if not contradicts(before, found):
            return Reason.DUPLICATE
        known.proof = before, found
        known.days.clear()
        return Reason.OK

    def _make_room(self, newcomer: _Relay) -> bool:
        """Whether there is a place for a newcomer. One that has come last may have to go."""
        others = {key: one for key, one in self._relays.items() if not one.fixed}
        if len(others) < self._most:
            return True
        weak = {key: one for key, one in others.items() if not one.met}
        counts = Counter(one.network for one in weak.values())
        network, most = max(counts.items(), key=lambda one: one[1], default=("", 0))
        if most <= counts[newcomer.network] + 1:
            return False
        del self._relays[[key for key, one in weak.items() if one.network == network][-1]]
        return True

    def met(self, relay: bytes) -> None:
        """Note that a relay has answered at an address, or has connected to this node."""
        if relay in self._relays:
            self._relays[relay].met = True

    def expire(self, now: int) -> None:
        """Forget what has expired."""
        for key in [key for key, one in self._relays.items() if one.is_over(now)]:
            del self._relays[key]
        for one in self._relays.values():
            for day in [day for day in one.days if one.days[day].descriptor.expires <= now]:
                del one.days[day]

    def of(self, relay: bytes, day: int) -> SignedDescriptor | None:
        """Return the descriptor of a relay for a day, if it has one and no proof is against it."""
        known = self._relays.get(relay)
        return None if known is None else known.days.get(day)

    def current(self, relay: bytes, now: int) -> SignedDescriptor | None:
        """Return what a relay says now: today's descriptor, or yesterday's if there is none yet."""
        today = now // DAY
        return self.of(relay, today) or self.of(relay, today - 1)

    def addresses(self, relay: bytes, now: int) -> tuple[str, ...] | None:
        """Return the addresses of a relay, or None if it is not known now."""
        found = self.current(relay, now)
        return None if found is None else found.descriptor.addresses

    def descriptors(self, now: int) -> list[SignedDescriptor]:
        """Return the current descriptor of each relay, in the order of `raws`."""
        found = (self.current(key, now) for key in self._ordered())
        return [one for one in found if one is not None]

    def proofs(self, now: int) -> list[tuple[SignedDescriptor, SignedDescriptor]]:
        """Return two descriptors of each relay that has contradicted itself."""
        relays = (one for one in self._relays.values() if not one.is_over(now))
        return [one.proof for one in relays if one.proof is not None]

    def raws(self, now: int) -> list[bytes]:
        """Return the bytes of all valid descriptors, the most useful first: those of relays that
        always have a place, proofs, the current ones of the others, and then those of tomorrow."""
        fixed, today = set(self._fixed), now // DAY
        current = self.descriptors(now)
        later = [self.of(one.relay, today + 1) for one in current]
        later += [self.of(key, today + 1) for key in self._relays if not self.current(key, now)]
        ordered = [
            *(one for one in current if one.relay in fixed),
            *(one for proof in self.proofs(now) for one in proof),
            *(one for one in current if one.relay not in fixed),
            *(one for one in later if one is not None),
        ]
        return [one.item.raw for one in ordered]

    def _ordered(self) -> Iterator[bytes]:
        """The relays: those that always have a place, those that were met, and the others."""
        yield from (key for key in self._fixed if key in self._relays)
        others = [(key, one) for key, one in self._relays.items() if not one.fixed]
        yield from (key for key, one in others if one.met)
        yield from (key for key, one in others if not one.met)


def network_of(addresses: Collection[str]) -> str:
    """Return the network that the first of these addresses claims: an IPv4 /16 or an IPv6 /32, or
    the last two labels of a name."""
    host = _host(next(iter(addresses)))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ".".join(host.lower().rstrip(".").split(".")[-2:])
    return str(ipaddress.ip_network((address, _PREFIX[address.version]), strict=False))


def _host(address: str) -> str:
    if address.startswith("/"):
        return address.split("/")[2] if address.count("/") > 1 else address
    host = address.removeprefix("https://").partition("/")[0]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _has_own_addresses(found: SignedDescriptor) -> bool:
    """Whether each multiaddress ends in the relay's own peer id, and names no other."""
    end = f"/p2p/{peer_id_of(found.relay)}"
    return all(
        one.endswith(end) and one.count("/p2p/") == 1
        for one in found.descriptor.addresses
        if one.startswith("/")
    )

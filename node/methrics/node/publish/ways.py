"""Chooses the exit of each box, so that nobody sees both its sender and its content (pure).

A *way* is an entry, which sees this machine's address, and an exit, which sees the content. The
entry stays the same for months (`entries`); the exit is drawn anew for each box. They must not be
one relay, nor be run by the same people. Nobody can prove who runs a relay, so three signs count:
what it says of its operator, its network (IPv4 /16, IPv6 /32, the end of a host name), and who
named it to this machine. An app could name two relays of its own, so of entry and exit at most one
comes from the app. If there is no better way, a worse one is taken, and `WORDS` say so.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

AGREEING = 2
"""Relays that must show the same descriptor, if as many were asked. A relay with a key for each
client could tell clients apart by their keys."""


LOAD_FULL = 100
"""The load of a relay that has no room; it is used only if there is no other."""


class Gap(IntEnum):
    """How far entry and exit of a way are apart; the higher, the worse."""

    APART = 0
    """Nothing says that the same people run both."""
    NEAR = 1
    """Both are in one network."""
    APP = 2
    """The app named both."""
    OPERATOR = 3
    """Both name the same operator."""
    RELAY = 4
    """One relay is both: it sees the address and the content."""


WORDS = {
    Gap.APART: "",
    Gap.NEAR: "both relays are in one network, so one operator may see who reports what",
    Gap.APP: "the app named both relays, so one operator may see who reports what",
    Gap.OPERATOR: "one operator runs both relays, and could see who reports what",
    Gap.RELAY: "only one relay is known, and it sees who reports what",
}
"""What a person should know about a way, as a sentence, "" if it is as it should be."""


@dataclass(frozen=True, slots=True)
class KnownRelay:
    """A relay as its descriptor of today describes it.

    `id`: 32 bytes. `topics`: those that it carries as an exit. `operator`: who it says runs it, ""
    if it does not say. `key`: the RFC 9458 key config for which boxes are sealed today, b"" if it
    is no exit. `load`: 0 to 100, as it says itself.
    """

    id: bytes
    addresses: tuple[str, ...]
    roles: frozenset[str]
    topics: frozenset[str] = frozenset()
    operator: str = ""
    key: bytes = b""
    load: int = 0

    @property
    def names(self) -> frozenset[str]:
        """The names by which lists of addresses may mean this relay."""
        return names_of(self.addresses)

    @property
    def places(self) -> frozenset[str]:
        """The networks of its addresses."""
        return frozenset(map(place_of, self.addresses))


@dataclass(frozen=True, slots=True)
class Named:
    """The addresses of relays that the user named, and those that an app named."""

    user: tuple[str, ...] = ()
    app: tuple[str, ...] = ()


class Exits(NamedTuple):
    """The exits among which one is drawn for each box; all are equally far from the entry."""

    relays: tuple[KnownRelay, ...]
    gap: Gap


def exits(entry: str, topic: str, known: Sequence[KnownRelay], named: Named) -> Exits:
    """Return the exits for boxes of `topic` that leave by the entry at the address `entry`.

    Those that are farthest from the entry count, and of these the ones on the user's list, if it
    names any. There is none if no known relay is an exit of the topic.
    """
    first = find(entry, known) or KnownRelay(b"", (entry,), frozenset({"entry"}))
    able = [one for one in known if one.key and "exit" in one.roles and topic in one.topics]
    if not able:
        return Exits((), Gap.APART)
    gaps = {one.id: gap_between(first, one, named) for one in able}
    least = min(gaps.values())
    found = [one for one in able if gaps[one.id] is least]
    user = names_of(named.user)
    found = [one for one in found if one.names & user] or found
    found = [one for one in found if one.load < LOAD_FULL] or found
    return Exits(tuple(found), least)


def draw_exit(
    relays: Iterable[KnownRelay], rng: random.Random, without: Collection[bytes] = ()
) -> KnownRelay | None:
    """Draw an exit that is not in `without` (ids); None if there is none left.

    A network is drawn first, then an exit in it: who runs many relays in one network gets no more
    boxes than who runs one.
    """
    by_place: dict[str, list[KnownRelay]] = defaultdict(list)
    for one in relays:
        if one.id not in without:
            by_place[min(one.places, default="")].append(one)
    return rng.choice(by_place[rng.choice(sorted(by_place))]) if by_place else None


def gap_between(entry: KnownRelay, exit_: KnownRelay, named: Named) -> Gap:
    """Return how far the two are apart. Networks do not count if the user named both relays."""
    if (entry.id and entry.id == exit_.id) or entry.names & exit_.names:
        return Gap.RELAY
    if entry.operator and entry.operator == exit_.operator:
        return Gap.OPERATOR
    app, user = names_of(named.app), names_of(named.user)
    by_user = bool(entry.names & user and exit_.names & user)
    if entry.names & app and exit_.names & app and not by_user:
        return Gap.APP
    return Gap.NEAR if entry.places & exit_.places and not by_user else Gap.APART


def find(address: str, known: Iterable[KnownRelay]) -> KnownRelay | None:
    """Return the relay that an address means, None if none is known."""
    name = name_of(address)
    return next((one for one in known if name in one.names), None)


def agreed(answers: Sequence[Mapping[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the descriptors, by relay id, on which those that were asked agree.

    `answers`: for each of them, the valid descriptors of today that it showed, by relay id. A
    descriptor counts if `AGREEING` of them show it, or all if they are fewer. A relay of which two
    different ones are shown has signed both, so it is dropped, however many show either.
    """
    shown: dict[bytes, list[bytes]] = defaultdict(list)
    for answer in answers:
        for relay, raw in answer.items():
            shown[relay].append(raw)
    needed = min(AGREEING, len(answers))
    return {
        relay: raws[0]
        for relay, raws in shown.items()
        if len(raws) >= needed and len(set(raws)) == 1
    }


def askable(
    entry: str, known: Sequence[KnownRelay], named: Named, rng: random.Random
) -> list[bytes]:
    """Return exits in the order in which they are asked whether they show the same descriptors as
    the entry: those farthest from it first, and then one of each operator before a second one."""
    first = find(entry, known) or KnownRelay(b"", (entry,), frozenset({"entry"}))
    able = [one for one in known if one.key and "exit" in one.roles]
    drawn = rng.sample(able, len(able))
    drawn.sort(key=lambda one: gap_between(first, one, named))
    seen: dict[str, int] = defaultdict(int)
    turns: dict[bytes, int] = {}
    for one in drawn:
        turns[one.id] = max((seen[sign] for sign in _signs(one)), default=0)
        for sign in _signs(one):
            seen[sign] += 1
    drawn.sort(key=lambda one: turns[one.id])
    return [one.id for one in drawn if gap_between(first, one, named) is not Gap.RELAY]


def _signs(relay: KnownRelay) -> set[str]:
    """Return the signs of who runs a relay."""
    return {*relay.places, *([f"operator {relay.operator}"] if relay.operator else [])}


def names_of(addresses: Iterable[str]) -> frozenset[str]:
    """Return the names of the relays at these addresses."""
    return frozenset(map(name_of, addresses))


def name_of(address: str) -> str:
    """Return the name of the relay at an address: its peer id, or scheme, host and port of a URL.
    A peer id names a relay wherever it is."""
    _, mark, peer = address.rpartition("/p2p/")
    if mark:
        return peer
    scheme, _, rest = address.partition("://")
    host = rest.partition("/")[0].lower()
    return f"{scheme.lower()}://{host.removesuffix(':443')}"


def place_of(address: str) -> str:
    """Return the network of an address: IPv4 /16, IPv6 /32, or the last two labels of a host name.
    Who runs relays under one domain cannot make them look apart."""
    host = _host(address)
    try:
        found = ip_address(host)
    except ValueError:
        return ".".join(host.lower().rstrip(".").split(".")[-2:])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is None:
            return f"ip6 {found.packed[:4].hex()}"
        found = found.ipv4_mapped
    return f"ip4 {found.packed[:2].hex()}"


def _host(address: str) -> str:
    if "://" not in address:
        parts = address.split("/")
        return parts[2] if len(parts) > 2 else address
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return address

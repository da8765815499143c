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
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from methrics.node.network.peer_ids import peer_id_of

K = TypeVar("K", bound=Hashable)

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
    UNKNOWN = 4
    """The entry is known by a URL that no relay says is its own, so the exit may be the same."""
    RELAY = 5
    """One relay is both: it sees the address and the content."""


WORDS = {
    Gap.APART: "",
    Gap.NEAR: "both relays are in one network, so one operator may see who reports what",
    Gap.APP: "the app named both relays, so one operator may see who reports what",
    Gap.OPERATOR: "one operator runs both relays, and could see who reports what",
    Gap.UNKNOWN: "the entry does not say which relay it is, so it may see who reports what",
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
    """The addresses of relays that the user named, and for each app those that it named."""

    user: tuple[str, ...] = ()
    apps: tuple[tuple[str, ...], ...] = ()


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
    unknown = not first.id and "://" in entry  # a peer id would tell it from the exits
    return Exits(tuple(found), max(least, Gap.UNKNOWN) if unknown else least)


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
    """Return how far the two are apart. Only what they say of themselves counts if the user named
    both."""
    if (entry.id and entry.id == exit_.id) or entry.names & exit_.names:
        return Gap.RELAY
    if entry.operator and entry.operator == exit_.operator:
        return Gap.OPERATOR
    if _both(entry, exit_, named.user):
        return Gap.APART
    if any(_both(entry, exit_, app) for app in named.apps):
        return Gap.APP
    return Gap.NEAR if entry.places & exit_.places else Gap.APART


def _both(entry: KnownRelay, exit_: KnownRelay, addresses: Sequence[str]) -> bool:
    """Whether a list names both relays."""
    names = names_of(addresses)
    return bool(entry.names & names and exit_.names & names)


def find(address: str, known: Iterable[KnownRelay]) -> KnownRelay | None:
    """Return the relay that an address means, None if none is known."""
    name = name_of(address)
    return next((one for one in known if name in one.names), None)


def agreed(answers: Sequence[Mapping[K, bytes]]) -> set[K]:
    """Return the names of the descriptors on which those that were asked agree.

    `answers`: for each of them, the ids of the valid descriptors that it showed, by a name, such as
    relay and day. A descriptor counts if `AGREEING` of them show it, or all if they are fewer. A
    relay of which two different ones are shown under one name has signed both, so neither counts,
    however many show it.
    """
    shown: dict[K, list[bytes]] = defaultdict(list)
    for answer in answers:
        for name, found in answer.items():
            shown[name].append(found)
    needed = min(AGREEING, len(answers))
    return {name for name, ids in shown.items() if len(ids) >= needed and len(set(ids)) == 1}


def spread(relays: Sequence[KnownRelay], rng: random.Random) -> list[KnownRelay]:
    """Return the relays in a random order in which, as far as can be told, one of each operator
    comes before a second one of any."""
    drawn, seen = rng.sample(relays, len(relays)), Counter[str]()
    turns: dict[bytes, int] = {}
    for one in drawn:
        turns[one.id] = max((seen[sign] for sign in _signs(one)), default=0)
        seen.update(_signs(one))
    return sorted(drawn, key=lambda one: turns[one.id])


def witnesses(
    entry: str, known: Sequence[KnownRelay], named: Named, rng: random.Random
) -> list[KnownRelay]:
    """Return exits in the order in which they are asked whether they show the same descriptors as
    the entry. The entry itself is among them only if there is no other."""
    first = find(entry, known) or KnownRelay(b"", (entry,), frozenset({"entry"}))
    able = [one for one in known if one.key and "exit" in one.roles]
    others = [one for one in able if gap_between(first, one, named) is not Gap.RELAY]
    order = spread(others or able, rng)
    return sorted(order, key=lambda one: gap_between(first, one, named) >= Gap.APP)


def listed_witness(order: Sequence[KnownRelay], entry: str, named: Named) -> KnownRelay | None:
    """Return the first relay in `order`, other than the entry, that the user's list names by its
    peer id, or else an app's; None without one. An entry cannot invent it, as it can others."""
    names = names_of(named.user or [one for app in named.apps for one in app]) - {name_of(entry)}
    return next((one for one in order if peer_id_of(one.id) in names), None)


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

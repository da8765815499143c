"""Tells from the relays that a visit found who could see both hops, for the words of consent
(pure)."""

from __future__ import annotations

from collections.abc import Sequence

from methrics.node.consent.route_words import APP, NETWORK, ONE_RELAY, UNNAMED, Hops
from methrics.node.publish.ways import Exits, Gap, KnownRelay, find

_DOUBTS = {Gap.NEAR: NETWORK, Gap.APP: APP, Gap.UNKNOWN: UNNAMED, Gap.RELAY: ONE_RELAY}


def hops_of(entry: str, known: Sequence[KnownRelay], found: Exits) -> Hops:
    """Return what is known of the relays for the boxes that leave by the entry at the address
    `entry` to the exits in `found`. The operators are what relays claim."""
    first = find(entry, known)
    operators = {one.operator for one in found.relays}
    return Hops(
        None if first is None else first.operator,
        tuple(sorted(operators)),
        _DOUBTS.get(found.gap, ""),
    )

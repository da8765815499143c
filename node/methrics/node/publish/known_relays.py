"""Reads the descriptors that relays show, and returns the relays on which they agree (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from methrics.node.ohttp.key_config import decode_key_config
from methrics.node.publish.ways import KnownRelay, agreed
from methrics.schema.errors import RefusedError
from methrics.schema.wire.descriptor import SignedDescriptor, read_descriptor
from methrics.schema.wire.limits import DAY, EARLY_MAX

Shown = Mapping[tuple[bytes, int], SignedDescriptor | None]
"""The descriptors that one relay shows, by relay and day; None if it shows two that differ."""


def shown(raws: Iterable[bytes], now: int) -> Shown:
    """Return the valid descriptors among `raws`, of today and yesterday. `now`: Unix seconds."""
    found: dict[tuple[bytes, int], SignedDescriptor | None] = {}
    for raw in raws:
        try:
            one = read_descriptor(raw, now)
        except RefusedError:
            continue
        if one.descriptor.day > now // DAY:
            continue
        before = found.get(one.about, one)
        same = before is not None and before.item.id == one.item.id
        found[one.about] = one if same else None
    return found


def known_relays(answers: Sequence[Shown], must: Shown | None = None) -> list[KnownRelay]:
    """Return the relays whose newest descriptor those that were asked agree on, by id. A relay that
    has signed two different descriptors of one day is not among them. `must`: what one more relay
    shows, which has to show them, too."""
    every = answers if must is None else (*answers, must)
    liars = {about[0] for answer in every for about in answer if _differs(about, every)}
    ids = [
        {about: one.item.id for about, one in answer.items() if one is not None}
        for answer in answers
    ]
    newest: dict[bytes, SignedDescriptor] = {}
    counted = agreed(ids) if must is None else agreed(ids) & must.keys()
    for about in sorted(counted, key=lambda about: about[1]):
        one = next(found for answer in answers if (found := answer.get(about)) is not None)
        newest[one.relay] = one
    return [_known(one) for relay, one in sorted(newest.items()) if relay not in liars]


def time_at(told: int, local: int) -> int:
    """Return the time by which descriptors are read: this machine's, unless the relay's differs by
    more than the clocks of honest machines do. A machine whose clock is wrong must still be able to
    learn from relays that it is."""
    return local if abs(told - local) <= EARLY_MAX else told


def _differs(about: tuple[bytes, int], answers: Sequence[Shown]) -> bool:
    found = [answer[about] for answer in answers if about in answer]
    return None in found or len({one.item.id for one in found if one is not None}) > 1


def _known(one: SignedDescriptor) -> KnownRelay:
    told = one.descriptor
    return KnownRelay(
        one.relay,
        told.addresses,
        frozenset(told.roles),
        frozenset(told.topics),
        told.operator or "",
        next(filter(_usable, told.keys), b""),
        told.load or 0,
    )


def _usable(key: bytes) -> bool:
    try:
        return decode_key_config(key).usable
    except RefusedError:
        return False

"""Keeps one entry for months, and bounds how many an attacker can make a machine use (pure).

An entry sees this machine's address. If each visit took another one, every relay would see it
sooner or later; so one is drawn and kept for 60 to 120 days, for all apps of the user. Who can
block its connections must not be able to push the machine on until an entry of his own is reached,
so at most `ENTRIES_MAX` are drawn within `ENTRIES_TIME`; those that were drawn before are tried
again. Tor chooses its guards for the same reasons and in a similar way (its guard specification).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from methrics.node.publish.entry import is_url
from methrics.node.publish.ways import name_of, names_of

DAY = 86_400

LIFE = (60 * DAY, 120 * DAY)
"""Seconds for which an entry is kept, at least and at most."""

ENTRIES_MAX, ENTRIES_TIME = 3, 30 * DAY
"""Most entries that are drawn within so many seconds. With one alone, an app that names a dead
relay would be silent for months."""

SILENT_VISITS, SILENT_TIME = 4, 2 * DAY
"""An entry that has answered before is replaced once it gave no answer at so many visits in a row,
the first of them so many seconds ago. One that never answered is replaced at once."""

RETRY = 4 * 3600
"""Seconds after which an entry that gave no answer is tried again before those drawn after it."""

TRIED_MAX = 3
"""Most entries that are tried at one visit."""

KEPT_MAX = 32
"""Most entries that are remembered."""

FOUND_MAX = 16
"""Most discovered entries that are remembered."""


class Source(StrEnum):
    """Who named an entry."""

    USER = "user"
    APP = "app"
    FOUND = "found"
    """Other relays did (a descriptor)."""


@dataclass(frozen=True, slots=True)
class KeptEntry:
    """An entry that was drawn at `since`, and is used until `until` (Unix seconds).

    `company`: the list of the app that named it; the exit must not come from the same list, also
    when another app reports. `answered`: whether it ever did. `silent`: visits in a row at which it
    gave no answer, `silent_since` the time of the first of them, `tried` that of the last.
    """

    address: str
    source: Source
    since: int
    until: int
    company: tuple[str, ...] = ()
    answered: bool = False
    silent: int = 0
    silent_since: int = 0
    tried: int = 0


@dataclass(frozen=True, slots=True)
class KeptEntries:
    """What is kept between visits: the entries that were drawn, and addresses of entries that were
    discovered, from which a later one may be drawn."""

    drawn: tuple[KeptEntry, ...] = ()
    found: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """The addresses from which an entry may be drawn: the user's list, or else the app's and the
    discovered ones. The user's list alone counts if it names any (DEB-8). `urls_only`: whether only
    URLs can be used, because libp2p may not be installed."""

    user: tuple[str, ...] = ()
    app: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    urls_only: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses that count."""
        return tuple(filter(self.allows, self.user or (*self.app, *self.found)))

    def allows(self, address: str) -> bool:
        """Whether an address can be used here."""
        return is_url(address) or not self.urls_only


def next_entry(
    kept: KeptEntries, offer: Offer, tried: Collection[str], now: int, rng: random.Random
) -> tuple[KeptEntries, KeptEntry | None]:
    """Return the entry to try next in a visit, and what is kept then.

    `tried`: the addresses of those that gave no answer in this visit. None if all that may be used
    were tried: then nothing leaves until a later visit.
    """
    if len(tried) >= TRIED_MAX:
        return kept, None
    kept = replace(kept, drawn=tuple(_sane(one, now) for one in kept.drawn if one.until > now))
    usable = _usable(kept.drawn, offer)
    done = names_of(tried)
    left = [one for one in _order(usable, now) if name_of(one.address) not in done]
    if left:
        return kept, left[0]
    if not _may_draw(usable, now):
        return kept, None
    drawn = _draw(usable, offer, now, rng)
    if drawn is None:
        return kept, None
    return replace(kept, drawn=(*kept.drawn, drawn)[-KEPT_MAX:]), drawn


def note_answer(kept: KeptEntries, address: str) -> KeptEntries:
    """Return what is kept after an entry answered."""
    return _changed(
        kept, address, lambda one: replace(one, answered=True, silent=0, silent_since=0)
    )


def note_silence(kept: KeptEntries, address: str, now: int) -> KeptEntries:
    """Return what is kept after an entry gave no answer at a visit."""
    return _changed(
        kept,
        address,
        lambda one: replace(
            one,
            silent=one.silent + 1,
            silent_since=one.silent_since if one.silent else now,
            tried=now,
        ),
    )


def note_found(kept: KeptEntries, addresses: Sequence[str], rng: random.Random) -> KeptEntries:
    """Return what is kept after entries were discovered: some of them, drawn anew if those that are
    kept are not all among them."""
    distinct = sorted(set(addresses))
    if set(kept.found) <= set(distinct) and len(kept.found) == min(FOUND_MAX, len(distinct)):
        return kept
    return replace(kept, found=tuple(rng.sample(distinct, min(FOUND_MAX, len(distinct)))))


def _changed(
    kept: KeptEntries, address: str, change: Callable[[KeptEntry], KeptEntry]
) -> KeptEntries:
    name = name_of(address)
    drawn = tuple(change(one) if name_of(one.address) == name else one for one in kept.drawn)
    return replace(kept, drawn=drawn)


def _usable(drawn: Sequence[KeptEntry], offer: Offer) -> list[KeptEntry]:
    """Return the entries that may be used, at the addresses that are offered now: a relay may have
    moved."""
    wanted = {name_of(address): address for address in reversed(offer.addresses)}
    found = [replace(one, address=wanted.get(name_of(one.address), one.address)) for one in drawn]
    return [
        one
        for one in found
        if offer.allows(one.address) and (not offer.user or name_of(one.address) in wanted)
    ]


def _order(usable: Sequence[KeptEntry], now: int) -> list[KeptEntry]:
    """Return the entries in the order in which they are tried: the one that was drawn first, unless
    it gave no answer a short time ago."""
    return sorted(usable, key=lambda one: one.silent > 0 and now - one.tried < RETRY)


def _may_draw(usable: Sequence[KeptEntry], now: int) -> bool:
    recent = [one for one in usable if now - one.since < ENTRIES_TIME]
    return len(recent) < ENTRIES_MAX and all(_given_up(one, now) for one in usable)


def _given_up(one: KeptEntry, now: int) -> bool:
    if not one.answered:
        return one.silent > 0
    return one.silent >= SILENT_VISITS and now - one.silent_since >= SILENT_TIME


def _draw(
    usable: Sequence[KeptEntry], offer: Offer, now: int, rng: random.Random
) -> KeptEntry | None:
    taken = names_of(one.address for one in usable)
    free = {name_of(address): address for address in reversed(offer.addresses)}
    choice = sorted(address for name, address in free.items() if name not in taken)
    if not choice:
        return None
    address = rng.choice(choice)
    source = _source(address, offer)
    company = offer.app if source is Source.APP else ()
    return KeptEntry(address, source, now, now + rng.randint(*LIFE), company)


def _source(address: str, offer: Offer) -> Source:
    if offer.user:
        return Source.USER
    return Source.APP if name_of(address) in names_of(offer.app) else Source.FOUND


def _sane(one: KeptEntry, now: int) -> KeptEntry:
    """Return an entry whose times are not in the future: the clock may have been wrong."""
    return replace(
        one,
        since=min(one.since, now),
        until=min(one.until, now + LIFE[1]),
        silent_since=min(one.silent_since, now),
        tried=min(one.tried, now),
    )

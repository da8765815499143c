"""Simulates the path from a machine to the topic: relays' answers, mixing, losses. Pure.

The rules are those of `methrics.node.relay.mixer` and `methrics.schema.judging.judge`; tests
compare the simplified versions here with them. Not simulated: full relays, which publish early, and
relays that do not answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from methrics.node.outbox.rows import Receipt
from methrics.node.relay.mixer import MixLimits, Pooled, draw_rest, shuffled
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.wire.limits import EARLY_MAX
from methrics.schema.wire.verdict import Reason

LIMITS = MixLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """An item that rests in a relay until its batch window `closes` (Unix seconds)."""

    closes: int
    id: bytes
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A bundle on the topic at `time`. `kind` is the attack that it is part of, empty for the
    bundles of honest relays."""

    time: int
    bundle: bytes
    ids: tuple[bytes, ...]
    kind: str = ""


def answer(receipt: Receipt, event_type: EventType, now: int) -> Reason:
    """Return a relay's verdict on an honest machine's report at `now` (the relay's clock, Unix
    seconds).

    Only the report's time can be wrong. The rules are those at the end of `judge._report`.
    """
    if receipt.time >= event_type.expires:
        return Reason.EXPIRED
    if receipt.time > now + EARLY_MAX:
        return Reason.EARLY
    return Reason.LATE if now - receipt.time > event_type.lateness else Reason.OK


def closes(handed: int, rng: random.Random, *, mix: bool = True) -> int:
    """Draw the time at which a report that was sent at `handed` is published: when the batch window
    closes.

    The exit that opens the report lets it rest for a random time.
    """
    moment = handed + draw_rest(handed, LIMITS.rest if mix else 0.0, rng)
    return int((moment // LIMITS.batch_window + 1) * LIMITS.batch_window)


def bundles(catalog: Catalog, items: Iterable[Resting], rng: random.Random) -> Iterator[Heard]:
    """Yield the bundles of `items`, all of one catalog, that relays publish, in order of time. The
    items of each window are shuffled."""
    topic = catalog.topic
    for time, window in groupby(sorted(items, key=_in_order), key=_closes):
        held = {one.id: Pooled(catalog.id, one.raw) for one in window}
        for mixed in shuffled(topic, held, rng):
            ids = tuple(item_id for item_id, _ in mixed.items)
            yield Heard(time=time, bundle=mixed.bundle, ids=ids)


def _in_order(one: Resting) -> tuple[int, bytes]:
    return one.closes, one.id


def _closes(one: Resting) -> int:
    return one.closes

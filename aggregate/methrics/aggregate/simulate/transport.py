"""The way from a machine to the topic: what relays answer, when they publish, what gets lost.

Pure. The rules are the relays' own (`methrics.node.relay.mixer`,
`methrics.schema.judging.judge`); tests compare the short cuts taken here with them.
Left out: relays have memory for all that rests, so none publishes before its time, and two always
answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from methrics.node.outbox.rows import Receipt
from methrics.node.publish.routes import RELAYS_AT_A_TIME
from methrics.node.relay.mixer import MixLimits, draw_rest, shuffled
from methrics.schema.catalog.event_type import EventType
from methrics.schema.wire.limits import EARLY_MAX
from methrics.schema.wire.verdict import Reason

LIMITS = MixLimits()


class Resting(NamedTuple):
    """An item that a relay holds until `closes` (unix seconds): it leaves in that window."""

    closes: int
    id: bytes
    raw: bytes


class Heard(NamedTuple):
    """A bundle on the topic at `time`, and who is behind it ("" for honest relays)."""

    time: int
    bundle: bytes
    ids: tuple[bytes, ...]
    kind: str = ""


def answer(receipt: Receipt, event_type: EventType, now: int) -> Reason:
    """What a relay says of an honest machine's report: all that can be wrong with it is its time,
    as of the relay's clock (`now`, unix seconds). The end of `judge._report`."""
    if receipt.time >= event_type.expires:
        return Reason.EXPIRED
    if receipt.time > now + EARLY_MAX:
        return Reason.EARLY
    return Reason.LATE if now - receipt.time > event_type.lateness else Reason.OK


def closes(handed: int, rng: random.Random, *, mix: bool = True) -> int:
    """When the window ends in which a report appears that was handed over at `handed`: each relay
    lets it rest for a time of its own, and once one has published it the others drop it."""
    period = LIMITS.rest if mix else 0.0
    moment = handed + min(draw_rest(handed, period, rng) for _ in range(RELAYS_AT_A_TIME))
    return int((moment // LIMITS.batch_window + 1) * LIMITS.batch_window)


def bundles(topic: str, items: Iterable[Resting], rng: random.Random) -> Iterator[Heard]:
    """What relays publish of `items`, in order of time: each window shuffled and packed."""
    for time, window in groupby(sorted(items), key=_closes):
        held = {one.id: one.raw for one in window}
        for mixed in shuffled(topic, held, rng):
            yield Heard(time, mixed.bundle, tuple(item_id for item_id, _ in mixed.items))


def _closes(one: Resting) -> int:
    return one.closes

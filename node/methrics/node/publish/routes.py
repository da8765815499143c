"""The routes over which reports reach their topic, and the outcome for each report.

`WayRoute` (the default) makes visits to an entry and seals every item for an exit: the entry sees
this machine's address, and the exit the content. `DirectRoute` publishes on the topic itself, so
its peers see this machine's address; it needs a consent of its own. Sending an item twice does no
harm, because its id is a hash of its content: an item that was not acknowledged may be sent again,
over any route.

A connection may take long to make, and consent may be withdrawn meanwhile. So a route asks
`Outgoing.leave` immediately before the bytes of an item leave, for each relay and each bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from methrics.node.consent.route_words import Hops
from methrics.node.publish.leaving import Leave, leave_all
from methrics.schema.wire.verdict import Reason

REFUSALS = 2
"""Relays that must refuse an item for good before it is given up. This machine accepted the item
itself, so one relay may be wrong."""


class Fate(StrEnum):
    """The outcome for one item."""

    ACKNOWLEDGED = "acknowledged"
    """A relay accepted the item, or it was sent to a peer of the topic."""
    RETRY = "retry"
    """The item was not accepted now; a later attempt may succeed."""
    REFUSED = "refused"
    """Several relays said that they will never accept the item."""
    HELD = "held"
    """`Outgoing.leave` did not let the item leave."""
    HANDED = "handed"
    """An entry has the item; the answer comes at a later visit."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one item and its reason code (`ok`, or the relay's answer). `again`: the least
    seconds after which a full relay wants to be asked again, 0 if it named none."""

    fate: Fate
    reason: str
    again: int = 0


def ignore_time(_time: int) -> None:
    """Do nothing with a relay's time."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Items of one namespace that a route is to deliver.

    `items`: pairs of (id, exact bytes), for `topic`. `catalogs`: the bytes of their catalogs, which
    are also sent if the receiver may not know them, and so are `records`, which list them and on
    which two relays agreed. `leave`: asked immediately before bytes leave; from then on others may
    have the items. `told`: called with each relay's time (unix seconds).
    """

    topic: str
    catalogs: tuple[bytes, ...]
    items: tuple[tuple[bytes, bytes], ...]
    leave: Leave = leave_all
    told: Callable[[int], None] = ignore_time
    records: tuple[bytes, ...] = ()


HELD = Outcome(Fate.HELD, "held")


@dataclass(slots=True)
class Findings:
    """What a route found out in a pass. `unusable`: the relays or peers that could not be used, by
    address: why, in words. `sources`: how many relays could be asked for the records of the topic,
    0 if that is not known. `note`: what a person should know about the way of the reports, "" if it
    is as it should be. `hops`: who runs the relays, None if no relay told."""

    unusable: dict[str, str] = field(default_factory=dict)
    sources: int = 0
    note: str = ""
    hops: Hops | None = None


UNREACHABLE = "unreachable"
"""Reason of an item that is tried again because no relay or peer could be used."""


class Route(Protocol):
    """A way to reach the topic. `name` is its name in the consent and the journal."""

    @property
    def name(self) -> str: ...

    async def records(self, topic: str, known: Sequence[bytes]) -> list[tuple[bytes, ...]]:
        """Ask up to two relays, or the peers, for the records of the topic's namespace. Return what
        each said, and hand it what it lacks of the newest one among the others' and `known`. What
        it is handed says nothing about itself, so it counts only once a later answer contains it.
        `known` are records that two relays agreed on. A network error is not raised."""
        ...

    async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
        """Try once to deliver; return an outcome for every id. A network error is not raised; its
        items get the outcome RETRY."""
        ...


BY_CLOCK = frozenset({Reason.EARLY, Reason.LATE, Reason.EXPIRED})
"""Reasons of a refusal that depend on the relay's clock. Before each attempt this machine judges
the item by its own clock, so the relay's may be wrong, and another relay is tried."""

_RETRIED = BY_CLOCK | {
    Reason.QUOTA,
    Reason.UNKNOWN_CATALOG,
    Reason.UNLISTED,
    Reason.FOREIGN,
}
"""Reasons of a refusal that depend on the relay or the time, not on the item."""


def outcome_of(reason: Reason) -> Outcome:
    """Return the outcome that follows from a relay's reason code for an item. A relay that was
    asked to forget a report takes it for good: nobody may send it again."""
    if reason in (Reason.OK, Reason.DUPLICATE, Reason.ERASED):
        return Outcome(Fate.ACKNOWLEDGED, str(reason))
    return Outcome(Fate.RETRY if reason in _RETRIED else Fate.REFUSED, str(reason))


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome for an item from the outcomes at the relays that answered, at least one.

    The best one counts: acknowledged is better than retry, and retry better than refused. If fewer
    than `REFUSALS` relays refused the item and none gave another answer, it is tried again, as soon
    as the first of the relays wants to be asked again."""
    found = list(outcomes)
    for fate in (Fate.ACKNOWLEDGED, Fate.RETRY):
        alike = [one for one in found if one.fate is fate]
        if alike:
            return min(alike, key=lambda one: one.again)
    if len(found) < REFUSALS:
        return Outcome(Fate.RETRY, found[0].reason)
    return Outcome(Fate.REFUSED, Counter(one.reason for one in found).most_common(1)[0][0])

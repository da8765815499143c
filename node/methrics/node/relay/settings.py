"""The settings of a relay, and its counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from methrics.node.relay.clock_watch import Skew
from methrics.node.relay.mixer import MixLimits
from methrics.schema.errors import ConfigError
from methrics.schema.wire.limits import CARRIED_MAX
from methrics.schema.wire.verdict import Reason

ROLES = ("entry", "exit")


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """The settings of one relay."""

    topics: tuple[str, ...]
    """Topics that the relay carries; items of other topics are refused as `foreign`."""
    mix: MixLimits = field(default_factory=MixLimits)
    entries: tuple[str, ...] = ()
    """Peer ids of relays that submit what many apps gave them. Half of the pool is theirs, in equal
    parts, so that strangers who fill the rest do not crowd them out."""
    roles: tuple[str, ...] = ROLES
    """What the relay does for apps: as an entry it brings boxes to exits, as an exit it opens
    them."""
    boxes_per_minute: int = 6000
    """Most boxes that each door takes from one network (an IPv4 /24 or an IPv6 /48) per minute: an
    app brings a few per hour, so this is enough for thousands of apps behind one entry."""
    spread: float = 6 * 3600.0
    """Seconds over which an entry spreads the boxes of a visit. 0: it brings them to their exits at
    once, which is for tests and for networks on one machine."""
    entry_boxes_per_minute: int = 60_000
    """Most boxes that the exit takes from one of `entries` per minute."""
    announce: tuple[str, ...] = ()
    """The addresses that the relay names in its descriptors; by default those it listens on."""
    operator: str | None = None
    """Who runs the relay, for its descriptors: a claim, at most 64 bytes."""
    named: tuple[str, ...] = ()
    """Peer ids of peers that the operator named: their descriptors always have a place."""
    seen: int = 500_000
    """Most ids of items that are remembered, to drop duplicates. The default lasts for two hours at
    60 reports per second."""
    threads: int = 1
    """Most threads that open and judge boxes at once. Four open a third fewer boxes with the same
    processor time, because they wait for each other (Python's lock)."""
    record_every: float = 3600.0
    """Seconds after which the newest record of each topic is published again, for nodes that joined
    late or were kept from it. The default adds at most 16 KiB an hour."""
    flush_time: float = 5.0
    """Most seconds for which a relay that is stopped publishes its pool."""

    def __post_init__(self) -> None:
        if not self.roles or not set(ROLES).issuperset(self.roles):
            raise ConfigError("bad-role", "a relay is an entry, an exit, or both", "give --role")
        if len(self.topics) > CARRIED_MAX:
            raise ConfigError(
                "too-many-topics",
                f"a relay carries at most {CARRIED_MAX} topics, not {len(self.topics)}",
                "run a second relay for the others",
            )


@dataclass(slots=True)
class RelayStatistics:
    """Counts since the start. They name no submitter, no peer and no report."""

    answers: Counter[str] = field(default_factory=Counter)
    """Number of items in boxes, by the reason code of the answer."""
    gossip: Counter[str] = field(default_factory=Counter)
    """Number of bundles of other nodes, by the reason of the verdict. A bundle that waits for its
    catalog or a record is counted each time it is judged."""
    bundles: int = 0
    """Bundles that this relay made and published."""
    published: int = 0
    """Items in those bundles."""
    elsewhere: int = 0
    """Pooled items that another relay published first, and that this relay passed on to a peer of
    its own choice. Without such a peer it keeps them, and publishes them when their rest ends."""
    put_back: int = 0
    """Items put back for one more window because no peer of the topic was connected."""
    skew: Skew | None = None
    """By how much this machine's clock is probably wrong, as far as arrivals tell."""

    @property
    def unlisted(self) -> int:
        """Boxes and bundles of a catalog that no known record lists."""
        return self.answers[Reason.UNLISTED] + self.gossip[Reason.UNLISTED]

    @property
    def quota(self) -> int:
        """Items that were refused because the relay was full."""
        return self.answers[Reason.QUOTA]

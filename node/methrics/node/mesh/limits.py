"""Every limit, interval and weight of the mesh, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.schema.errors import ConfigError
from methrics.schema.wire.limits import BUNDLE_MAX


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """The parameters of the peer score (gossipsub 1.1, "The Score Function").

    Counters decay by 2 % a beat: they halve in 34 s, so that an error is forgiven within minutes.
    """

    decay: float = 0.98
    """The part of each counter that is left after a beat."""
    zero: float = 0.01
    """A smaller counter is zero."""

    first_weight: float = 0.5
    first_cap: float = 40.0
    """P2: points per new message, and the most that count. The largest credit is 20 points, so that
    a long good record does not pay for five invalid messages."""

    missed_rate: float = 1.0
    """P3 applies to topics with more accepted messages per second only: with fewer, chance decides
    which peer is the first."""
    missed_after: float = 60.0
    """Seconds in the mesh after which P3 applies to a peer."""
    missed_share: float = 0.1
    """The part of a topic's messages that a mesh peer should have sent as the first or nearly so: a
    third of what each of 4 to 12 alike peers would send."""
    missed_weight: float = 8.0
    missed_cap: float = 1.0
    """P3 and P3b: points for a peer that sends nothing, and most shortfalls that are remembered.
    Both together stay above `gossip_least`: such a peer may be honest, and have no other neighbours
    than us."""
    near_first: float = 0.05
    """Seconds after the first copy in which another one counts as delivered, too: shorter than the
    way to a peer and back, so that echoes do not count."""

    invalid_weight: float = 1.0
    invalid_cap: float = 30.0
    """P4: points for the square of the number of invalid messages, and the most that count. Ten
    invalid messages graylist a peer; the cap ends that within a minute."""

    app_most: float = 100.0
    """P5: most points that an application can add or take."""

    colocated_max: int = 16
    colocated_weight: float = 0.25
    colocated_most: float = 15.0
    colocated_credit: float = 4.0
    """P6: peers of one network (a /24 or /48) that cost nothing, points for the square of the
    number of further ones, and the most. Only peers that have joined a topic of this node count,
    and the further ones lose points: not the first to join, nor a peer that this node has dialled,
    nor one with so much P2, the new messages that it sent lately. A crowd leaves the
    mesh, but is still told ids: it may be an office behind one address."""

    penalty_free: float = 2.0
    penalty_weight: float = 4.0
    penalty_cap: float = 20.0
    """P7: misbehaviour that costs nothing, points for the square of the rest, and the most that
    count. Honest peers break a promise now and then. The eighth one graylists."""
    malformed_penalty: float = 3.0
    """P7 for one frame that no honest node sends."""


@dataclass(frozen=True, slots=True)
class MeshSettings:
    """The parameters of one mesh. The defaults suit an aggregator on a small public machine.

    A *beat* is one heartbeat. `message_max` must be the same on every node of a network. Otherwise,
    if one node publishes a message that is too large for another, the other node lowers the peer
    score of honest peers.
    """

    score: ScoreSettings = ScoreSettings()

    message_max: int = BUNDLE_MAX
    """Most bytes of one message."""

    leaf: bool = False
    """Whether the node is a leaf: it is in no mesh, forwards nothing and offers nothing. It gets
    what its peers publish, and asks for what they offer. A node that does not judge all of each
    message must be a leaf: it must not forward what it has not judged."""
    degree: int = 6
    degree_low: int = 4
    degree_high: int = 12
    """Mesh peers per topic: the number aimed at, the least and the most (gossipsub defaults)."""
    degree_score: int = 4
    """Mesh peers that are kept for their score when there are too many; the others are drawn."""
    degree_out: int = 2
    """Mesh peers to which this node has connected itself, at least, so that peers which connect to
    it cannot take over the whole mesh. Less than `degree_low`, and at most half of `degree`."""
    heartbeat: float = 1.0
    """Seconds between two beats. The decay factors are meant for this interval."""
    prune_backoff: float = 60.0
    """Seconds after a PRUNE in which neither side grafts again (gossipsub default)."""
    leave_backoff: float = 10.0
    """The same after a peer left the topic: shorter, so that it may join again soon."""
    backoff_slack: float = 2.0
    """Seconds for which this node waits longer than it was told to, because clocks and delays
    differ. Without them, a GRAFT could arrive early and be punished."""
    backoff_max: float = 600.0
    """Most seconds for which a PRUNE of a stranger can keep this node out of a mesh."""
    backoffs_max: int = 1024
    """Most peers per topic for which a backoff is remembered: more than have connections. Those
    that are gone are forgotten first."""

    opportunistic_interval: float = 60.0
    """Seconds between two checks whether the mesh has peers of too low a score."""
    opportunistic_peers: int = 2
    """Peers that such a check adds (gossipsub default)."""

    window: int = 3
    """Beats within which each peer outside the mesh is told each content id once. A third of these
    peers is told in each beat."""
    history: int = 60
    """Beats for which a message is kept for peers that ask for it. Longer than `window`, because a
    peer may first ask others, in vain, and a slow peer is told late."""
    history_bytes: int = 33_554_432
    """Most bytes of these messages. The oldest of the peer that sent most are forgotten first."""
    ids_max: int = 1024
    """Most ids that are read from one peer, or told to it, per beat and kind: twice the messages
    per window at the largest load for which the network is designed. If there are more, the peers
    that sent the messages get equal shares of them."""
    resend_max: int = 3
    resent_peers_max: int = 1024
    """Most times that one message is sent to one peer that asks for it (gossipsub default), and
    most such peers that are remembered: more than have connections; those that are gone are
    forgotten first. Without a limit, a peer could get 128 KiB again and again for 20 bytes."""

    promise_time: float = 3.0
    """Seconds in which a peer must send what it offered and was asked for (gossipsub default)."""
    promises_max: int = 98_304
    promises_per_peer: int = 256
    promises_unknown: int = 64
    """Most contents that are asked for at once: in all, of one peer, and of a peer that has not yet
    sent a new message. The total is more than all connected peers may be asked for, so that those
    which offer invented ids leave room for the offers of others."""
    offers_max: int = 512
    offers_total: int = 1_048_576
    offers_crowded: int = 64
    """Most peers that are remembered per content because they offered it: more than have
    connections, so that no number of sybils which offer it first hides an honest peer. While
    `offers_total` offers are remembered (some 30 MiB), only `offers_crowded` per content."""
    asked_max: int = 32
    """Most peers that are asked at once for one content. One is asked first; after each broken
    promise, or forged or useless answer, twice as many, so that 60 peers which promise in vain cost
    seconds, and as many as can be connected less than `history`."""

    seen_ttl: float = 120.0
    """Seconds, at least, for which a judged content is remembered: longer than a message needs to
    reach all nodes, and than it is kept for peers that ask."""
    seen_max: int = 65_536
    """Most judged contents that are remembered: enough for 120 s at over 500 messages a second.
    Ignored and rejected ones are counted apart, so that they displace no accepted one."""
    judging_max: int = 1024
    judging_per_peer: int = 16
    judging_portion: float = 1 / 8
    """Most contents of strangers that are being judged at once: in all, of one peer while all
    places are free (twice the judges that a shell runs for it), and the part of one network."""
    judging_direct: int = 256
    judging_waited: int = 512
    """The same for all direct peers, and for messages that waited: places of their own."""
    judging_time: float = 300.0
    """Seconds after which a content that is being judged is given up. Shells judge for less
    long."""
    retries_max: int = 3
    retry_time: float = 2.0
    """How often a content that could not be judged, because too many were being judged or its judge
    failed, is asked for again of the peers that sent it (as often as peers send a message again),
    and seconds before the first time; each time twice as many. Then only peers that offer it and
    were not asked yet are left."""
    forwarders_max: int = 64
    copies_max: int = 4
    """Most peers that are remembered per content being judged or waiting because they sent it, and
    most copies of it with another signature, which are judged if the first one is forged."""
    searches_max: int = 16
    """How often per beat room is searched for a peer that this node did not choose, among too many
    that sent or offered a content: each search takes as long as a dozen messages."""

    waiting_bytes: int = 33_554_432
    """Most bytes of messages that wait for a catalog or a record: hundreds of full bundles."""
    waiting_least: int = 4096
    """Bytes for which a message counts at least, so that small ones are not too many."""
    waiting_portion: float = 1 / 8
    """The part of these bytes that messages from one network keep when there is no more room."""
    waiting_per_peer: int = 64
    waiting_bytes_per_peer: int = 4_194_304
    """Most messages and bytes that wait for one forwarder: half a minute of a busy relay."""
    waiting_time: float = 120.0
    """Most seconds for which a message waits: some attempts to fetch what it needs."""

    topics_max: int = 64
    topic_size_max: int = 200
    """Most joined topics that are noted per peer, and most characters of one topic name."""
    retained_max: int = 1024
    retain_time: float = 600.0
    """Most peers, and seconds, for which scores are kept after a disconnect, so that a peer cannot
    get rid of a bad score by connecting again. The oldest without new messages go first."""

    exchange_max: int = 16
    """Most peers named in a PRUNE, sent or read: more than `degree_high`, so that the pruned peer
    can form a full mesh from them."""
    record_max: int = 4096
    """Most bytes of a signed peer record: a dozen addresses."""
    dials_max: int = 4
    dialled_max: int = 256
    redial_time: float = 600.0
    """Most peers named by others that are dialled per beat, and most that are remembered so that
    none is dialled twice within so many seconds."""
    connections_aim: int = 24
    """Connections below which peers named by others are dialled: twice `degree_high`."""

    accept_exchange: float = 5.0
    """Score above which a peer's PRUNE may name others: it has sent ten new messages lately."""
    opportunistic_below: float = 1.0
    """Median score of a mesh below which peers with a better score are added."""
    gossip_least: float = -20.0
    """Score below which no ids are told to a peer, or read from it."""
    publish_least: float = -50.0
    """Score below which this node's own messages are not sent to a peer."""
    graylist_below: float = -100.0
    """Score below which a peer's messages and control parts are ignored unread."""
    graylisted_max: int = 256
    """Messages that a peer may send while it is ignored; then its connection is closed."""

    def __post_init__(self) -> None:
        if not 0 < self.degree_low <= self.degree <= self.degree_high:
            raise ConfigError("bad-setting", "degrees must satisfy 0 < low <= aim <= high")
        if self.degree_out >= self.degree_low or self.degree_out > self.degree / 2:
            raise ConfigError("bad-setting", "degree_out is below low and at most half of the aim")
        if not 0 < self.window <= self.history:
            raise ConfigError("bad-setting", "window must satisfy 0 < window <= history")
        if not self.graylist_below < self.publish_least <= self.gossip_least < 0:
            raise ConfigError("bad-setting", "scores must satisfy graylist < publish <= gossip < 0")
        if self.history * self.heartbeat > self.seen_ttl:
            raise ConfigError("bad-setting", "seen_ttl must be longer than the history of messages")

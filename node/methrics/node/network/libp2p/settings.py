"""Every limit and interval of the swarm on libp2p, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass, field

from methrics.node.mesh.limits import MeshSettings
from methrics.schema.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """The limits and intervals of one swarm. The defaults suit an aggregator on a small public
    machine.

    "Listed" peers are those that the operator or the app has named (`keep`, `dial`).
    """

    mesh: MeshSettings = field(default_factory=MeshSettings)
    """The limits of gossip itself."""
    frame_max: int = 1_048_576
    """Most bytes of one gossip frame, which may contain several messages; go- and js-libp2p have
    the same limit."""
    validators_per_peer: int = 8
    validators_max: int = 32
    """Most validators that run at once, for one forwarder and in all. When as many run, the next
    message waits, and its forwarder is not read."""
    validator_time_max: float = 30.0
    """Most seconds of one validator: several times the duration of a commit on a slow disk."""
    message_rate: float = 200.0
    byte_rate: float = 16_777_216.0
    """Messages and bytes per second above which a forwarder is read more slowly: three times the
    largest load for which the network is designed, so that honest peers stay below."""

    queue_frames: int = 256
    queue_bytes: int = 8_388_608
    """Most frames with messages, and bytes of them, that wait for one peer: about what a relay
    publishes at once. For a peer whose queue is full, further messages are not queued."""
    queues_bytes: int = 134_217_728
    """Most bytes that wait for all peers; a frame that waits for several peers counts once. With
    more, the longest queue is dropped."""
    room_peers: int = 6
    room_time: float = 5.0
    """`wait_for_room` waits for room in the queues of so many peers, and for so many seconds. Slow
    peers do not count as long as there are so many others."""
    linger: float = 2.0
    """Most seconds for which a swarm that is closed still writes what it has queued."""

    rate_least: float = 1024.0
    """Bytes per second that a request, a reply or a gossip frame must reach on average, while it
    moves: a tenth of a bad telephone line. What is slower is ended."""
    read_grace: float = 5.0
    """Seconds for which a request, a reply or a frame that we read may stop."""
    write_time_max: float = 30.0
    """Seconds for which a peer may stop to read what we write; then it is dropped. Longer, because
    an honest peer that is busy with its disk stops to read."""

    connections_max: int = 300
    connections_listed: int = 32
    """Most connections that are open at once, inbound and outbound together, and how many of these
    only listed peers may have. When all are taken, a stranger that uses its connection least makes
    room."""
    streams_per_peer: int = 32
    streams_max: int = 2048
    streams_listed: int = 32
    """Most streams that one peer, and all peers, may have open to us, and how many of these only
    listed peers may have: gossip and a request each for as many peers as an operator lists."""
    negotiate_time_max: float = 10.0
    """Most seconds for the two sides to agree on the protocol of a stream."""
    unread_max: int = 134_217_728
    """Most bytes received and not yet read, over all connections. With more, the connection with
    the most unread bytes is closed, so that many peers together cannot fill the memory."""
    close_wait_max: float = 60.0
    """Most seconds for which a stream that was closed here waits until the peer closes it, too."""

    requests_per_peer: int = 4
    requests_max: int = 64
    requests_listed: int = 8
    """Most requests that are answered at once, for one peer and in all, and how many of these only
    listed peers may have."""
    requests_bytes: int = 67_108_864
    """Most bytes of requests that are arriving: some hundreds of the largest. A single request has
    a quarter of them at most."""
    request_time_max: float = 30.0
    """Most seconds for one request, from its first byte to the last byte of the reply."""

    keepalive: float = 15.0
    """Seconds between two pings. A connection without data for three times as long is closed."""
    dial_time_max: float = 15.0
    """Most seconds for one attempt to connect."""
    redial_least: float = 1.0
    redial_most: float = 60.0
    """Seconds before a kept address is dialled again: the least after the first failure, doubled
    with each further failure up to the most, with jitter."""
    exchange_dials: int = 2
    """Most peers that are dialled at once because another peer named them (peer exchange)."""

    def __post_init__(self) -> None:
        if not self.mesh.message_max <= self.frame_max - 1024:
            raise ConfigError("bad-setting", "message_max must leave 1024 bytes of a frame")
        if self.queue_bytes < self.frame_max or self.queue_frames < 2:
            raise ConfigError("bad-setting", "a queue has room for two frames of any size")
        if not 0 <= self.connections_listed < self.connections_max:
            raise ConfigError("bad-setting", "connections_listed must be below connections_max")
        if not 0 <= self.streams_listed < self.streams_max:
            raise ConfigError("bad-setting", "streams_listed must be below streams_max")
        if not 0 <= self.requests_listed < self.requests_max:
            raise ConfigError("bad-setting", "requests_listed must be below requests_max")

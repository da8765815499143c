"""Every limit and interval of the swarm on libp2p, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.schema.errors import ConfigError
from methrics.schema.wire.limits import BUNDLE_MAX


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """The limits and intervals of one swarm. The defaults suit an aggregator on a small public
    machine.

    `message_max` must be the same on every node of a network. Otherwise, if one node publishes a
    message that is too large for another, the other node lowers the peer score of honest peers.
    """

    message_max: int = BUNDLE_MAX
    """Most bytes of one message."""
    frame_max: int = 1_048_576
    """Most bytes of one gossip frame, which may contain several messages; go- and js-libp2p have
    the same limit."""
    degree: int = 6
    degree_low: int = 4
    degree_high: int = 12
    """Mesh peers per topic: the number aimed at, the least and the most (gossipsub 1.1
    defaults)."""
    heartbeat: float = 1.0
    """Seconds between two heartbeats, which repair the mesh and send IHAVE."""
    seen_ttl: float = 120.0
    """Seconds for which a content is remembered: longer than a message needs to reach all nodes."""
    seen_max: int = 65_536
    """Most contents that are remembered: enough for 120 s at over 500 messages a second."""
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
    queue_wait: int = 24
    """Messages queued to one peer at which `publish` waits; the queue holds 32 at most."""
    stall_max: float = 2.0
    """Seconds without a frame written to a peer, after which `publish` no longer waits for it."""
    write_time_max: float = 30.0
    """Most seconds for which a write waits until the peer reads; then the peer is dropped."""
    connections_max: int = 300
    """Most connections that are open at once, inbound and outbound together."""
    streams_per_peer: int = 32
    """Most streams that one peer may have open to us."""
    unread_max: int = 134_217_728
    """Most bytes received and not yet read, over all connections. With more, the connection with
    the most unread bytes is closed, so that many peers together cannot fill the memory."""
    close_wait_max: float = 60.0
    """Most seconds for which a stream that was closed here waits until the peer closes it, too."""
    requests_per_peer: int = 4
    requests_max: int = 64
    """Most requests that are answered at once, for one peer and in all."""
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

    def __post_init__(self) -> None:
        if not 0 < self.degree_low <= self.degree <= self.degree_high:
            raise ConfigError("bad-setting", "degrees must satisfy 0 < low <= aim <= high")
        if not 0 < self.message_max <= self.frame_max - 1024:
            raise ConfigError("bad-setting", "message_max must leave 1024 bytes of a frame")
        if self.queue_wait > 32:
            raise ConfigError("bad-setting", "queue_wait is at most 32, the size of the queue")

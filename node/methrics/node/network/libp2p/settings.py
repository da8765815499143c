"""Every limit and interval of the swarm on libp2p, with its unit and its reason."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.schema.errors import ConfigError
from methrics.schema.wire.limits import BUNDLE_MAX


@dataclass(frozen=True, slots=True)
class GossipSettings:
    """The defaults suit an aggregator on a small public machine.

    `message_max` must be the same on every node of a network: a message that one node publishes and
    another rejects as too large would lower the peer score of honest peers.
    """

    message_max: int = BUNDLE_MAX
    """Bytes of one message."""
    frame_max: int = 1_048_576
    """Bytes of one gossip frame, which may carry several messages: the limit of go and js."""
    degree: int = 6
    degree_low: int = 4
    degree_high: int = 12
    """Mesh peers per topic: aim, least, most (gossipsub 1.1 defaults)."""
    heartbeat: float = 1.0
    """Seconds between mesh repairs and gossip rounds."""
    seen_ttl: float = 120.0
    """Seconds for which a content is remembered: longer than a message is in flight."""
    seen_max: int = 65_536
    """Contents remembered: 120 s at over 500 messages a second."""
    validators_per_peer: int = 8
    validators_max: int = 32
    """Validators that run at once, for one forwarder and in all; with more, reading pauses."""
    validator_time_max: float = 30.0
    """Seconds a validator may take: a commit on a slow disk, several times over."""
    message_rate: float = 200.0
    byte_rate: float = 16_777_216.0
    """Messages and bytes per second that one forwarder may send before it is slowed down: three
    times the largest load that is aimed at, so that honest peers stay below."""
    queue_wait: int = 24
    """Messages queued to one peer at which `publish` waits; the queue holds 32 at most."""
    stall_max: float = 2.0
    """Seconds without progress after which `publish` no longer waits for a peer."""
    write_time_max: float = 30.0
    """Seconds for which a write waits for the peer to read, before the peer is dropped."""
    connections_max: int = 300
    """Connections open at once, in and out."""
    streams_per_peer: int = 32
    """Streams that one peer may have open to us."""
    unread_max: int = 134_217_728
    """Bytes received and not yet read, over all connections. With more, the connection with most of
    them is dropped, so that many peers together cannot fill the memory."""
    close_wait_max: float = 60.0
    """Seconds for which a stream that was closed here waits for the peer to close it, too."""
    requests_per_peer: int = 4
    requests_max: int = 64
    """Requests that are answered at once, for one peer and in all."""
    request_time_max: float = 30.0
    """Seconds for one request, from its first byte to the last byte of the reply."""
    keepalive: float = 15.0
    """Seconds between pings; a connection silent for three of them is dropped."""
    dial_time_max: float = 15.0
    """Seconds for one attempt to connect."""
    redial_least: float = 1.0
    redial_most: float = 60.0
    """Seconds between redials of a kept address: doubled each time, up to the most, with jitter."""

    def __post_init__(self) -> None:
        if not 0 < self.degree_low <= self.degree <= self.degree_high:
            raise ConfigError("bad-setting", "degrees must satisfy 0 < low <= aim <= high")
        if not 0 < self.message_max <= self.frame_max - 1024:
            raise ConfigError("bad-setting", "message_max must leave 1024 bytes of a frame")
        if self.queue_wait > 32:
            raise ConfigError("bad-setting", "queue_wait is at most 32, the size of the queue")

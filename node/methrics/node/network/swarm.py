"""The interface of the network: topics, requests, and peers named by id.

There are two implementations: `GossipSwarm` in `methrics.node.network.libp2p` on real libp2p, and
`MemorySwarm` in `methrics.node.network.memory`. The same tests run on both.

Words: a *message* is the bytes of one gossip message (a bundle, to the layers above). A *request*
is one request and one reply over a stream of its own. Peers are named by id only: an implementation
never returns an address of a peer (MARS-2, DEB-9).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from methrics.schema.errors import ConfigError
from methrics.schema.wire.limits import BUNDLE_MAX
from methrics.schema.wire.verdict import Decision

PeerId = str
"""A libp2p peer id in its text form (base58 multihash)."""

Validator = Callable[[PeerId, bytes], Awaitable[Decision]]
"""(forwarder, message) -> ACCEPT: forward it. IGNORE: drop it. REJECT: drop it, and lower the peer
score of its forwarders."""

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
"""(asking peer, request body) -> reply body."""


@dataclass(frozen=True, slots=True)
class SwarmStatistics:
    """Counts since the swarm was opened; `connections` and `topic_peers` are as of now.

    The counts do not name a peer. Each message is counted in exactly one of `duplicates`,
    `accepted`, `ignored`, `rejected`, `limited` and `malformed`.
    """

    connections: int = 0
    """Peers connected now."""
    topic_peers: int = 0
    """Connected peers that share at least one joined topic, now."""
    published: int = 0
    """Own messages handed to at least one peer."""
    received: int = 0
    """Messages that arrived, with any outcome."""
    received_bytes: int = 0
    """Bytes of those messages, without framing."""
    duplicates: int = 0
    """Messages whose content was already known or being validated."""
    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    """Verdicts of the validator (a validator that raises or is too slow counts as ignored)."""
    limited: int = 0
    """Messages dropped unread, because the peer score of their forwarder is too low."""
    slowed: int = 0
    """Pauses in reading from forwarders that exceed their rate of messages or bytes."""
    malformed: int = 0
    """Frames and messages that do not decode, are oversize, or are not validly signed."""
    unsent: int = 0
    """Messages not handed to one slow peer, because its queue was full."""
    validator_errors: int = 0
    """Validators that raised or ran out of time."""
    handler_errors: int = 0
    """Request handlers that raised or ran out of time."""
    requests: int = 0
    """Requests answered."""
    requests_refused: int = 0
    """Requests not answered: oversize, malformed, too slow, or too many at once."""
    contained: int = 0
    """Errors of libp2p that were caught because they would have ended the process."""
    dials_failed: int = 0
    """Attempts to connect that failed, redials included."""


@runtime_checkable
class Swarm(Protocol):
    """One participant in the network. Open it with `open_swarm` or `MemoryNetwork.open_swarm`.

    Every method that waits is a trio checkpoint and may be cancelled; a cancelled `publish` or
    `request` may or may not have reached the other side.
    """

    @property
    def peer_id(self) -> PeerId:
        """The own id."""
        ...

    @property
    def addrs(self) -> tuple[str, ...]:
        """Full multiaddrs, with `/p2p/`, for others to dial; empty if the swarm only dials."""
        ...

    async def join(self, topic: str, validator: Validator) -> None:
        """Subscribe to `topic` and judge all its messages with `validator`; once per topic.

        Every new content runs through `validator` exactly once, however many peers send it;
        the verdict is remembered for a while. Own messages are not judged. A validator that
        raises or takes too long counts as IGNORE. Raises `ConfigError` for a second join.
        An app that only publishes does not join, and so does not carry the traffic of others.
        """
        ...

    async def publish(self, topic: str, data: bytes) -> int:
        """Hand `data` to peers of the topic; returns their number. Works without `join`.

        Waits while a peer's queue is full (a stalled peer is skipped after a bounded time).
        Publishing the same bytes again sends them again; receivers drop known contents.
        Raises `UnreachableError` if no connected peer has joined the topic, `ConfigError` if
        `data` is empty or over the message cap.
        """
        ...

    async def dial(self, addr: str) -> PeerId:
        """Connect once. Raises `UnreachableError`, or `ConfigError` if `addr` does not parse."""
        ...

    def keep(self, addr: str) -> None:
        """Stay connected to `addr`: dial it, and redial it with backoff and jitter.

        Raises `ConfigError` if `addr` does not parse.
        """
        ...

    def serve(self, protocol: str, handler: Handler, *, request_max: int) -> None:
        """Answer requests of `protocol`, each of at most `request_max` bytes.

        A handler that raises is contained and counted; the asker gets no reply.
        """
        ...

    async def request(
        self, peer: PeerId, protocol: str, body: bytes, *, reply_max: int, timeout: float
    ) -> bytes:
        """Ask a connected peer and return its reply (at most `reply_max` bytes).

        Raises `UnreachableError` if the peer is not connected, does not serve `protocol`,
        refuses, or does not answer within `timeout` seconds.
        """
        ...

    def peers(self, topic: str) -> frozenset[PeerId]:
        """Peers that are connected and have joined `topic`."""
        ...

    async def wait_for_peers(self, topic: str, n: int) -> None:
        """Return once at least `n` peers are connected and have joined `topic`."""
        ...

    def statistics(self) -> SwarmStatistics:
        """Counts so far."""
        ...


def check_message(data: bytes) -> None:
    """Raise `ConfigError` if `data` cannot be one gossip message."""
    if not data or len(data) > BUNDLE_MAX:
        raise ConfigError(
            "message-size", f"a message has 1 to {BUNDLE_MAX} bytes, this one has {len(data)}"
        )

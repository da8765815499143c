"""The interface of the network: topics, requests, and peers named by id.

There are two implementations: `GossipSwarm` in `methrics.node.network.libp2p` on real libp2p, and
`MemorySwarm` in `methrics.node.network.memory`. The same tests run on both.

Words: a *message* is the bytes of one gossip message (a bundle, to the layers above). A *request*
is one request and one reply over a stream of its own. Peers are named by id only: an implementation
never returns an address of a peer (MARS-2, DEB-9). `origin` returns a token instead, which tells
only whether two peers come from the same network.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from methrics.node.mesh.outcome import UNSEEN as UNSEEN
from methrics.node.mesh.outcome import Outcome as Outcome
from methrics.node.mesh.outcome import Wait as Wait
from methrics.schema.errors import ConfigError
from methrics.schema.wire.limits import BUNDLE_MAX

PeerId = str
"""A libp2p peer id in its text form (base58 multihash)."""


Validator = Callable[[PeerId, bytes], Awaitable[Outcome]]
"""`validator(forwarder, message)` returns the decision about a message. The swarm then forwards the
message (ACCEPT), drops it (IGNORE), or drops it and lowers the peer score of every peer that
forwarded it (REJECT). After `Wait`, the swarm keeps the message and calls the validator again when
`judge_again` is called. How much may wait is bounded. A message that is dropped for that reason, or
after `UNSEEN`, is forgotten, so that it is judged when it arrives again."""

Handler = Callable[[PeerId, bytes], Awaitable[bytes]]
"""`handler(peer, body)` returns the reply to a request with this body from `peer`."""


Body = bytes | Callable[[], Awaitable[bytes]]
"""The bytes to send, or a function that returns them. The function is called immediately before
the bytes are handed over, when the connection waits for nothing else, so it may ask again whether
they may leave. If it raises, nothing is sent, and the error goes to the caller."""


async def bytes_of(body: Body) -> bytes:
    """Return the bytes of a body."""
    return body if isinstance(body, bytes) else await body()


@dataclass(frozen=True, slots=True)
class SwarmStatistics:
    """Counts since the swarm was opened; `connections`, `topic_peers` and `waiting` are current
    numbers.

    The counts do not name a peer. Each message is counted in exactly one of `duplicates`,
    `accepted`, `ignored`, `rejected`, `waiting`, `waiting_dropped`, `limited` and `malformed`.
    """

    connections: int = 0
    """Peers connected now."""
    topic_peers: int = 0
    """Connected peers that share at least one joined topic, now."""
    published: int = 0
    """Messages of this node that were queued for at least one peer."""
    received: int = 0
    """Messages that arrived, whatever their outcome."""
    received_bytes: int = 0
    """Bytes of those messages, without framing."""
    duplicates: int = 0
    """Messages whose content was already known or being validated."""
    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    """Messages by the verdict of the validator. If a validator raises or is too slow, its message
    counts as ignored. So does a message that was forgotten after `UNSEEN`."""
    limited: int = 0
    """Messages dropped unread, because the peer score of their forwarder is too low."""
    slowed: int = 0
    """Pauses in reading from a forwarder that sends too many messages or bytes per second."""
    malformed: int = 0
    """Frames and messages that do not decode, are oversize, or are not validly signed."""
    unsent: int = 0
    """Messages not queued for a slow peer, because its queue was full; one per message and peer.
    The peer is told their ids later, and may ask for them."""
    waiting: int = 0
    """Messages that wait to be judged, now."""
    waiting_dropped: int = 0
    """Messages that waited, and were dropped and forgotten because too many waited, or for too
    long."""
    validator_errors: int = 0
    """Validators that raised or ran out of time."""
    handler_errors: int = 0
    """Request handlers that raised or ran out of time."""
    requests: int = 0
    """Requests answered."""
    requests_refused: int = 0
    """Requests not answered: oversize, malformed, too slow, or too many at once."""
    contained: int = 0
    """Errors of libp2p that were caught because they would end the process."""
    dials_failed: int = 0
    """Attempts to connect that failed, redials included."""
    px_dials: int = 0
    """Attempts to connect to a peer that another peer named (peer exchange)."""
    evicted: int = 0
    """Connections and requests of strangers that were ended to make room for others."""


@runtime_checkable
class Swarm(Protocol):
    """One participant in the network. Open it with `open_swarm` or `MemoryNetwork.open_swarm`.

    Every method that waits is a trio checkpoint and may be cancelled; a cancelled `publish` or
    `request` may or may not have reached the other side.
    """

    @property
    def peer_id(self) -> PeerId:
        """The peer id of this participant."""
        ...

    @property
    def addrs(self) -> tuple[str, ...]:
        """Full multiaddrs, with `/p2p/`, that other peers can dial; empty if the swarm only
        dials."""
        ...

    async def join(self, topic: str, validator: Validator) -> None:
        """Subscribe to `topic`, and judge its messages with `validator`.

        `validator` is called once for each content, however many peers send it; its decision is
        remembered for a limited time. Messages of this node are not judged. If `validator` raises
        or is cancelled because it takes too long, its message is forgotten; a late decision may
        come too late for the message to be passed on. Raises `ConfigError` if `topic` is joined
        already. An app that only publishes does not join, and so need not forward messages.
        """
        ...

    async def publish(self, topic: str, data: Body) -> int:
        """Queue `data` for all peers that have joined the topic; return how many got it.

        Works without `join`. Never waits for a peer: a peer whose queue is full gets the message
        later, when it asks for it. Publishing the same bytes again sends them again; receivers drop
        known contents. Raises `UnreachableError` if no connected peer has joined the topic, and
        `ConfigError` if `data` is empty or has more than `BUNDLE_MAX` bytes.
        """
        ...

    async def wait_for_room(self, topic: str) -> None:
        """Return once a message would find room in the queues of a few peers of the topic, or at
        once if it has no peer, or after a bounded time. A caller that publishes many messages in a
        row waits before each of them, so that the quickest peers set the pace."""
        ...

    def judge_again(self, topic: str, on: bytes) -> int:
        """Call the validator again for each message of the topic that waits for `on`; return the
        number of these messages."""
        ...

    def origin(self, peer: PeerId) -> bytes:
        """Return a token of the network that a connected peer comes from (its IPv4 /24 or IPv6
        /48), for fair shares; b"" if it is not known. The token is a hash under a key of this
        process: it says only whether two peers have the same network, and never an address."""
        ...

    async def dial(self, addr: str) -> PeerId:
        """Connect to `addr` and return its peer id; do not connect again later. Raises
        `UnreachableError` if that fails, and `ConfigError` if `addr` does not parse."""
        ...

    async def connect(self, peer: PeerId, addrs: Sequence[str]) -> None:
        """Connect to `peer` at one of the addresses that a stranger named, unless it is connected.

        The peer is treated as a stranger, also afterwards. Only IP addresses are dialled, and of
        private networks or this machine only those which this participant listens on itself, so
        that no stranger makes it reach into the operator's network. Raises `UnreachableError` if no
        address may be dialled, or the peer does not answer at any.
        """
        ...

    def keep(self, addr: str) -> None:
        """Stay connected to `addr`: dial it now, and redial it with backoff and jitter.

        The peer is *direct* on this side: it gets every message, and is never evicted. Raises
        `ConfigError` if `addr` does not parse.
        """
        ...

    def serve(self, protocol: str, handler: Handler, *, request_max: int) -> None:
        """Answer requests of `protocol`, each of at most `request_max` bytes, with `handler`.

        If the handler raises, the error is caught and counted, and the peer gets no reply. Raises
        `ConfigError` if `protocol` is served already.
        """
        ...

    async def request(
        self, peer: PeerId, protocol: str, body: Body, *, reply_max: int, timeout: float
    ) -> bytes:
        """Send a request to a connected peer and return its reply (at most `reply_max` bytes).

        Raises `UnreachableError` if the peer is not connected, does not serve `protocol`, refuses
        the request, replies with too many bytes, or does not reply within `timeout` seconds.
        """
        ...

    def peers(self, topic: str) -> frozenset[PeerId]:
        """Return the peers that are connected and have joined `topic`."""
        ...

    def direct_peers(self, topic: str) -> frozenset[PeerId]:
        """Return those of `peers` that are direct on this side: strangers cannot be among them."""
        ...

    def dialled_peers(self, topic: str) -> frozenset[PeerId]:
        """Return those of `peers` that this side has dialled, and not because another peer named
        them: strangers cannot put themselves among them."""
        ...

    async def wait_for_peers(self, topic: str, n: int) -> None:
        """Return once at least `n` peers are connected and have joined `topic`."""
        ...

    def statistics(self) -> SwarmStatistics:
        """Return the counts so far."""
        ...


def check_message(data: bytes) -> None:
    """Raise `ConfigError` unless `data` has 1 to `BUNDLE_MAX` bytes."""
    if not data or len(data) > BUNDLE_MAX:
        raise ConfigError(
            "message-size", f"a message has 1 to {BUNDLE_MAX} bytes, this one has {len(data)}"
        )

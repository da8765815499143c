"""The counts of one mesh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class MeshStatistics:
    """Counts since the start. The counts do not name a peer.

    Each received message is being judged or waiting, or it is counted in exactly one of
    `duplicates`, `accepted`, `ignored`, `rejected`, `unseen`, `waiting_dropped`, `limited` and
    `malformed`.
    """

    published: int = 0
    """Messages of this node."""
    received: int = 0
    """Messages that arrived, whatever their outcome."""
    received_bytes: int = 0
    """Bytes of their contents."""
    duplicates: int = 0
    """Messages whose content was known, being judged or waiting."""
    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    """Messages by the decision about them."""
    unseen: int = 0
    """Messages that were dropped without a verdict, and forgotten."""
    limited: int = 0
    """Messages dropped unread, because the peer score of their forwarder is too low, or because too
    many are being judged."""
    malformed: int = 0
    """Messages that are empty or oversize, not validly signed, or of no joined topic."""
    waiting: int = 0
    """Messages that wait, now."""
    waiting_dropped: int = 0
    """Messages that waited, and were dropped and forgotten because too many waited, or too long."""
    unsent: int = 0
    """Frames that the shell dropped, because the queue of their peer was full."""
    asked: int = 0
    """Contents that peers were asked for, after they had offered them."""
    promises_broken: int = 0
    """Contents that a peer was asked for and did not send in time."""
    resent: int = 0
    """Messages sent to peers that asked for them."""
    dials: int = 0
    """Peers to dial because another peer named them."""

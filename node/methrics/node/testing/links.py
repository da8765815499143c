"""Simulated connections: how long a frame takes, and when a queue is full (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from methrics.node.mesh.rpc import Rpc


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What one direction of a connection carries."""

    latency: float = 0.05
    """Seconds that a frame travels."""
    bandwidth: float = 1_250_000.0
    """Bytes per second: 10 megabits."""
    queue: int = 1_048_576
    """Bytes that may wait at the sender. A frame with messages that finds more waiting is not
    sent; one without is sent unless twice as many wait."""


class End(Protocol):
    """A participant, as its connections see it."""

    name: str
    origin: bytes
    links: dict[str, Direction]

    def accepts(self, peer: str) -> bool:
        """Whether it lets `peer` connect."""
        ...

    def linked(self, peer: str, outbound: bool) -> None:
        """A connection to `peer` is open. `outbound`: this side dialled."""
        ...

    def unlinked(self, peer: str) -> None:
        """The connection to `peer` has ended."""
        ...

    def receive(self, peer: str, rpc: Rpc, size: int) -> None:
        """A frame of `size` bytes has come from `peer`."""
        ...

    def receive_bytes(self, peer: str, frame: bytes) -> None:
        """Bytes have come from `peer` that are no frame of a simulated node."""
        ...


@dataclass(slots=True, eq=False)
class Direction:
    """One direction of a connection. Frames arrive in the order in which they were sent."""

    source: str
    target: End
    limits: LinkLimits
    broken: bool = False
    """Whether frames vanish while both ends believe that they are connected."""
    open: bool = True
    free_at: float = 0.0
    """The virtual time at which everything that waits has left."""

    def arrival(self, size: int, now: float, *, bulk: bool) -> float | None:
        """Return when a frame of `size` bytes that is sent now arrives; None if the queue is full.
        `bulk`: whether it has messages."""
        limits = self.limits
        start = self.free_at if self.free_at > now else now
        if (start - now) * limits.bandwidth > (limits.queue if bulk else 2 * limits.queue):
            return None
        self.free_at = start + size / limits.bandwidth
        return self.free_at + limits.latency

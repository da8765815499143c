"""The connections between simulated participants: opened, cut, broken, parted and healed."""

from __future__ import annotations

import random
from collections.abc import Iterable

from methrics.node.mesh.rpc import Rpc
from methrics.node.mesh.wire import frame_size
from methrics.node.testing.events import Events
from methrics.node.testing.links import Direction, End, LinkLimits


class Network:
    """All participants that are here, and their connections. `latency`: least and most seconds of a
    connection for which no limits are given; all else of it is as in `limits`."""

    def __init__(
        self, rng: random.Random, limits: LinkLimits, latency: tuple[float, float]
    ) -> None:
        self.events = Events()
        self.ends: dict[str, End] = {}
        self.vanished = 0
        """Frames that were lost in broken connections."""
        self._limits = limits
        self._latency = latency
        self._rng = rng
        self._side: dict[str, int] = {}

    def connectable(self, one: str, two: str) -> bool:
        """Whether both are here and no partition separates them."""
        here = one in self.ends and two in self.ends and one != two
        return here and self._side.get(one, 0) == self._side.get(two, 0)

    def connect(
        self, one: str, two: str, *, there: LinkLimits | None = None, back: LinkLimits | None = None
    ) -> bool:
        """Let `one` dial `two`; return whether they are connected now. `there`, `back`: the limits
        of the direction to `two`, and of that from `two`."""
        if not self.connectable(one, two):
            return False
        first, second = self.ends[one], self.ends[two]
        if two in first.links:
            return True
        if not second.accepts(one):
            return False
        drawn = self._drawn()
        first.links[two] = Direction(one, second, there or drawn)
        second.links[one] = Direction(two, first, back or drawn)
        first.linked(two, True)
        if one in second.links:
            second.linked(one, False)
        return two in first.links

    def disconnect(self, one: str, two: str) -> None:
        """End the connection; both sides notice at once."""
        for name, other in ((one, two), (two, one)):
            end = self.ends.get(name)
            direction = None if end is None else end.links.pop(other, None)
            if end is not None and direction is not None:
                direction.open = False
                end.unlinked(other)

    def break_link(self, one: str, two: str) -> None:
        """Let every frame between the two vanish, while both believe that they are connected."""
        self.ends[one].links[two].broken = True
        self.ends[two].links[one].broken = True

    def add(self, end: End) -> None:
        """Let a participant in."""
        self.ends[end.name] = end

    def remove(self, name: str) -> None:
        """Take a participant away, as after a crash; its peers notice at once."""
        for other in list(self.ends[name].links):
            self.disconnect(name, other)
        del self.ends[name]

    def partition(self, *groups: Iterable[str]) -> None:
        """Cut every connection between different groups. All that are in no group form a further
        group."""
        self._side = {name: side for side, group in enumerate(groups, 1) for name in group}
        for name, end in self.ends.items():
            for other in list(end.links):
                if not self.connectable(name, other):
                    self.disconnect(name, other)

    def heal(self) -> None:
        """End the partition."""
        self._side = {}

    def send(self, direction: Direction | None, rpc: Rpc) -> int:
        """Send a frame; return its bytes, or 0 if the queue is full or there is no connection."""
        if direction is None:
            return 0
        size = frame_size(rpc)
        arrival = direction.arrival(size, self.events.now, bulk=bool(rpc.messages))
        if arrival is None:
            return 0
        if direction.broken:
            self.vanished += 1
        else:
            self.events.at(arrival, self._arrive, direction, rpc, size)
        return size

    def send_bytes(self, direction: Direction, frame: bytes) -> bool:
        """Send bytes as they are; return whether they found room in the queue."""
        arrival = direction.arrival(len(frame), self.events.now, bulk=True)
        if arrival is not None and not direction.broken:
            self.events.at(arrival, self._arrive_bytes, direction, frame)
        return arrival is not None

    def _arrive(self, direction: Direction, rpc: Rpc, size: int) -> None:
        if direction.open and not direction.broken:
            direction.target.receive(direction.source, rpc, size)

    def _arrive_bytes(self, direction: Direction, frame: bytes) -> None:
        if direction.open and not direction.broken:
            direction.target.receive_bytes(direction.source, frame)

    def _drawn(self) -> LinkLimits:
        limits = self._limits
        return LinkLimits(self._rng.uniform(*self._latency), limits.bandwidth, limits.queue)

"""What waits to be written to one peer: control parts and messages (pure, bounded).

Control parts come first: they are small, and the mesh depends on them. Those that wait are merged
into one frame, so that a slow peer gets one frame with the newest state, and then again a message.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice
from typing import TypeVar

from methrics.node.mesh.rpc import IHave, IWant, Rpc, Subscription
from methrics.node.mesh.wire import frame_size

K = TypeVar("K")
V = TypeVar("V")

_IDS_MAX = 5_000
"""Most message ids of one kind that wait: what an honest node tells in several heartbeats."""

_TOPICS_MAX = 256
"""Most topics about which control parts wait: more than a node joins."""


class Held:
    """Counts the bytes of the frames in all queues of a host. A frame that waits for several peers
    counts once, because it is one object in memory."""

    def __init__(self) -> None:
        self.bytes = 0
        self._uses: Counter[int] = Counter()

    def add(self, rpc: Rpc, size: int) -> None:
        self._uses[id(rpc)] += 1
        if self._uses[id(rpc)] == 1:
            self.bytes += size

    def remove(self, rpc: Rpc, size: int) -> None:
        self._uses[id(rpc)] -= 1
        if not self._uses[id(rpc)]:
            del self._uses[id(rpc)]
            self.bytes -= size


class Control:
    """Control parts that wait, merged: of each topic the newest state. `ids_max`: most ids of one
    kind in one frame."""

    def __init__(self, ids_max: int) -> None:
        self._ids_max = ids_max
        self._joined: dict[str, Subscription] = {}
        self._ihave: dict[bytes, str] = {}
        self._iwant: dict[bytes, None] = {}
        self._mesh: dict[str, Rpc] = {}

    def __bool__(self) -> bool:
        return bool(self._joined or self._ihave or self._iwant or self._mesh)

    def add(self, rpc: Rpc) -> None:
        """Merge all but the messages of `rpc`."""
        for option in rpc.subscriptions:
            self._joined[option.topic] = option
        for ihave in rpc.ihave:
            self._ihave.update(dict.fromkeys(ihave.ids, ihave.topic))
        for iwant in rpc.iwant:
            self._iwant.update(dict.fromkeys(iwant.ids))
        for graft in rpc.graft:
            self._mesh[graft.topic] = Rpc(graft=(graft,))
        for prune in rpc.prune:
            self._mesh[prune.topic] = Rpc(prune=(prune,))
        _shorten(self._ihave, _IDS_MAX)
        _shorten(self._iwant, _IDS_MAX)
        _shorten(self._joined, _TOPICS_MAX)
        _shorten(self._mesh, _TOPICS_MAX)

    def take(self) -> Rpc:
        """Return what waits as one RPC, and forget it; ids beyond `ids_max` go on waiting."""
        told: dict[str, list[bytes]] = {}
        for content in list(islice(self._ihave, self._ids_max)):
            told.setdefault(self._ihave.pop(content), []).append(content)
        wanted = tuple(islice(self._iwant, self._ids_max))
        for content in wanted:
            del self._iwant[content]
        mesh = self._mesh.values()
        rpc = Rpc(
            subscriptions=tuple(self._joined.values()),
            ihave=tuple(IHave(topic, tuple(ids)) for topic, ids in told.items()),
            iwant=(IWant(wanted),) if wanted else (),
            graft=tuple(graft for one in mesh for graft in one.graft),
            prune=tuple(prune for one in mesh for prune in one.prune),
        )
        self._joined, self._mesh = {}, {}
        return rpc


def _shorten(waiting: dict[K, V], most: int) -> None:
    """Drop the oldest entries beyond `most`."""
    for key in list(islice(waiting, max(0, len(waiting) - most))):
        del waiting[key]


class SendQueue:
    """What waits for one peer. `frames_max`, `bytes_max`: most frames with messages, and bytes of
    them."""

    def __init__(self, frames_max: int, bytes_max: int, ids_max: int, held: Held) -> None:
        self.bytes = 0
        self._control = Control(ids_max)
        self._frames: deque[tuple[Rpc, int]] = deque()
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._held = held

    def __len__(self) -> int:
        """Return the number of frames that wait."""
        return len(self._frames) + bool(self._control)

    @property
    def has_room(self) -> bool:
        """Whether at least half of the queue is free."""
        return 2 * len(self._frames) < self._frames_max and 2 * self.bytes < self._bytes_max

    def put(self, rpc: Rpc) -> Rpc | None:
        """Queue all parts of `rpc`. If there is no room for its messages, return these."""
        if rpc.subscriptions or rpc.ihave or rpc.iwant or rpc.graft or rpc.prune:
            self._control.add(rpc)
            if not rpc.messages:
                return None
            rpc = Rpc(messages=rpc.messages)
        size = frame_size(rpc)
        if len(self._frames) >= self._frames_max or self.bytes + size > self._bytes_max:
            return rpc
        self._frames.append((rpc, size))
        self.bytes += size
        self._held.add(rpc, size)
        return None

    def pop(self) -> Rpc | None:
        """Return what to write next: the control parts that wait, or else the oldest messages."""
        if self._control:
            return self._control.take()
        if not self._frames:
            return None
        rpc, size = self._frames.popleft()
        self._forget(rpc, size)
        return rpc

    def clear(self) -> list[Rpc]:
        """Drop all messages, and return them."""
        dropped = list(self._frames)
        self._frames.clear()
        for rpc, size in dropped:
            self._forget(rpc, size)
        return [rpc for rpc, _ in dropped]

    def _forget(self, rpc: Rpc, size: int) -> None:
        self.bytes -= size
        self._held.remove(rpc, size)

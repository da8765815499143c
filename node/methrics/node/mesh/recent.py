"""Keeps the accepted messages of the last minute, for peers that ask for them (pure)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from methrics.node.mesh.rpc import Message, Rpc


@dataclass(slots=True, eq=False)
class Kept:
    """One message, as the frame that is sent to every peer, and how often which peer asked."""

    topic: str
    rpc: Rpc
    size: int
    arrived: float
    resent: dict[str, int] = field(default_factory=dict)


class Recent:
    """Messages by content id. A message is forgotten after `history` beats, and the oldest ones
    earlier while there are more than `bytes_max` bytes."""

    def __init__(self, history: int, bytes_max: int) -> None:
        self._history = history
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: dict[bytes, Kept] = {}
        self._beats: deque[deque[bytes]] = deque([deque()])

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, content: bytes) -> bool:
        return content in self._kept

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        return self._bytes

    def put(self, content: bytes, message: Message, now: float) -> Kept:
        """Keep a message; return it as kept. One that is kept already stays as it is."""
        kept = self._kept.get(content)
        if kept is not None:
            return kept
        size = len(message.data)
        kept = self._kept[content] = Kept(message.topic, Rpc(messages=(message,)), size, now)
        self._beats[0].append(content)
        self._bytes += size
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            self._drop_oldest()
        return kept

    def get(self, content: bytes) -> Kept | None:
        """Return a message, or None if it is not kept (any more)."""
        return self._kept.get(content)

    def shift(self) -> None:
        """Note that a beat has passed."""
        for content in self._beats[0]:
            kept = self._kept.get(content)
            if kept is not None:
                kept.rpc.encoded = b""  # otherwise the bytes would be in memory twice, for long
        self._beats.appendleft(deque())
        if len(self._beats) > self._history:
            for content in self._beats.pop():
                self._forget(content)

    def _drop_oldest(self) -> None:
        while not self._beats[-1]:
            self._beats.pop()
        self._forget(self._beats[-1].popleft())

    def _forget(self, content: bytes) -> None:
        kept = self._kept.pop(content, None)
        if kept is not None:
            self._bytes -= kept.size

"""Keeps the messages of the last few heartbeats, for peers that missed them (pure).

libp2p's own cache finds messages by sender and number. Our message ids are hashes of the content,
so that cache would never find a message for which a peer asks. Its size in bytes also has no limit.
"""

from __future__ import annotations

from typing import NamedTuple


class Kept(NamedTuple):
    """A frame that contains one message of `topic`."""

    topic: str
    frame: bytes


class Recent:
    """Frames by content id. A frame is forgotten after `history` heartbeats, and the oldest ones
    earlier while there are more than `bytes_max` bytes. `window`: heartbeats of which IHAVE
    messages name the messages."""

    def __init__(self, *, window: int = 3, history: int = 5, bytes_max: int = 33_554_432) -> None:
        self._window = window
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: dict[bytes, Kept] = {}
        self._history: list[list[bytes]] = [[] for _ in range(history)]

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, content: bytes, topic: str, frame: bytes) -> None:
        if content in self._kept:
            return
        self._kept[content] = Kept(topic, frame)
        self._bytes += len(frame)
        self._history[0].append(content)
        while self._bytes > self._bytes_max:
            self._drop_oldest()

    def get(self, content: bytes) -> Kept | None:
        return self._kept.get(content)

    def window(self, topic: str) -> list[bytes]:
        """Return the ids of the topic's messages of the last `window` heartbeats, newest first."""
        kept = self._kept
        ids = [c for beat in self._history[: self._window] for c in reversed(beat)]
        return [c for c in ids if c in kept and kept[c].topic == topic]

    def shift(self) -> None:
        """Note that a heartbeat has passed."""
        for content in self._history.pop():
            self._forget(content)
        self._history.insert(0, [])

    def _drop_oldest(self) -> None:
        for beat in reversed(self._history):
            if beat:
                self._forget(beat.pop(0))
                return

    def _forget(self, content: bytes) -> None:
        kept = self._kept.pop(content, None)
        if kept is not None:
            self._bytes -= len(kept.frame)

"""Keeps the accepted messages of the last minute, for peers that ask for them (pure)."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice, zip_longest

from methrics.node.mesh.rpc import Message, Rpc


@dataclass(slots=True, eq=False)
class Kept:
    """One message, as the frame that is sent to every peer, and how often which peer asked.

    `source`: the peer that sent it first, "" for this node. `beat`: the contents of its beat.
    """

    topic: str
    rpc: Rpc
    size: int
    arrived: float
    source: str
    beat: dict[bytes, None]
    resent: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Source:
    """The contents of one source, oldest first."""

    size: int = 0
    contents: OrderedDict[bytes, None] = field(default_factory=OrderedDict)


class Recent:
    """Messages by content id. A message is forgotten after `history` beats. While there are more
    than `bytes_max` bytes, the oldest message of the peer that has sent most is forgotten earlier,
    or one of this node if its messages are more than half.
    """

    def __init__(self, history: int, bytes_max: int) -> None:
        self._history = history
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: dict[bytes, Kept] = {}
        self._sources: dict[str, _Source] = {}
        self._beats: deque[dict[bytes, None]] = deque([{}])

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, content: bytes) -> bool:
        return content in self._kept

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        return self._bytes

    def put(self, content: bytes, message: Message, source: str, now: float) -> Kept:
        """Keep a message; return it as kept. One that is kept already stays as it is."""
        kept = self._kept.get(content)
        if kept is not None:
            return kept
        size, beat = len(message.data), self._beats[0]
        kept = Kept(message.topic, Rpc(messages=(message,)), size, now, source, beat)
        self._kept[content] = kept
        beat[content] = None
        held = self._sources.setdefault(source, _Source())
        held.size += size
        held.contents[content] = None
        self._bytes += size
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            self._forget(next(iter(self._largest().contents)))
        return kept

    def get(self, content: bytes) -> Kept | None:
        """Return a message, or None if it is not kept (any more)."""
        return self._kept.get(content)

    def shared(self, contents: Iterable[bytes], most: int) -> list[bytes]:
        """Return those of `contents` that are kept, in their order. If they are more than `most`,
        each source gets an equal share, and this node the first one."""
        found = [content for content in contents if content in self._kept]
        if len(found) <= most:
            return found
        by_source: dict[str, list[bytes]] = {"": []}
        for content in found:
            by_source.setdefault(self._kept[content].source, []).append(content)
        rounds = zip_longest(*by_source.values())
        return list(islice((one for row in rounds for one in row if one is not None), most))

    def shift(self) -> None:
        """Note that a beat has passed."""
        for content in self._beats[0]:
            self._kept[content].rpc.encoded = b""  # else the bytes are in memory twice, for long
        self._beats.appendleft({})
        if len(self._beats) > self._history:
            for content in list(self._beats[-1]):
                self._forget(content)
            self._beats.pop()

    def _largest(self) -> _Source:
        own = self._sources.get("")
        others = [one for name, one in self._sources.items() if name]
        if own is not None and (not others or 2 * own.size > self._bytes_max):
            return own
        return max(others, key=lambda one: one.size)

    def _forget(self, content: bytes) -> None:
        kept = self._kept.pop(content)
        self._bytes -= kept.size
        del kept.beat[content]
        source = self._sources[kept.source]
        source.size -= kept.size
        del source.contents[content]
        if not source.contents:
            del self._sources[kept.source]

"""Remembers which contents were judged, and how (pure, bounded)."""

from __future__ import annotations

from methrics.schema.wire.verdict import Decision


class Seen:
    """Contents with their decisions, remembered for `ttl` to twice `ttl` seconds, unless there are
    more than `most`.

    Strangers can send any number of contents that are ignored. So these are kept apart from the
    accepted ones, and displace only each other.
    """

    def __init__(self, ttl: float, most: int) -> None:
        self._accepted = _Generations(ttl, most)
        self._others = _Generations(ttl, most)

    def __len__(self) -> int:
        return len(self._accepted) + len(self._others)

    def get(self, content: bytes) -> Decision | None:
        """Return the decision about a content, or None if it is not remembered."""
        decision = self._accepted.get(content)
        return self._others.get(content) if decision is None else decision

    def add(self, content: bytes, decision: Decision, now: float) -> None:
        """Remember the decision about a content."""
        chosen = self._accepted if decision is Decision.ACCEPT else self._others
        chosen.add(content, decision, now)

    def expire(self, now: float) -> None:
        """Forget what is old."""
        self._accepted.turn(now)
        self._others.turn(now)


class _Generations:
    """Two maps: the current one, and the one before, which is dropped as a whole."""

    __slots__ = ("_before", "_current", "_most", "_since", "_ttl")

    def __init__(self, ttl: float, most: int) -> None:
        self._ttl = ttl
        self._most = most // 2
        self._since: float | None = None
        self._current: dict[bytes, Decision] = {}
        self._before: dict[bytes, Decision] = {}

    def __len__(self) -> int:
        return len(self._current) + len(self._before)

    def get(self, content: bytes) -> Decision | None:
        decision = self._current.get(content)
        return self._before.get(content) if decision is None else decision

    def add(self, content: bytes, decision: Decision, now: float) -> None:
        self.turn(now)
        self._current[content] = decision

    def turn(self, now: float) -> None:
        if self._since is None:
            self._since = now
        elif now - self._since > 2 * self._ttl:
            self._current, self._before, self._since = {}, {}, now
        elif now - self._since > self._ttl or len(self._current) >= self._most:
            self._current, self._before, self._since = {}, self._current, now

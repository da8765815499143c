"""Decides whom to compare with next, and when. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from methrics.node.backoff import Backoff
from methrics.node.clock import Rng


@dataclass(frozen=True, slots=True)
class PacingSettings:
    """How often peers are asked."""

    soon: float = 2.0
    """Seconds after a peer connected, after a session that brought something, and after a hint
    that something was missed. By then the connection is up."""
    every: float = 180.0
    """Seconds between two sessions with a peer that has nothing new."""
    look: float = 1.0
    """Seconds between two looks whether a peer is due."""


FAILED = Backoff(180.0, 3600.0)
"""Pauses after sessions that failed one after another: most peers serve no sessions."""

PEERS_MAX = 1024
"""Most peers whose turn is remembered; of others, those that left go first."""


@dataclass(slots=True)
class _Turn:
    due: float
    failures: int = 0


class Pacing:
    """The next turn of each connected peer of one topic. `now` is in seconds that never go back."""

    def __init__(self, rng: Rng, settings: PacingSettings | None = None) -> None:
        self._rng = rng
        self._settings = settings or PacingSettings()
        self._turns: dict[str, _Turn] = {}

    def next(self, first: Iterable[str], peers: Iterable[str], now: float) -> str | None:
        """Return the peer that is due, or None. `first` come before the other connected `peers`:
        those that the operator named or this side dialled."""
        connected = list(dict.fromkeys([*first, *peers]))[:PEERS_MAX]
        self._turns = {
            peer: self._turns.get(peer) or _Turn(now + self._jittered(self._settings.soon))
            for peer in connected
        }
        named = set(first)
        due = [peer for peer in connected if self._turns[peer].due <= now]
        return min(due, key=lambda one: (one not in named, self._turns[one].due), default=None)

    def went(self, peer: str, now: float, *, brought: bool) -> None:
        """A session ended as it should; `brought` tells whether it brought something. Then the
        others are due soon, too: they may have missed the same."""
        self._turns[peer] = _Turn(now + self._jittered(self._settings.every))
        if brought:
            self.hurry(now)

    def failed(self, peer: str, now: float) -> None:
        """A session failed, or the peer serves none."""
        failures = self._turns[peer].failures if peer in self._turns else 0
        self._turns[peer] = _Turn(now + FAILED.drawn(failures, self._rng), failures + 1)

    def wait(self, peer: str, seconds: float, now: float) -> None:
        """The peer asked to wait."""
        self._turns[peer] = _Turn(now + self._jittered(max(seconds, self._settings.soon)))

    def hurry(self, now: float, peer: str | None = None) -> None:
        """Something may have been missed: all peers that served sessions are due soon, or only
        this one, whose set has changed."""
        for one, turn in self._turns.items():
            if not turn.failures and peer in (None, one):
                turn.due = min(turn.due, now + self._jittered(self._settings.soon))

    def _jittered(self, seconds: float) -> float:
        return seconds * (0.75 + self._rng() / 2)

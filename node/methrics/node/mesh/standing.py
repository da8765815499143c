"""The peer score: counters per peer, and the number computed from them (gossipsub 1.1).

All topics weigh the same, so P2 and P4 are counted over all topics. P1 (time in the mesh) has no
weight: a peer that only stays earns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from methrics.node.mesh.limits import ScoreSettings


@dataclass(slots=True)
class Standing:
    """The decaying counters of one peer. They are kept for a while after it has disconnected."""

    first: float = 0.0
    """P2: accepted messages that it was the first to send."""
    missed: float = 0.0
    """P3b: shortfalls in the mesh at the time it was pruned."""
    invalid: float = 0.0
    """P4: rejected, oversize or forged messages."""
    penalty: float = 0.0
    """P7: broken promises, early GRAFTs, and frames that no honest node sends."""

    def decay(self, settings: ScoreSettings, beats: float) -> bool:
        """Lower all counters by `beats` heartbeats; return False if all are zero now."""
        factor = settings.decay**beats
        zero = settings.zero
        self.first = _decayed(self.first * factor, zero)
        self.missed = _decayed(self.missed * factor, zero)
        self.invalid = _decayed(self.invalid * factor, zero)
        self.penalty = _decayed(self.penalty * factor, zero)
        return bool(self.first or self.missed or self.invalid or self.penalty)

    def points(self, settings: ScoreSettings, shortfall: float) -> float:
        """Return the score from these counters. `shortfall`: P3, the sum over its meshes now."""
        points = settings.first_weight * self.first
        if self.invalid:
            points -= settings.invalid_weight * self.invalid * self.invalid
        if self.missed or shortfall:
            points -= settings.missed_weight * (self.missed + shortfall)
        excess = self.penalty - settings.penalty_free
        if excess > 0:
            points -= settings.penalty_weight * excess * excess
        return points


def shortfall(delivered: float, recent: float, settings: ScoreSettings) -> float:
    """Return P3 of a mesh peer, from 0 to 1: the square of the part by which it has sent too few.

    `recent`: accepted messages of the topic, and `delivered`: those among them which this peer has
    sent as the first or nearly so; both decay in the same way.
    """
    if recent * (1.0 - settings.decay) <= settings.missed_rate:
        return 0.0
    expected = settings.missed_share * recent
    return (1.0 - delivered / expected) ** 2 if delivered < expected else 0.0


def colocation(peers: int, settings: ScoreSettings) -> float:
    """Return P6, the points that the newest of `peers` peers of one network lose."""
    surplus = peers - settings.colocated_max
    if surplus <= 0:
        return 0.0
    return min(settings.colocated_most, settings.colocated_weight * surplus * surplus)


def _decayed(value: float, zero: float) -> float:
    return value if value >= zero else 0.0

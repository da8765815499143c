"""The mutable counts behind `SwarmStatistics`, besides those of the mesh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """The counts of one swarm. The parts of the swarm share one instance. `SwarmStatistics`
    explains each of them."""

    slowed: int = 0
    malformed: int = 0
    unsent: int = 0
    validator_errors: int = 0
    handler_errors: int = 0
    requests: int = 0
    requests_refused: int = 0
    contained: int = 0
    dials_failed: int = 0
    px_dials: int = 0
    evicted: int = 0

"""The mutable counts behind `SwarmStatistics`. The parts of a swarm share one instance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """The counts of one swarm. `SwarmStatistics` explains each of them."""

    published: int = 0
    received: int = 0
    received_bytes: int = 0
    duplicates: int = 0
    accepted: int = 0
    ignored: int = 0
    rejected: int = 0
    limited: int = 0
    slowed: int = 0
    malformed: int = 0
    unsent: int = 0
    validator_errors: int = 0
    handler_errors: int = 0
    requests: int = 0
    requests_refused: int = 0
    contained: int = 0
    dials_failed: int = 0

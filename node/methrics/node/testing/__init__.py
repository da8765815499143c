"""Whole networks in memory, for tests of anything built on a swarm (public API).

`MemoryNetwork` has swarms for code that uses trio. `Simulation` runs a thousand nodes under virtual
time, without trio.
"""

from __future__ import annotations

from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.testing.attackers import (
    Crowder,
    Flooder,
    Forger,
    Garbler,
    HashFlooder,
    Liar,
    Mutator,
    Oversizer,
    Replayer,
    Silent,
    Sybil,
    Withholder,
)
from methrics.node.testing.links import LinkLimits
from methrics.node.testing.participants import Node, Participant
from methrics.node.testing.simulation import Figures, Simulation
from methrics.node.testing.sizes import Kept

__all__ = [
    "Crowder",
    "Figures",
    "Flooder",
    "Forger",
    "Garbler",
    "HashFlooder",
    "Kept",
    "Liar",
    "LinkLimits",
    "MemoryNetwork",
    "MemorySwarm",
    "Mutator",
    "Node",
    "Oversizer",
    "Participant",
    "Replayer",
    "Silent",
    "Simulation",
    "Sybil",
    "Withholder",
]

"""The limits of a question to the live endpoint. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may use, and how many may run. Questions run in processes of their own."""

    seconds: float = 60.0
    """Time until the first rows, together with the time for which later ones are computed. Then the
    process is killed."""
    answer_seconds: float = 600.0
    """Time for the whole answer, with the time that its reader takes."""
    stall_seconds: float = 30.0
    """A reader that takes no byte for so long is disconnected."""
    answer_bytes: int = 1024**3
    """Maximum size of an answer in Arrow."""
    memory: str = "512MB"
    """DuckDB's buffers in one process; larger sorts and joins use temporary files."""
    spill: str = "1GB"
    """Maximum size of those temporary files."""
    process_bytes: int = 2 * 1024**3
    """Memory that one process may take from the system for data, in any way (Linux)."""
    threads: int = 2
    """Threads of DuckDB in one process."""
    processes: int = 2
    """Questions that run at the same time. Further ones wait."""
    waiting: int = 16
    """Questions that wait. Further ones are answered `busy`."""
    patience: float = 2.0
    """Seconds that a question waits for fresh data, at most."""
    idle_seconds: float = 60.0
    """A process that is not used for so long ends."""

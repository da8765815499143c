"""The result of a verification: how many rows were checked, and which differ."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN_MAX = 1000
"""Number of mismatches that are listed one by one. Further ones are only counted."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One row that differs from its signed bytes. `n` is its number, None if it has no number."""

    table: str
    n: int | None
    what: str

    def __str__(self) -> str:
        return f"{self.table} {'' if self.n is None else self.n}: {self.what}"


@dataclass(slots=True)
class Verification:
    """How many rows were checked, and the mismatches."""

    records: int = 0
    catalogs: int = 0
    reports: int = 0
    announcements: int = 0
    erasures: int = 0
    files: int = 0
    """Parquet files whose SHA-256 was compared."""
    mismatches: list[Mismatch] = field(default_factory=list)
    """The first `SHOWN_MAX` mismatches."""
    wrong: int = 0
    """The number of all mismatches."""

    @property
    def ok(self) -> bool:
        """Whether every row agrees with its signed bytes."""
        return not self.wrong

    def add(self, table: str, n: int | None, what: str) -> None:
        """Note a mismatch."""
        self.wrong += 1
        if len(self.mismatches) < SHOWN_MAX:
            self.mismatches.append(Mismatch(table, n, what))

    def merge(self, other: Verification) -> None:
        """Add the counts and mismatches of another part."""
        self.records += other.records
        self.catalogs += other.catalogs
        self.reports += other.reports
        self.announcements += other.announcements
        self.erasures += other.erasures
        self.files += other.files
        self.wrong += other.wrong
        self.mismatches += other.mismatches[: SHOWN_MAX - len(self.mismatches)]

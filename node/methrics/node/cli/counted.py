"""Counts in words for a person: `1 report`, `2 reports`."""

from __future__ import annotations


def counted(count: int, thing: str) -> str:
    """`count` of `thing`, with an s unless there is exactly one; thousands are separated."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"

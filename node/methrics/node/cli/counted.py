"""Counts and sizes in words for a person: `1 report`, `2 reports`, `3.8 MiB`."""

from __future__ import annotations


def counted(count: int, thing: str) -> str:
    """`count` of `thing`, with an s unless there is exactly one; thousands are separated."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def sized(size: int) -> str:
    """A number of bytes in its unit, such as `3.8 MiB`."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1024:,.0f} KiB" if size >= 1024 else counted(size, "byte")

"""Stand-in; see the package."""

from __future__ import annotations

from fastecdsa import refuse


class Point:
    """A point that cannot be made."""

    def __init__(self, *arguments: object) -> None:
        refuse(*arguments)

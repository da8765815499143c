"""Makes folders that only their owner can use."""

from __future__ import annotations

import os


def make_private(path: str) -> None:
    """Makes the folder `path` and its missing parents, all with mode 0700: `os.makedirs` gives the
    mode to the last one only. Raises OSError."""
    parent = os.path.dirname(path)
    if parent and parent != path and not os.path.isdir(parent):
        make_private(parent)
    os.makedirs(path, mode=0o700, exist_ok=True)

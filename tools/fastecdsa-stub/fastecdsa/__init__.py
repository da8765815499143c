"""Stand-in for fastecdsa: libp2p imports it, but only secio and P-256 peer keys call it.

Importing works; calling anything raises, so that nothing can silently go without its cryptography.
"""

from __future__ import annotations

from typing import NoReturn


class StandInError(NotImplementedError):
    """Somebody wanted P-256 cryptography that is not installed here."""


def refuse(*_: object, **__: object) -> NoReturn:
    """Stands for every function of the real package."""
    raise StandInError(
        "P-256 keys need the real fastecdsa: install a C compiler and GMP (Debian: "
        "apt-get install build-essential libgmp-dev python3-dev), remove .venv and set up again"
    )

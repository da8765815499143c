"""Finds the command by which a person can change their answers on this very installation."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from importlib.util import find_spec

from methrics.node.paths import Paths

COMMAND = ("-m", "methrics.node", "consent")
"""Arguments of Python for the command that needs only the base install."""


def way_back(paths: Paths, *more: str) -> str:
    """Returns the command that shows and changes answers, with the arguments `more`, to be typed in
    a shell: `methrics consent`, if that command is installed in this environment and on the search
    path, or else Python's own `-m methrics.node consent`.

    A packaged app has no Python to run: then it returns the words for removing the ledger, which
    turns everything off.
    """
    home = () if paths.home is None else ("--home", paths.home)
    if _has_command():
        return shlex.join(["methrics", "consent", *more, *home])
    if getattr(sys, "frozen", False) or not sys.executable:
        return f"remove the file {shlex.quote(paths.ledger)}"
    return shlex.join([sys.executable, *COMMAND, *more, *home])


def _has_command() -> bool:
    """Returns whether `methrics`, as a shell finds it, belongs to this environment and has the
    packages that it needs."""
    found = shutil.which("methrics")
    if found is None or not sys.executable or getattr(sys, "frozen", False):
        return False
    here = os.path.dirname(os.path.abspath(sys.executable))
    return os.path.dirname(os.path.abspath(found)) == here and all(
        find_spec(name) is not None for name in ("click", "rich")
    )

"""Finds the command by which a person can change their answers on this very installation."""

from __future__ import annotations

import os
import shlex
import shutil
import site
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec

from methrics.node.paths import Paths

COMMAND = ("-m", "methrics.node", "consent")
"""Arguments of Python for the command that needs only the base install."""

NEEDED = ("methrics.schema", "methrics.node", "cbor2", "nacl", "cffi", "_cffi_backend")
"""The modules that this command imports, apart from the standard library."""


def way_back(paths: Paths, *more: str) -> str:
    """Returns the command that shows and changes answers, with the arguments `more`, to be typed in
    a shell: `methrics consent`, if that command is installed in this environment and on the search
    path, or else Python's own `-m methrics.node consent`. If the app carries its packages in
    folders that Python does not search by itself, PYTHONPATH names them in front of the command.

    A packaged app has no Python to run: then it returns the words for removing the ledger, which
    turns everything off.
    """
    home = () if paths.home is None else ("--home", paths.home)
    if _has_command():
        return shlex.join(["methrics", "consent", *more, *home])
    if getattr(sys, "frozen", False) or not sys.executable:
        return f"remove the file {shlex.quote(paths.ledger)}"
    known = set(_searched())
    folders = os.pathsep.join(one for one in dict.fromkeys(_folders()) if one not in known)
    prefix = f"PYTHONPATH={shlex.quote(folders)} " if folders else ""
    return prefix + shlex.join([sys.executable, *COMMAND, *more, *home])


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


def _folders() -> Iterator[str]:
    """Returns the folders, or zip files, from which this process imports NEEDED."""
    for name in NEEDED:
        with suppress(ImportError, ValueError):
            found = find_spec(name)
            place = found.origin if found is not None else None
            if place:
                is_package = found is not None and found.submodule_search_locations is not None
                for _ in range(name.count(".") + 1 + is_package):
                    place = os.path.dirname(place)
                yield place


def _searched() -> Iterator[str]:
    """Returns the folders that Python searches when it is started anew: its own, those for
    packages, and those that a `.pth` file there names."""
    own = os.path.dirname(os.__file__)
    yield from (own, os.path.join(own, "lib-dynload"))
    for folder in (*site.getsitepackages(), site.getusersitepackages()):
        yield folder
        with suppress(OSError, UnicodeDecodeError):
            for name in os.listdir(folder):
                if name.endswith(".pth"):
                    with open(os.path.join(folder, name), encoding="utf-8") as file:
                        yield from (os.path.join(folder, line.strip()) for line in file)

"""Reads facts about this machine, such as its operating system, under the usual names of fields.

The values are raw: the catalog reduces each value to a bucket, a known word or `other` before it is
stored. Facts are read only with consent (`Recorder.facts`). No fact names the machine, its user or
its location.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable


def _os() -> str:
    names = {"linux": "linux", "darwin": "macos", "win32": "windows", "cygwin": "windows"}
    return names.get(sys.platform, sys.platform.rstrip("0123456789"))


def _python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _arch() -> str:
    machine = (
        os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    )
    known = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
    return known.get(machine.lower(), machine.lower())


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_FACTS: dict[str, Callable[[], object]] = {
    "os": _os,
    "platform": _os,
    "python": _python,
    "arch": _arch,
    "cores": _cores,
}

NAMES = tuple(_FACTS)
"""The names of fields for which this module can read a fact."""


def machine_facts(names: Iterable[str]) -> dict[str, object]:
    """Returns the facts with these `names`. Names for which there is no fact are left out."""
    return {name: _FACTS[name]() for name in names if name in _FACTS}

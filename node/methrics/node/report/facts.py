"""Reads facts about this machine, such as its operating system, under the usual names of fields.

The values are raw: the catalog reduces each value to a bucket, a known word or `other` before it is
stored. Facts are read only with consent (`Recorder.facts`). No fact names the machine or its user.
The only place is the country, from the person's settings (see `country`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable

from methrics.schema.catalog.event_type import EventType
from methrics.schema.errors import ConfigError, MethricsError


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


def _country() -> str:
    from methrics.node.report.country import machine_country

    return machine_country()


_FACTS: dict[str, Callable[[], object]] = {
    "os": _os,
    "platform": _os,
    "python": _python,
    "arch": _arch,
    "cores": _cores,
    "country": _country,
}

NAMES = tuple(_FACTS)
"""The names of fields for which this module can read a fact."""


def machine_facts(names: Iterable[str]) -> dict[str, object]:
    """Returns the facts with these `names`. Names for which there is no fact are left out."""
    return {name: _FACTS[name]() for name in names if name in _FACTS}


def facts_of(
    event_type: EventType,
    shared: Collection[str] | None,
    address: str,
    geoip: str,
    failed: Callable[[MethricsError], object],
) -> dict[str, object]:
    """Returns the facts for those fields of `event_type` that the person shares (None: all).

    With an `address`, a country is that of the address in the GeoIP file `geoip`, never that of
    this machine. If it cannot be looked up, it is ZZ, and `failed` is called with the error.
    """
    names = {field.name for field in event_type.fields if field.source is None}
    if shared is not None:
        names &= set(shared)
    if not address or "country" not in names:
        return machine_facts(names)
    from methrics.node.report.country import country_of_address
    from methrics.schema.catalog.regions import NOWHERE

    country = NOWHERE
    try:
        country = country_of_address(address, geoip)
    except ConfigError as error:
        failed(error)
    return machine_facts(names - {"country"}) | {"country": country}

"""The file in which a user's entries are kept, for all apps together (`entries`).

    <data>/entries.json    {"version": 1, "drawn": [{...}], "found": ["/ip4/...", ...]}

It is private to the user (0600) and replaced as a whole. If it is damaged, an entry is drawn anew.
If it cannot be read or written, the entries are kept in memory, for as long as the process runs. It
is made at the first visit, so never before a consent.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import TypeVar

from methrics.node.paths import Paths
from methrics.node.process.lock import FileLock
from methrics.node.process.regular import read_regular
from methrics.node.publish.entries import FOUND_MAX, KEPT_MAX, KeptEntries, KeptEntry, Source

T = TypeVar("T")

FILE_MAX = 262_144
"""Most bytes of the file that are read."""

ADDRESS_MAX, COMPANY_MAX = 256, 64
"""Characters of the longest address, and most addresses of an app's list."""

VERSION = 1

_TRIES, _STEP = 20, 0.05
"""How often the lock is tried, and the seconds between two attempts. It is held for
milliseconds."""


class EntryFile:
    """What is kept about entries, on the disk of one user. Its methods block, for a worker."""

    def __init__(self, paths: Paths, sleep: Callable[[float], None]) -> None:
        self.path = os.path.join(paths.data, "entries.json")
        self._sleep = sleep
        self._memory: KeptEntries | None = None

    def update(self, change: Callable[[KeptEntries], tuple[KeptEntries, T]]) -> T:
        """Replace what is kept by the first value that `change` returns for it; return the second.
        Never raises, except what `change` raises."""
        lock = FileLock(self.path + ".lock")
        held = self._acquire(lock)
        try:
            before = self.load()
            after, value = change(before)
            if after != before:
                self._save(after)
            return value
        finally:
            if held:
                lock.release()

    def load(self) -> KeptEntries:
        """Return what is kept. Never raises."""
        if self._memory is not None:
            return self._memory
        try:
            return parse(read_regular(self.path, FILE_MAX + 1))
        except (OSError, ValueError):
            return KeptEntries()

    def _acquire(self, lock: FileLock) -> bool:
        """Return whether the lock is held now. Two publishers without it may each draw an entry,
        and the last one that writes decides."""
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            for _ in range(_TRIES):
                if lock.try_acquire():
                    return True
                self._sleep(_STEP)
        return False

    def _save(self, kept: KeptEntries) -> None:
        fresh = f"{self.path}.{os.getpid()}.new"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(fresh, flags, 0o600), "wb") as file:
                file.write(dump(kept))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            self._memory = kept


def dump(kept: KeptEntries) -> bytes:
    """Return the content of the file."""
    document = {"version": VERSION, "drawn": [asdict(one) for one in kept.drawn]}
    return json.dumps(document | {"found": kept.found}, indent=1).encode()


def parse(data: bytes) -> KeptEntries:
    """Return what a file contains. Raises ValueError if it is not exactly such a file."""
    if len(data) > FILE_MAX:
        raise ValueError("too large")
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict) or document.keys() != {"version", "drawn", "found"}:
        raise ValueError("not a file of entries")
    drawn = document["drawn"]
    if document["version"] != VERSION or not isinstance(drawn, list) or len(drawn) > KEPT_MAX:
        raise ValueError("unknown version, or too many entries")
    return KeptEntries(tuple(map(_entry, drawn)), _addresses(document["found"], FOUND_MAX))


_TIMES = ("since", "until", "silent", "silent_since", "tried")


def _entry(value: object) -> KeptEntry:
    if not isinstance(value, dict) or value.keys() != {one.name for one in fields(KeptEntry)}:
        raise ValueError("not an entry")
    if any(type(value[name]) is not int or not 0 <= value[name] < 1 << 53 for name in _TIMES):
        raise ValueError("a time is not a whole number")
    if type(value["answered"]) is not bool:
        raise ValueError("answered is true or false")
    (address,) = _addresses([value["address"]], 1)
    company = _addresses(value["company"], COMPANY_MAX)
    return KeptEntry(
        **value | {"address": address, "company": company, "source": Source(value["source"])}
    )


def _addresses(value: object, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("not a list of addresses")
    found = tuple(one for one in value if isinstance(one, str) and 0 < len(one) <= ADDRESS_MAX)
    if len(found) != len(value):
        raise ValueError("not an address")
    return found

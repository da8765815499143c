"""The keys of an exit: one for each UTC day, kept on disk for as long as boxes may need it.

A day has one key for ever. A relay that showed two keys for one day could tell its users apart by
them, so others drop it. A key is therefore on disk before anybody sees it, and a day whose key was
erased never gets another one, also if the clock is set back. Keys are erased only when the caller
is sure of the clock: one that is a year ahead for a moment erases nothing.
"""

from __future__ import annotations

from typing import Protocol

from methrics.node.clock import Entropy, system_entropy
from methrics.node.ohttp.hpke import KEY_SIZE
from methrics.node.ohttp.key_config import ExitKey
from methrics.schema.errors import StoreError
from methrics.schema.wire.limits import DAY

KEPT_BEFORE, MADE_AHEAD = 2, 1
"""Days before today whose keys are kept, because boxes may rest at an entry; and days ahead of
today whose keys are made, because descriptors for tomorrow name them."""

ERASED_NAME = "exit-key.erased"
"""The file that holds the last day whose key was erased, in decimal digits."""

SEEN_MAX = 400
"""Most days back from the last made key whose files are looked for."""


class Files(Protocol):
    """The files of a relay (`StateFolder`)."""

    def read(self, name: str, *, limit: int) -> bytes | None: ...
    def write(self, name: str, content: bytes) -> None: ...
    def remove(self, name: str) -> None: ...


class DayKeys:
    """The keys in `files`; in memory alone if it is None. `entropy` makes the private keys.

    Every method raises StoreError if the files cannot be read or written, or are damaged.
    """

    def __init__(self, files: Files | None, *, entropy: Entropy = system_entropy) -> None:
        self._files = files
        self._entropy = entropy
        self._keys: dict[int, ExitKey] = {}
        self._erased = self._read_erased()

    def of(self, day: int) -> ExitKey | None:
        """Return the key of a day (counted from 1970-01-01, UTC), made if there was none; None if
        it was erased."""
        if day <= self._erased:
            return None
        if day not in self._keys:
            self._keys[day] = self._made(day)
        return self._keys[day]

    def opening(self, now: int) -> dict[int, ExitKey]:
        """Return the keys that open boxes at `now` (Unix seconds), by their ids."""
        today = now // DAY
        days = range(today - KEPT_BEFORE, today + MADE_AHEAD + 1)
        found = [self.of(day) if day >= today else self._kept(day) for day in days]
        return {key.key_id: key for key in found if key is not None}

    def erase(self, now: int) -> int:
        """Erase the keys that no box needs any more at `now`; return how many there were. Call it
        only when the clock is sure to be right."""
        last = now // DAY - KEPT_BEFORE - 1
        first = max(self._erased + 1, last - SEEN_MAX)
        gone = [day for day in range(first, last + 1) if self._kept(day) is not None]
        if not gone:
            return 0
        if self._files is not None:
            # The mark is written first: a day without a key must not get a new one after a crash.
            self._files.write(ERASED_NAME, str(last).encode())
            for day in gone:
                self._files.remove(_name(day))
        self._erased = last
        for day in gone:
            del self._keys[day]
        return len(gone)

    def _kept(self, day: int) -> ExitKey | None:
        """Return the key of a day if it was made before."""
        if day not in self._keys and day > self._erased and self._files is not None:
            secret = self._files.read(_name(day), limit=KEY_SIZE)
            if secret is not None:
                self._keys[day] = _key(day, secret)
        return self._keys.get(day)

    def _made(self, day: int) -> ExitKey:
        kept = self._kept(day)
        if kept is not None:
            return kept
        secret = self._entropy(KEY_SIZE)
        if self._files is not None:
            self._files.write(_name(day), secret)
        return _key(day, secret)

    def _read_erased(self) -> int:
        content = None if self._files is None else self._files.read(ERASED_NAME, limit=20)
        if content is None:
            return -1
        if not content.isdigit():
            raise _damaged(ERASED_NAME)
        return int(content)


def _name(day: int) -> str:
    return f"exit-key.{day}"


def _key(day: int, secret: bytes) -> ExitKey:
    if len(secret) != KEY_SIZE or not any(secret):
        raise _damaged(_name(day))
    return ExitKey(day % 256, secret)


def _damaged(name: str) -> StoreError:
    return StoreError(
        "state-damaged",
        f"the file {name} of the relay is damaged",
        "restore it from a backup; a new key for a day that had one makes others drop the relay",
    )

"""Reads the spools of all processes of an app, and removes what was taken over.

A reader never waits for an app. It deletes the files of a process that has ended, and overwrites
with zeros the frames of a running one, so that no recorded value stays in two places.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection
from dataclasses import dataclass, field

from methrics.node.process.inherited import opening, watch
from methrics.node.spool.folder import (
    CATALOG,
    EVENTS,
    FIRST,
    SLOTS,
    STALE,
    is_linked,
    lock,
    spool_error,
    spool_names,
)
from methrics.node.spool.frames import HEAD
from methrics.node.spool.records import CATALOG_BYTES, COUNT, STATE, Recorded, decode_record
from methrics.node.spool.scan import scan
from methrics.node.spool.slots import NUMBER, number, read_value, tail_size, taken_at
from methrics.schema.wire.limits import CATALOG_MAX

READ_MAX = 4 * 1024 * 1024
"""Bytes of one file that are read at once: more than an app writes to one."""


@dataclass(frozen=True, slots=True)
class SlotFound:
    """A slot of a count or state. `at`: the offset of its frame. `values`: the offset of its
    values. `number`: its total or turn, None if it is damaged. `taken`: as stored in the slot."""

    record: Recorded
    at: int
    values: int
    number: int | None
    fields: bytes
    taken: int


@dataclass(slots=True)
class Contents:
    """The contents of one spool from an offset on.

    `start`, `end`: the offsets between which the event file is settled. `events`: (offset behind
    the record, record) of each event and sequence. `changed`: when the slots last changed (Unix
    nanoseconds). `damaged`: stretches that are not readable. `whole`: the event file was read to
    its end.
    """

    start: int = 0

    events: list[tuple[int, Recorded]] = field(default_factory=list)
    slots: list[SlotFound] = field(default_factory=list)
    end: int = 0
    changed: int = 0
    damaged: int = 0
    whole: bool = True


class OpenSpool:
    """One spool, opened by a reader. Use it in a `with` block.

    `abandoned`: no process writes to it. Then the reader holds its lock, and nobody takes it over.
    All methods raise StoreError.
    """

    def __init__(self, folder: str, name: str, now: int) -> None:
        self.name = name
        self._path = os.path.join(folder, name)
        self.abandoned = False
        self._fd = -1
        try:
            with opening.hold():
                self._fd = os.open(self._path + EVENTS, os.O_RDWR | os.O_CLOEXEC)
                watch(self)
            locked = lock(self._fd)
            changed = max(_changed(self._path + EVENTS), _changed(self._path + SLOTS))
            self.abandoned = now - changed > STALE if locked is None else locked
            if self.abandoned and not is_linked(self._fd, self._path + EVENTS):
                raise FileNotFoundError
        except OSError as error:
            self.close()
            raise spool_error(error, self._path) from error

    def read(self, start: int) -> Contents:
        """Reads the events from the offset `start` on, and all slots."""
        try:
            size = os.fstat(self._fd).st_size
            # If somebody has truncated the file, a process appends from its new end on.
            start = 0 if start > size else max(start, len(FIRST))
            data = os.pread(self._fd, READ_MAX, start)
        except OSError as error:
            raise spool_error(error, self._path) from error
        whole = start + len(data) >= size
        found = scan(data, start, final=self.abandoned or not whole)
        contents = Contents(start=start, end=found.end, damaged=found.damaged, whole=whole)
        for end, payload, _ in found.frames:
            try:
                contents.events.append((end, decode_record(payload)))
            except ValueError:
                contents.damaged += 1
        self._read_slots(contents)
        return contents

    def _read_slots(self, contents: Contents) -> None:
        try:
            with open(self._path + SLOTS, "rb") as file:
                data = file.read(READ_MAX)
                contents.changed = os.fstat(file.fileno()).st_mtime_ns
        except FileNotFoundError:
            return
        except OSError as error:
            raise spool_error(error, self._path) from error
        found = scan(data[len(FIRST) :], len(FIRST), tail_size, final=self.abandoned)
        # A running process may rewrite a slot that was overwritten with zeros.
        contents.damaged += found.damaged if self.abandoned else 0
        for end, payload, values in found.frames:
            try:
                record = decode_record(payload)
            except ValueError:
                contents.damaged += 1
                continue
            if record.kind not in (COUNT, STATE) or end - values != tail_size(payload):
                contents.damaged += 1
                continue
            value = read_value(record, data[values:end], values)
            contents.slots.append(
                SlotFound(
                    record=record,
                    at=values - HEAD.size - len(payload),
                    values=values,
                    number=value.number,
                    fields=value.fields,
                    taken=value.taken,
                )
            )

    def clear_events(self, start: int, end: int) -> None:
        """Overwrites the frames between two offsets with zeros. Never raises: what stays there was
        taken over, and is not taken over again."""
        with contextlib.suppress(OSError):
            end = min(end, os.fstat(self._fd).st_size)
            if end > start:
                os.pwrite(self._fd, bytes(end - start), start)

    def settle_slots(self, taken: dict[int, SlotFound], cleared: Collection[int]) -> None:
        """Writes into the slots what was taken over, and overwrites those at the offsets in
        `cleared` with zeros. A process that uses the latter makes new ones within a second (FIRST
        is gone). Never raises, for the same reason."""
        if not taken and not cleared:
            return
        with contextlib.suppress(OSError):
            fd = os.open(self._path + SLOTS, os.O_WRONLY | os.O_CLOEXEC)
            try:
                if cleared:
                    os.pwrite(fd, bytes(len(FIRST)), 0)
                for at, slot in taken.items():
                    if at in cleared:
                        size = tail_size_of(slot)
                        os.pwrite(fd, bytes(slot.values + size - at), at)
                    elif slot.number is not None:
                        value = number(slot.number, slot.values)
                        os.pwrite(fd, value, taken_at(slot.record, slot.values))
            finally:
                os.close(fd)

    def delete(self) -> None:
        """Deletes the files of an abandoned spool. Never raises: they are deleted the next time."""
        for suffix in (SLOTS, EVENTS):
            with contextlib.suppress(OSError):
                os.unlink(self._path + suffix)

    def close(self) -> None:
        """Closes the files and releases the lock."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # a child that is forked right now keeps none
        self.close_inherited()

    def close_inherited(self) -> None:
        with opening.hold():
            fd, self._fd = self._fd, -1
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def __enter__(self) -> OpenSpool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tail_size_of(slot: SlotFound) -> int:
    """Returns the number of bytes of a slot's values."""
    return taken_at(slot.record, slot.values) + NUMBER.size - slot.values


def names_here(folder: str) -> list[str]:
    """Returns the names of the spools in `folder`, sorted. Raises StoreError."""
    try:
        return spool_names(folder)
    except OSError as error:
        raise spool_error(error, folder) from error


def read_catalog(folder: str, catalog: int) -> bytes | None:
    """Returns the bytes of a catalog that a process has stored; None if they cannot be read."""
    path = os.path.join(folder, f"{catalog:0{2 * CATALOG_BYTES}x}{CATALOG}")
    try:
        with open(path, "rb") as file:
            return file.read(CATALOG_MAX + 1)
    except OSError:
        return None


def stored_catalogs(folder: str, without: Collection[int] = ()) -> dict[int, bytes]:
    """Returns the catalogs that processes have stored, by the number in their file's name, which is
    not checked. Those in `without`, and those that cannot be read, are left out."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    found: dict[int, bytes] = {}
    for name in names:
        digits, suffix = os.path.splitext(name)
        if suffix == CATALOG and len(digits) == 2 * CATALOG_BYTES:
            with contextlib.suppress(ValueError):
                number = int(digits, 16)
                raw = read_catalog(folder, number) if number not in without else None
                if raw is not None:
                    found[number] = raw
    return found


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0

"""The app's side of the outbox: appends records to a file of this process, without a lock.

A `Spool` has at most two open files (folder.py). An event is one `write` to a file that the kernel
appends to, so threads need no lock, and an exception from a signal handler leaves nothing half
done. A count or state has a slot, which is overwritten by `pwrite` under a reentrant lock. Nothing
is mapped into memory: on a full disk a mapped page would end the app (SIGBUS).

When a method returns True, the record survives a kill -9 of the app, as with SQLite without fsync.
The publisher and the commands take the records over into SQLite (outbox/fold.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import weakref
from typing import TYPE_CHECKING
from zlib import crc32

from methrics.node.clock import Clock, Rng, system_rng
from methrics.node.process.folders import make_private
from methrics.node.process.foreign import pass_on
from methrics.node.process.inherited import opening
from methrics.node.spool.due import event_due
from methrics.node.spool.files import Slot, SpoolFiles, raised
from methrics.node.spool.folder import (
    CATALOG,
    EVENTS,
    FIRST,
    SLOTS,
    full_error,
    is_linked,
    lock,
    lower_due,
    spool_error,
    spool_folder,
    spool_names,
    temporary_name,
    used_bytes,
    write_due,
)
from methrics.node.spool.frames import HEAD, MARK, PAYLOAD_MAX, frame
from methrics.node.spool.interface import SpooledType
from methrics.node.spool.records import when
from methrics.node.spool.slots import number, turn
from methrics.schema.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable


FILE_MAX = 256 * 1024
"""Bytes of one file. Then the process begins another, so that the first can be deleted."""

FOLDER_MAX = 8 * 1024 * 1024
"""Bytes of all files in a spool folder, which is room for 80,000 events. It is checked when a
process begins a file, so each running process may exceed it by two files."""

TAKE_OVER_TRIES = 8
"""How many files of others a process tries to lock before it makes its own."""

ROOM_MIN = 48
"""Least bytes for the fields of a state, so that later values often fit into the same slot."""

LOOK_EVERY = 1.0
"""Seconds between two checks that the files still exist."""

BROKEN_PAUSE = 1.0
"""If the files cannot be used, calls fail at once for this many seconds."""


class Spool:
    """The spool of this process for the outbox file `outbox`. Opens no file before the first
    record. All methods raise StoreError, with a stable code, and nothing else of their own.

    `file_max`, `folder_max`: bytes, by default FILE_MAX and FOLDER_MAX.
    """

    def __init__(
        self,
        outbox: str,
        *,
        clock: Clock,
        rng: Rng | None = None,
        file_max: int | None = None,
        folder_max: int | None = None,
    ) -> None:
        self.outbox = outbox
        self.folder = spool_folder(outbox)
        self.look_at = -1.0
        self._clock = clock
        self._rng = rng or system_rng()
        self._file_max = FILE_MAX if file_max is None else file_max
        self._folder_max = FOLDER_MAX if folder_max is None else folder_max
        self._lock = threading.RLock()
        self._files: SpoolFiles | None = None
        self._catalogs: dict[int, bytes] = {}
        self._broken: StoreError | None = None
        self._broken_until = 0.0
        self._due: int | None = None
        self._told = False
        _spools.add(self)

    def keep_catalog(self, catalog: int, raw: bytes) -> None:
        """Stores the catalog with this number beside the records that refer to it."""
        with self._lock:
            if self._files is not None and catalog not in self._catalogs:
                self._write_catalog(catalog, raw)
            self._catalogs[catalog] = raw

    def event(
        self, kind: SpooledType, time: int, start: int, fields: bytes, steps: bytes = b""
    ) -> None:
        """Appends one event, or one sequence if it has `steps`. `time`: rounded. `start`: from
        when its schedule counts (both Unix seconds). `fields` and `steps`: CBOR."""
        due = event_due(kind.event_type.release, start, self._rng)
        head = kind.sequence if steps else kind.event
        self._append(head + when(time, due, fields) + fields + steps)
        if self._due is None or due < self._due:
            self._note_due(due)

    def count(self, kind: SpooledType, window: int, end: int, fields: bytes, n: int) -> None:
        """Adds `n` to the sum for these fields in the window that begins at `window` and ends at
        `end` (Unix seconds)."""
        with self._lock:
            files = self._files or self._open()
            key = (kind.count, window, fields)
            slot = files.taken.get(key)
            if slot is None or files.owner != os.getpid():
                self._new_count(kind, window, end, fields, n)
                return
            slot.value += n
            try:
                # A signal handler may add to the same sum before this value is written.
                value = -1
                while value != slot.value:
                    value, offset = slot.value, slot.offset
                    os.pwrite(files.slots, number(value, offset), offset)
            except OSError as error:
                slot.value -= n
                raise self._failed(error) from error

    def state(self, kind: SpooledType, time: int, start: int, fields: bytes) -> None:
        """Replaces the latest fields of a state at `time` (rounded, Unix seconds)."""
        with self._lock:
            files = self._files or self._open()
            slot = files.taken.get((kind.state, time, b""))
            if slot is None or len(fields) > slot.room or files.owner != os.getpid():
                self._new_state(kind, time, start, fields, 1 if slot is None else slot.value + 1)
                return
            slot.value += 1
            value = turn(slot.value, fields, slot.room, slot.offset)
            try:
                os.pwrite(files.slots, value, slot.offset)
            except OSError as error:
                raise self._failed(error) from error

    def look(self, monotonic: float) -> None:
        """Checks that the files still exist; otherwise the next record opens new ones. Call it
        before a record if `look_at` has passed. Stores when the earliest record is due."""
        self.look_at = monotonic + LOOK_EVERY
        self.tell_due()
        files = self._files
        try:
            gone = files is not None and files.is_gone()
        except OSError as error:
            pass_on(error)
            gone = True
        if gone:
            self.leave()

    def tell_due(self) -> None:
        """Stores when the earliest of the latest records is due, so that the next check finds out
        whether to start a publisher."""
        due, self._due = self._due, None
        if due is not None:
            self._told = True
            lower_due(self.folder, due, self._clock.now())

    def leave(self) -> None:
        """Leaves the files to whoever takes them over; the next record opens new ones. To be
        called when the consent has changed, because a withdrawal empties slots."""
        self.tell_due()
        self._files = None
        self._told = False

    def forked(self) -> None:
        """Forgets the files in a forked child, where their parent uses them, and renews the lock,
        which a thread of the parent may have held."""
        self._files = None
        self._lock = threading.RLock()

    def _note_due(self, due: int) -> None:
        self._due = due
        if not self._told:
            self.tell_due()

    def _append(self, payload: bytes) -> None:
        files = self._files
        if files is None or files.spent > self._file_max:
            with self._lock:
                if files is not None and self._files is files:
                    self._files = None
                files = self._open()
        length = len(payload)
        if length > PAYLOAD_MAX:
            raise StoreError("outbox-too-long", f"a record has more than {PAYLOAD_MAX} bytes")
        # `frame(payload)` without the call: it takes a tenth of the time of `record`.
        data = HEAD.pack(MARK, length, crc32(payload)) + payload
        try:
            written = os.write(files.events, data)
        except OSError as error:
            raise self._failed(error) from error
        files.spent += written
        if written != len(data):
            raise full_error(self.folder, "the disk is full")

    def _failed(self, error: OSError) -> StoreError:
        pass_on(error)
        if error.errno == errno.EBADF:  # the app has closed all descriptors
            self._files = None
        return spool_error(error, self.folder)

    # The caller of the methods below holds the lock.

    def _new_count(self, kind: SpooledType, window: int, end: int, fields: bytes, n: int) -> None:
        due = event_due(kind.event_type.release, end, self._rng)
        key = (kind.count, window, fields)
        head = frame(kind.count + when(window, due, fields) + fields)
        self._new_slot(key, head, lambda at: number(n, at) + number(0, at), n)
        if self._due is None or due < self._due:
            self._note_due(due)

    def _new_state(
        self, kind: SpooledType, time: int, start: int, fields: bytes, turns: int
    ) -> None:
        due = event_due(kind.event_type.release, start, self._rng)
        room = max(ROOM_MIN, len(fields))
        head = frame(kind.state + when(time, due, b"", room=room))

        def values(at: int) -> bytes:
            return turn(turns, fields, room, at) + number(0, at)

        self._new_slot((kind.state, time, b""), head, values, turns, room)
        if self._due is None or due < self._due:
            self._note_due(due)

    def _new_slot(
        self,
        key: tuple[bytes, int, bytes],
        head: bytes,
        values: Callable[[int], bytes],
        value: int,
        room: int = 0,
    ) -> None:
        files = self._files
        if files is None or files.owner != os.getpid() or files.slots_end > self._file_max:
            self._files = None
            files = self._open()
        try:
            size = len(head) + len(values(0))
            # No call is between these lines, so no signal handler makes a slot at the same place.
            at = files.slots_end
            files.slots_end = at + size
            offset = at + len(head)
            data = head + values(offset)
            written = os.pwrite(files.slots, data, at)
        except OSError as error:
            raise self._failed(error) from error
        if written != len(data):
            raise full_error(self.folder, "the disk is full")
        files.taken[key] = Slot(offset, value, room)

    def _open(self) -> SpoolFiles:
        if self._files is not None:
            return self._files
        now = self._clock.monotonic()
        if self._broken is not None and now < self._broken_until:
            raise self._broken
        try:
            self._files = files = self._open_files()
        except OSError as error:
            self._broken = self._failed(error)
        except StoreError as error:
            self._broken = error
        else:
            self._broken = None
            return files
        self._broken_until = now + BROKEN_PAUSE
        raise self._broken

    def _open_files(self) -> SpoolFiles:
        make_private(self.folder)
        with contextlib.suppress(FileExistsError):
            # The commands find an app by this file. SQLite takes an empty file for a new database.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(self.outbox, flags, 0o600))
            write_due(self.folder, None, now=self._clock.now())
        if used_bytes(self.folder) >= self._folder_max:
            raise full_error(self.folder, "what was recorded is not published")
        for catalog, raw in self._catalogs.items():
            self._write_catalog(catalog, raw)
        return self._take_over() or self._make()

    def _take_over(self) -> SpoolFiles | None:
        for name in spool_names(self.folder)[:TAKE_OVER_TRIES]:
            with opening.hold():
                files = self._try_open(name)
            if files is not None:
                return files
        return None

    def _make(self) -> SpoolFiles:
        while True:
            with opening.hold():
                files = self._try_open(os.urandom(8).hex(), os.O_CREAT | os.O_EXCL)
            if files is not None:
                return files

    def _try_open(self, name: str, new: int = 0) -> SpoolFiles | None:
        """Opens and locks one spool; `new`: the flags with which its files are made. Returns None
        if another process uses it, or it is full or damaged. The caller holds `opening`."""
        path = os.path.join(self.folder, name)
        flags = os.O_RDWR | os.O_CLOEXEC | new
        opened: list[int] = []
        kept = False
        try:
            opened.append(fd := raised(os.open(path + EVENTS, flags | os.O_APPEND, 0o600)))
            locked = lock(fd)
            # A reader may have deleted the file before it was locked. Without locks, only a file
            # that was just made is surely unused.
            if not (new if locked is None else locked and is_linked(fd, path + EVENTS)):
                return None
            opened.append(raised(os.open(path + SLOTS, flags, 0o600)))
            if new and any(os.write(one, FIRST) != len(FIRST) for one in opened):
                raise full_error(self.folder, "the disk is full")
            sizes = [os.fstat(one).st_size for one in opened]
            if max(sizes) <= self._file_max and all(os.pread(i, 1, 0) == FIRST for i in opened):
                kept = True
                return SpoolFiles(path, opened[0], sizes[0], opened[1], sizes[1])
        except FileNotFoundError:
            if new:
                raise
        finally:
            if not kept:
                for one, suffix in zip(opened, (EVENTS, SLOTS), strict=False):
                    os.close(one)
                    if new:
                        with contextlib.suppress(OSError):
                            os.unlink(path + suffix)
        return None

    def _write_catalog(self, catalog: int, raw: bytes) -> None:
        path = os.path.join(self.folder, f"{catalog:012x}{CATALOG}")
        if os.path.exists(path):
            return
        temporary = temporary_name(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            written = os.write(fd, raw)
        finally:
            os.close(fd)
        if written != len(raw):
            os.unlink(temporary)
            raise full_error(self.folder, "the disk is full")
        os.replace(temporary, path)


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()
_shared: weakref.WeakValueDictionary[tuple[str, int, int], Spool] = weakref.WeakValueDictionary()
_sharing = threading.RLock()


def spool_of(outbox: str, clock: Clock, rng: Rng | None) -> Spool:
    """Returns the spool of this process for the outbox file `outbox`. All recorders of one app
    share it. Its files are closed when the last of them is gone."""
    # Recorders with a clock or random numbers of their own, as in tests, have their own spool.
    key = (outbox, 0 if type(clock) is Clock else id(clock), 0 if rng is None else id(rng))
    with _sharing:
        found = _shared.get(key)
        if found is None:
            found = _shared[key] = Spool(outbox, clock=clock, rng=rng)
        return found


def _after_in_child() -> None:
    global _sharing
    _sharing = threading.RLock()
    for spool in list(_spools):
        spool.forked()


os.register_at_fork(after_in_child=_after_in_child)

"""Opens the file of an aggregator, whatever state it is in.

A file that another program has open: the aggregator collects into a side file until it is free, and
then takes the side file over. A damaged file is set aside, and a new one takes its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from methrics.aggregate.parquet.manifest import MANIFEST
from methrics.aggregate.read.dataset import open_files
from methrics.aggregate.read.live_file import lock_beside
from methrics.aggregate.restore.restore import Restored, restore
from methrics.aggregate.store.batch import Batch
from methrics.aggregate.store.duck import FileBusyError, open_writer, translated_errors
from methrics.aggregate.store.parts import directory_beside
from methrics.aggregate.store.read_all import read_all
from methrics.aggregate.store.set_aside import (
    DAMAGED,
    is_ours,
    lent_log,
    refuse_foreign,
    remove_file,
    set_aside,
)
from methrics.aggregate.store.store import Store
from methrics.node.clock import Clock
from methrics.node.process.lock import FileLock
from methrics.schema.catalog.catalog import load
from methrics.schema.errors import CatalogError, StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.shard import WHOLE, Shard

ASKED_FOR = 0.05
"""Seconds after which the lock is tried once more."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The event that another program has the file open, so that `side` is written instead."""

    path: Path
    side: Path
    message: str

    def line(self) -> str:
        """Return it in words."""
        return f"{self.message}; until it is free, reports go to {self.side}"


@dataclass(frozen=True, slots=True)
class SetAside:
    """The event that a damaged file was set aside."""

    path: Path
    aside: Path
    message: str

    def line(self) -> str:
        """Return it in words."""
        return f"{self.message}: it is now {self.aside}, and a new file takes its place"


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The event that the items of another file or directory were taken over."""

    source: Path
    taken: Restored

    def line(self) -> str:
        """Return it in words."""
        taken = self.taken
        refused = f", refused {taken.refused.total()}" if taken.refused else ""
        unread = f"; not readable: {'; '.join(taken.unreadable)}" if taken.unreadable else ""
        return f"took {taken.reports} reports over from {self.source}{refused}{unread}"


Opening = Busy | SetAside | TakenOver


@dataclass(frozen=True, slots=True)
class Opened:
    """The store to write to, and whether it is the side file."""

    store: Store
    side: bool


@contextmanager
def only_aggregator(path: Path) -> Iterator[None]:
    """Keep other aggregators off the file `path`, until the block or the process ends.

    A file of another program is refused before anything is written beside it: the lock stays for
    good. Raises StoreError `aggregator-running`, and those of `translated_errors`.
    """
    lock = FileLock(str(lock_beside(path)))
    with translated_errors(path):
        if not path.parent.is_dir():
            raise StoreError(
                "store-missing", f"there is no folder {path.parent}", "make it, or name another"
            )
        if not Path(lock.path).exists():
            refuse_foreign(path, directory_beside(path))
        if not _acquired(lock):
            raise StoreError(
                "aggregator-running",
                f"another aggregator{_number(lock.path)} writes {path}",
                "name another file, or stop it",
            )
        lock.write(f"{os.getpid()}\n")
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock) -> bool:
    """Take the lock if it is free. Who asks whether an aggregator runs has it for a moment."""
    if not lock.try_acquire():
        Clock().sleep(ASKED_FOR)
    return lock.try_acquire()


def _number(path: str) -> str:
    try:
        return f" (process {int(Path(path).read_text())})"
    except (OSError, ValueError):
        return ""


def side_of(path: Path) -> Path:
    """Return the side file of a file, such as `metrics.side.duckdb` of `metrics.duckdb`."""
    return path.with_name(f"{path.stem}.side{path.suffix}")


def open_file(
    path: Path,
    now: int,
    say: Callable[[Opening], None],
    damage: StoreError | None = None,
    shard: Shard = WHOLE,
    own: bytes | None = None,
) -> Opened:
    """Open the file `path` of a shard, or its side file while another program has it open. `own` is
    the aggregator's public key, if it has one: a new file keeps the manifests that it has signed.

    `damage` is the error that was found in the file while it was written. `now` is in Unix seconds.
    `say` is called for each thing that an operator should know of. The caller closes the store.
    Raises StoreError if no file can be written.
    """
    try:
        if damage is not None:
            raise damage
        store = _open_whole(path, shard)
    except FileBusyError as error:
        return _open_side(path, now, say, error, shard)
    except StoreError as error:
        directory = directory_beside(path)
        damaged = error.code == DAMAGED or (error.code == "store-foreign" and path.is_file())
        if not damaged or not is_ours(path, directory):
            raise
        aside = set_aside(path, directory, now)
        say(SetAside(path, aside, error.message))
        store = Store(path, shard)
        with _closed_on_error(store):
            _take_from(directory_beside(aside), store, now, say, own)
            with lent_log(aside):
                _take_from(aside, store, now, say, own)
    with _closed_on_error(store):
        _merge_side(path, store, now, say)
    return Opened(store, side=False)


def _open_whole(path: Path, shard: Shard) -> Store:
    """Open a file of which all can be read. Raises StoreError."""
    store = Store(path, shard)
    with _closed_on_error(store):
        read_all(store)
    return store


def is_free(path: Path) -> bool:
    """Tell whether no other program has the file open. Any other problem counts as free."""
    try:
        open_writer(path).close()
    except FileBusyError:
        return False
    except StoreError:
        return True
    return True


def _open_side(
    path: Path, now: int, say: Callable[[Opening], None], busy: FileBusyError, shard: Shard
) -> Opened:
    side = side_of(path)
    store = Store(side, shard)
    with _closed_on_error(store):
        _seed(directory_beside(path), store, now)
    say(Busy(path, side, busy.message))
    return Opened(store, side=True)


def _seed(directory: Path, store: Store, now: int) -> None:
    """Give `store` the catalogs and records of a Parquet directory, if it can be read."""
    book, first = CatalogBook(), list[Accepted]()
    try:
        with open_files(directory, partial=True, salvage=True) as dataset:
            raws = [raw for (raw,) in dataset.rows("SELECT raw FROM catalog ORDER BY n")]
            for raw in raws:
                book.add(load(raw), given=True)
            raws += [raw for (raw,) in dataset.rows("SELECT raw FROM record ORDER BY time, id")]
    except (StoreError, CatalogError):
        return
    for raw in raws:
        verdict = judge(raw, book, now, live=False)
        if isinstance(verdict, Accepted):
            learn(verdict, book)
            first.append(verdict)
    store.commit(Batch(now, first))


def _merge_side(path: Path, store: Store, now: int, say: Callable[[Opening], None]) -> None:
    """Take the side file over, if there is one, and remove it when all of it is on disk."""
    side = side_of(path)
    beside = directory_beside(side)
    if not side.exists():
        _merge_left(side, beside, store, now, say)
        return
    if side.is_file() and not side.stat().st_size:
        with translated_errors(side):
            side.unlink()  # left by a process that was killed when it made the file
        return
    try:
        Store(side).close()  # merges its log
    except StoreError as error:
        if error.code != DAMAGED:
            raise
        aside = set_aside(side, beside, now)
        say(SetAside(side, aside, error.message))
        with lent_log(aside):
            _take_from(aside, store, now, say)
        return
    with open_files(side, salvage=True) as dataset:
        taken = restore(dataset, store, lambda: now)
    say(TakenOver(side, taken))
    if taken.unreadable:
        set_aside(side, beside, now)
        return
    with translated_errors(side):
        remove_file(side)
        _remove_parquet(beside)


def _merge_left(
    side: Path, beside: Path, store: Store, now: int, say: Callable[[Opening], None]
) -> None:
    """Remove the Parquet of a side file that was removed: the process was killed before the rest.
    If its manifest is still there, perhaps somebody else has removed the file, so it is taken over
    first."""
    if (beside / MANIFEST).is_file() and _take_from(beside, store, now, say).unreadable:
        set_aside(side, beside, now)
        return
    with translated_errors(beside):
        _remove_parquet(beside)


def _remove_parquet(directory: Path) -> None:
    if directory.is_symlink():
        directory.unlink()  # never what somebody's link leads to
        return
    (directory / MANIFEST).unlink(missing_ok=True)  # first: without it nothing is taken over
    shutil.rmtree(directory, ignore_errors=True)


def _take_from(
    source: Path,
    store: Store,
    now: int,
    say: Callable[[Opening], None],
    own: bytes | None = None,
) -> Restored:
    """Take over what can be read of a damaged file or its directory."""
    if not source.exists():
        return Restored()
    try:
        dataset = open_files(source, partial=True, salvage=True)
    except StoreError as error:
        taken = Restored(unreadable=[error.message])
    else:
        with dataset:
            taken = restore(dataset, store, lambda: now, own=own)
    say(TakenOver(source, taken))
    return taken


@contextmanager
def _closed_on_error(store: Store) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(StoreError):
            store.close()
        raise

"""Finds the apps that a person can decide about, by the catalogs installed and in outboxes.

A package may install its app's signed catalog in `methrics/catalogs/` of a data folder
(XDG_DATA_DIRS, such as /usr/share). `methrics consent` then lists the app before it has recorded
anything. Outboxes hold the catalogs of apps that were allowed to record.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping

from methrics.node.clock import Clock
from methrics.node.outbox.found import namespaces_here, read_catalogs
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths, namespace_of
from methrics.node.process.regular import read_regular
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.catalog.event_type import EventType
from methrics.schema.errors import CatalogError, StoreError
from methrics.schema.wire.limits import ITEM_MAX

DATA_DIRS = "/usr/local/share:/usr/share"
"""Data folders of the system's packages, unless XDG_DATA_DIRS is set."""


def known_catalogs(paths: Paths, env: Mapping[str, str] = os.environ) -> list[Catalog]:
    """Returns the newest catalog of each app that is found, sorted by the app's name. Catalogs that
    cannot be read or verified are left out. If METHRICS_HOME or `paths.home` is set, only that
    folder is searched.
    """
    newest: dict[str, Catalog] = {}
    for catalog in [*_installed(paths, env), *_recorded(paths)]:
        name = namespace_of(catalog.label, catalog.short_key)
        if name not in newest or newest[name].number < catalog.number:
            newest[name] = catalog
    return [newest[name] for name in sorted(newest)]


def newest_types(outbox: str, clock: Clock) -> Callable[[], Mapping[str, EventType]]:
    """Returns a function that reads, at each call, the event types of the newest catalog in
    `outbox`. It returns no types if there is no outbox or it cannot be read. It verifies each
    catalog only once."""
    loaded: dict[int, Catalog] = {}

    def newest() -> Mapping[str, EventType]:
        nonlocal loaded
        journal = Journal(outbox, clock=clock)
        if not journal.exists():
            return {}
        try:
            loaded = read_catalogs(journal, loaded)
        except StoreError:
            return {}
        finally:
            journal.close(settle=False)  # a publisher asks before each step
        return max(loaded.values(), key=lambda one: one.number).types if loaded else {}

    return newest


def _installed(paths: Paths, env: Mapping[str, str]) -> Iterator[Catalog]:
    folders = [os.path.join(paths.data, "catalogs")]
    if paths.home is None:
        system = (env.get("XDG_DATA_DIRS") or DATA_DIRS).split(os.pathsep)
        folders += [
            os.path.join(one, "methrics", "catalogs") for one in system if os.path.isabs(one)
        ]
    for folder in folders:
        for name in _names(folder):
            if name.endswith(".cbor"):
                with contextlib.suppress(OSError, CatalogError):
                    yield load(read_regular(os.path.join(folder, name), ITEM_MAX + 1))


def _recorded(paths: Paths) -> Iterator[Catalog]:
    try:
        recorded = namespaces_here(paths)
    except OSError:
        return
    for name in recorded:
        journal = Journal(paths.outbox(name))
        try:
            yield from read_catalogs(journal).values()
        except StoreError:
            continue
        finally:
            journal.close()


def _names(folder: str) -> Iterable[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return ()

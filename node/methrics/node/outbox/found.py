"""Finds the outboxes of a person on this machine, and reads the catalogs in one of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from typing import Protocol

from methrics.node.paths import Paths
from methrics.node.spool.records import catalog_number
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError, ConfigError


class HasCatalogs(Protocol):
    """The one method of a journal that `read_catalogs` calls."""

    def catalogs(self) -> Mapping[int, bytes]: ...


def namespaces_here(paths: Paths) -> list[str]:
    """Returns the namespaces that have an outbox on this machine, sorted by name.

    Raises OSError if the folder cannot be read: it would be wrong to say that nothing is in it.
    """
    try:
        names = os.listdir(paths.data)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if os.path.exists(paths.outbox(name)))


def choose_namespaces(paths: Paths, chosen: Collection[str] = ()) -> list[str]:
    """Returns the `chosen` namespaces, sorted by name; all of `namespaces_here` if none is chosen.

    Raises ConfigError `unknown-namespace` for a chosen namespace without an outbox.
    """
    known = namespaces_here(paths)
    if unknown := sorted(set(chosen) - set(known)):
        raise ConfigError(
            "unknown-namespace",
            f"nothing was recorded here under the name {', '.join(unknown)}",
            f"recorded here: {', '.join(known) or 'nothing'}",
        )
    return [name for name in known if name in chosen] if chosen else known


def read_catalogs(
    journal: HasCatalogs, known: Mapping[int, Catalog] | None = None
) -> dict[int, Catalog]:
    """Returns the verified catalogs in an outbox, by their `catalog_number`.

    `known`: catalogs that an earlier call returned, which are not verified again. A catalog that
    cannot be read is left out. Raises StoreError as the journal does.
    """
    found: dict[int, Catalog] = {}
    for number, raw in journal.catalogs().items():
        if known is not None and number in known:
            found[number] = known[number]
            continue
        with contextlib.suppress(CatalogError):
            catalog = load(raw)
            if catalog_number(catalog.id) == number:
                found[number] = catalog
    return found

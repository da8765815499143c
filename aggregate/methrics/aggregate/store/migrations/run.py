"""Brings a file of an older layout to this program's layout.

Each migration is one transaction: a file whose migration was interrupted opens again as it was. A
migration may only read what its own layout has, so it names columns and tables itself and uses
nothing that later layouts change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from methrics.aggregate.store.duck import Connection
from methrics.aggregate.store.migrations.to_4 import to_4
from methrics.aggregate.store.tables import LAYOUT_VERSION
from methrics.schema.errors import StoreError

MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {3: to_4}
"""layout -> the migration to the next layout, run inside a transaction"""


def migrate(con: Connection, path: Path, layout: int) -> None:
    """Bring the file `path`, the current database of `con`, from `layout` to LAYOUT_VERSION.

    Raises StoreError `store-version` if that cannot be done; the file is as it was. Errors of
    DuckDB and of damaged rows are raised as they are, with no transaction committed by half.
    """
    if layout not in MIGRATIONS:
        raise wrong_version(path, layout)
    while layout < LAYOUT_VERSION:
        con.execute("BEGIN")
        try:
            MIGRATIONS[layout](con)
            layout += 1
            con.execute("UPDATE meta SET layout = ?", [layout])
        except BaseException:
            con.execute("ROLLBACK")
            raise
        con.execute("COMMIT")


def wrong_version(path: Path, layout: int) -> StoreError:
    """Return the error that the file `path` has a `layout` that this program cannot read."""
    has = f"{path} has layout {layout}, this program {LAYOUT_VERSION}"
    if layout in MIGRATIONS:
        hint = f"`methrics aggregate {path}` brings it to this layout"
    elif layout > LAYOUT_VERSION:
        hint = "it is newer: install the version of methrics that wrote it"
    else:
        hint = "it is too old to be brought to this layout: collect again into another file"
    return StoreError("store-version", has, hint)

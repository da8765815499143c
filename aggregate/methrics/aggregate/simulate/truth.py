"""Writes the truth of a simulation: a DuckDB file of tables to compare the data set with.

`install`, `consent`, `active`, `session`, `event` and `answer` describe what people did, with or
without consent. `report`, `unsent` and the view `lost` describe the fate of their reports, `attack`
the items of attackers, `run` the settings. docs/simulate.md explains every column.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.simulate.settings import DAY, Settings
from methrics.aggregate.store.duck import Connection, name, open_writer, translated_errors

if TYPE_CHECKING:
    from methrics.aggregate.simulate.population import Profile

_INT, _TEXT, _BOOL = pa.int32(), pa.string(), pa.bool_()
_DAY, _TIME = pa.date32(), pa.timestamp("s")

TABLES: Mapping[str, Mapping[str, pa.DataType]] = {
    "install": {
        "n": _INT,
        "person": _INT,
        "kind": _TEXT,
        "first_day": _DAY,
        "last_day": _DAY,
        "os": _TEXT,
        "country": _TEXT,
        "zone": _TEXT,
        "language": _TEXT,
        "variant": _TEXT,
        "browser": _TEXT,
        "screen": _INT,
        "opted_in": _BOOL,
        "skew": _INT,
    },
    "consent": {"install": _INT, "type": _TEXT, "fields": pa.list_(_TEXT)},
    "active": {"install": _INT, "day": _DAY, "version": _TEXT, "sessions": _INT},
    "session": {
        "install": _INT,
        "day": _DAY,
        "time": _TIME,
        "version": _TEXT,
        "variant": _TEXT,
        "email_type": _TEXT,
        "new_account": _BOOL,
        "steps": pa.list_(_TEXT),
        "seconds": pa.list_(_INT),
    },
    "event": {
        "install": _INT,
        "day": _DAY,
        "type": _TEXT,
        "module": _TEXT,
        "backend": _TEXT,
        "n": _INT,
    },
    "answer": {"install": _INT, "type": _TEXT, "field": _TEXT, "value": _TEXT},
    "report": {
        "id": pa.binary(),
        "install": _INT,
        "type": _TEXT,
        "time": _TIME,
        "made": _TIME,
        "sent": _TIME,
        "arrived": _TIME,
        "raw": pa.binary(),
    },
    "unsent": {"install": _INT, "type": _TEXT, "day": _DAY, "why": _TEXT, "items": _INT},
    "attack": {"kind": _TEXT, "day": _DAY, "reason": _TEXT, "items": _INT},
    "run": {"name": _TEXT, "value": _TEXT},
}
"""Tables and their columns. The bytes of a report (`raw`) are in the data set. The truth has its
`fate` instead: stored, lost, or the reason why it was refused."""


class Columns:
    """The rows of one table, column by column."""

    def __init__(self, table: str) -> None:
        self._schema = TABLES[table]
        self._cells: list[list[object]] = [[] for _ in self._schema]

    def __len__(self) -> int:
        return len(self._cells[0])

    def add(self, *row: object) -> None:
        """Add a row. Days count from 1970-01-01; times are in Unix seconds."""
        for cells, cell in zip(self._cells, row, strict=True):
            cells.append(cell)

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        columns = zip(self._schema.items(), self._cells, strict=True)
        return pa.table({name: pa.array(cells, kind) for (name, kind), cells in columns})


class Rows:
    """The rows of all tables, filled while installs run."""

    def __init__(self) -> None:
        self._columns = {table: Columns(table) for table in TABLES}
        self.active = self._columns["active"]
        self.session = self._columns["session"]
        self.event = self._columns["event"]
        self.answer = self._columns["answer"]
        self.report = self._columns["report"]
        self.unsent = self._columns["unsent"]

    def install(self, one: Profile, settings: Settings) -> None:
        """Add an install and the consent of its owner."""
        end = settings.start // DAY + settings.days
        self._columns["install"].add(
            one.n,
            one.person,
            one.kind,
            one.first_day,
            one.last_day if one.last_day < end else None,
            one.os,
            one.zone.country,
            one.zone.name,
            one.language,
            one.variant,
            one.browser,
            one.screen,
            bool(one.consent),
            one.skew,
        )
        for type_name, fields in sorted(one.consent.items()):
            self._columns["consent"].add(one.n, type_name, sorted(fields) if fields else None)

    def arrow(self) -> dict[str, pa.Table]:
        """Return every table that has rows."""
        return {table: columns.arrow() for table, columns in self._columns.items() if len(columns)}


_LOST = """
CREATE VIEW lost AS
SELECT install, type, "time"::DATE AS day, fate, count(*) AS items
FROM report WHERE fate <> 'stored' GROUP BY ALL
"""


def write(
    path: Path,
    parts: Iterable[Mapping[str, pa.Table]],
    fates: Mapping[str, Iterable[bytes]],
) -> None:
    """Write the truth file from the tables of all installs, attacks and settings.

    `fates` maps each fate to the ids of reports that are not stored. Raises StoreError.
    """
    con = open_writer(path)
    try:
        with translated_errors(path):
            tables: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
            for part in parts:
                for table, rows in part.items():
                    tables[table].append(rows)
            for table, pieces in tables.items():
                empty = Columns(table).arrow()
                _make(con, table, pa.concat_tables([empty, *pieces]), fates)
            con.execute(_LOST)
            con.execute("CHECKPOINT")
    finally:
        con.close()


def _make(
    con: Connection, table: str, rows: pa.Table, fates: Mapping[str, Iterable[bytes]]
) -> None:
    if table == "report":
        rows = rows.drop_columns(["raw"])
    con.register("incoming", rows)
    if table == "report":
        pairs = [(item_id, fate) for fate, ids in fates.items() for item_id in ids]
        con.register(
            "fated",
            pa.table(
                {
                    "id": pa.array([pair[0] for pair in pairs], pa.binary()),
                    "fate": pa.array([pair[1] for pair in pairs], _TEXT),
                }
            ),
        )
        con.execute(
            "CREATE TABLE report AS SELECT i.*, coalesce(f.fate, 'stored') AS fate "
            "FROM incoming i LEFT JOIN fated f USING (id) ORDER BY arrived, id"
        )
        con.unregister("fated")
    else:
        con.execute(f"CREATE TABLE {name(table)} AS SELECT * FROM incoming")
    con.unregister("incoming")


def digest(path: Path) -> str:
    """Compute a digest of all rows of the file, whatever their order. Raises StoreError."""
    state = hashlib.sha256(b"methrics/1 truth")
    con = open_writer(path)
    try:
        with translated_errors(path):
            for table in TABLES:
                state.update(table.encode())
                found = con.sql(f"SELECT t::VARCHAR AS row FROM {name(table)} t ORDER BY row")
                for batch in found.to_arrow_reader(100_000):
                    for row in batch.column(0).to_pylist():
                        state.update(row.encode() + b"\n")
    finally:
        con.close()
    return state.hexdigest()

"""The data dictionary inside the file: what its types, columns and bucket numbers mean."""

from __future__ import annotations

from methrics.aggregate.duck import Connection
from methrics.aggregate.layout import CatalogEntry, column_name


def describe(con: Connection, entry: CatalogEntry) -> None:
    """Write what the tables `type`, `field` and `code` say about a catalog, in one transaction."""
    known = {n for (n,) in con.execute("SELECT n FROM type").fetchall()}
    types, fields, codes = [], [], []
    for event_type in entry.catalog.types.values():
        table = entry.tables[event_type.name]
        if table.n not in known:
            row = (table.n, table.schema, table.type, table.table, table.kind, table.question)
            types.append(row)
        for field in event_type.fields:
            column = column_name(field.name)
            about = (field.name, column, field.type, field.source, field.says)
            fields.append((entry.n, table.n, *about))
            if field.type == "bucket":
                codes += [
                    (entry.n, table.n, field.name, value, field.label(value))
                    for value in range(field.domain)
                ]
    for target, rows in (("type", types), ("field", fields), ("code", codes)):
        if rows:
            places = ", ".join("?" * len(rows[0]))
            con.executemany(f"INSERT INTO {target} VALUES ({places})", rows)

"""The ready-made views as people find them in `views.duckdb`, which they open with any DuckDB tool.

The macros and views are those of `open_dataset` with the default floor and without known totals.
"""

from __future__ import annotations

from methrics.aggregate.read import views
from methrics.aggregate.read.shapes import read_shapes
from methrics.aggregate.read.totals import FLOOR
from methrics.aggregate.store.duck import Connection, name, translated_query_errors

_KNOWN = (
    "CREATE VIEW known AS SELECT NULL::DATE AS day, ''::VARCHAR AS field, ''::VARCHAR AS value, "
    "0::BIGINT AS installs WHERE false"
)


def make_ready_views(con: Connection) -> None:
    """Create the macros and ready-made views in the current database of `con`, which has a view for
    each table, in one transaction. Raises StoreError, and then nothing of it is there."""
    with translated_query_errors():
        present = {
            table if schema == "main" else f"{schema}.{table}"
            for schema, table in con.execute(
                "SELECT schema_name, view_name FROM duckdb_views() "
                "WHERE database_name = current_database() AND NOT internal"
            ).fetchall()
        }
        shapes = read_shapes(con, present)
        con.execute("BEGIN")
        try:
            con.execute(views.SHOWN.format(floor=FLOOR))
            con.execute(_KNOWN)
            for view in [*views.fitting(shapes), *views.facts()]:
                if view.full not in present:
                    con.execute(f"CREATE VIEW {name(view.schema, view.name)} AS {view.sql.view}")
            con.execute("COMMIT")
        except BaseException:
            con.execute("ROLLBACK")
            raise

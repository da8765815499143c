"""Tells fast which items of a batch are new, without reading the ids of all stored items.

A temporary table keeps a mark of 8 bytes, a hash of the id, of each item that is or was in the
file. It is made when the file is opened. Only items whose mark is there are looked up by their ids:
rows of duplicates. Marks of deleted items stay until then, and cost such a look-up at most.
"""

from __future__ import annotations

from methrics.aggregate.store.duck import Connection, moment


class Marks:
    """The marks of the table `item`. `con` is the writer's connection; any other has none.

    `find` and `add` read the rows that are registered as `incoming`: time and id, and for `find`
    their position i.
    """

    def __init__(self, con: Connection) -> None:
        self._con = con
        con.execute("CREATE OR REPLACE TEMP TABLE mark AS SELECT time, hash(id) AS mark FROM item")

    def find(self, first: int, last: int) -> list[tuple[int]]:
        """Return the positions of the incoming rows that the table `item` has. Their times are from
        `first` to `last` (Unix seconds)."""
        maybe = self._con.execute(
            "SELECT DISTINCT b.i FROM incoming b JOIN temp.mark m ON m.mark = hash(b.id) "
            f"WHERE m.time >= {moment(first)} AND m.time <= {moment(last)}"
        ).fetchall()
        if not maybe:
            return []
        return self._con.execute(
            "SELECT b.i FROM incoming b JOIN item x ON x.time = b.time AND x.id = b.id "
            "WHERE list_contains(?, b.i)",
            [[i for (i,) in maybe]],
        ).fetchall()

    def add(self) -> None:
        """Add the marks of the incoming rows, in the caller's transaction."""
        self._con.execute("INSERT INTO temp.mark SELECT time, hash(id) FROM incoming")

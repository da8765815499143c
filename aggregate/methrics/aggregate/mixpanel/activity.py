"""Loads an export into a table for SQL, with only the properties that a catalog declares.

The table is `did(n, person, event, type, step, time, day, raw, own, sign)`. `person` is a hash or
NULL. `type` and `step` are derived from the event's name. `time` is in Unix seconds, `day` in the
project's time zone. `raw` is a JSON object of the declared properties. `own` and `sign` are JSON
objects of the same properties as values of the catalog: `own` for the event's type, `sign` for the
types that count any activity. An event that Mixpanel would treat as a duplicate is stored once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa  # type: ignore[import-untyped]

from methrics.aggregate.mixpanel.export import Tracked, hashed, read_export
from methrics.aggregate.mixpanel.sketch import USUAL
from methrics.aggregate.store.duck import Connection, literal, memory
from methrics.node.bridges.declared import fitting
from methrics.node.bridges.naming import field_name, type_name
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType

BATCH = 10_000
"""Number of events that are inserted at a time."""
MEMORY = "1GB"
"""Limit on DuckDB's buffer memory. A larger export uses files in a temporary folder."""

_LOADED = pa.schema(
    [
        *(("n", pa.int64()), ("person", pa.uint64()), ("event", pa.string())),
        *(("type", pa.string()), ("step", pa.string()), ("time", pa.int64())),
        *(("insert_id", pa.uint64()), ("raw", pa.string())),
        *(("own", pa.string()), ("sign", pa.string())),
    ]
)

# docs.mixpanel.com/reference/event-deduplication, "query time": of events with the same four
# values, Mixpanel uses the newest. An event without an insert id is never a duplicate.
_DID = """
CREATE TABLE did AS
SELECT * EXCLUDE (insert_id),
    (make_timestamptz(time * 1000000) AT TIME ZONE {zone})::DATE AS day
FROM loaded {only}
QUALIFY insert_id IS NULL
    OR row_number() OVER (PARTITION BY event, person, time, insert_id ORDER BY n DESC) = 1
"""


class Plan(NamedTuple):
    """A catalog, prepared for the events of an export."""

    catalog: Catalog
    signs: list[EventType]
    """The types that count any activity: states with a field that the node fills in."""
    sequences: list[EventType]

    def own(self, event: str) -> EventType | None:
        """Return the catalog's type for the Mixpanel event called `event`, which must be of kind
        event or count. None if the catalog has no such type."""
        known = self.catalog.types.get(type_name(event) or "")
        return known if known is not None and known.kind in ("event", "count") else None

    def step(self, event: str) -> str | None:
        """Return the name of the step that the Mixpanel event called `event` becomes; None if no
        sequence of the catalog has such a step."""
        name = type_name(event)
        for one in self.sequences:
            if one.sequence is not None and name in one.sequence.steps:
                return name
        return None


def plan(catalog: Catalog) -> Plan:
    """Find the types of a catalog that can be compared with Mixpanel."""
    types = list(catalog.types.values())
    signs = [one for one in types if any(field.source is not None for field in one.fields)]
    return Plan(catalog, signs, [one for one in types if one.kind == "sequence"])


def load(
    file: IO[bytes],
    how: Plan,
    refused: Counter[str],
    *,
    zone: ZoneInfo,
    local: bool,
    people: int | None = None,
    spill: Path | None = None,
    tell: Callable[[int], object] = lambda _: None,
) -> Connection:
    """Load an export into a new database with the table `did`.

    `refused` counts the lines that are not events, by reason, and the duplicates as `repeated`.
    `zone` is the project's time zone; with `local`, the times in the file are in it, too. `people`
    limits the number of people: they are drawn at random, and events of other people or without a
    person are left out. `spill` is a folder for data that does not fit into memory. `tell` is
    called after each batch with the number of events read.
    """
    con = memory()
    con.execute(f"SET memory_limit = '{MEMORY}'")
    if spill is not None:
        con.execute(f"SET temp_directory = {literal(spill)}")
    con.execute("SET TimeZone = 'UTC'")
    con.register("incoming", _LOADED.empty_table())
    con.execute("CREATE TABLE loaded AS FROM incoming")
    con.unregister("incoming")
    read = read_export(file, refused, local=zone if local else None)
    done = 0
    while batch := list(islice(read, BATCH)):
        columns = zip(*(_row(done + n, one, how) for n, one in enumerate(batch)), strict=True)
        con.register("incoming", pa.table(list(map(list, columns)), schema=_LOADED))
        con.execute("INSERT INTO loaded FROM incoming")
        con.unregister("incoming")
        done += len(batch)
        tell(done)
    if people is not None:
        # A person's number is a hash, so the lowest numbers are a random sample.
        chosen = f"(SELECT DISTINCT person FROM loaded ORDER BY person LIMIT {people})"
        done = _one(con, f"SELECT count(*) FROM loaded WHERE person IN {chosen}")
        con.execute(_DID.format(zone=literal(zone.key), only=f"WHERE person IN {chosen}"))
    else:
        con.execute(_DID.format(zone=literal(zone.key), only=""))
    refused["repeated"] = done - _one(con, "SELECT count(*) FROM did")
    con.execute("DROP TABLE loaded")
    return con


def _one(con: Connection, sql: str) -> int:
    return int(con.execute(sql).fetchall()[0][0])


def _row(n: int, one: Tracked, how: Plan) -> tuple[object, ...]:
    own, step = how.own(one.event), how.step(one.event)
    types = [known for known in (own, *how.signs) if known is not None]
    types += [known for known in how.sequences if step is not None]
    raw: dict[str, object] = {}
    for key, value in one.properties.items():
        name = USUAL.get(key) or field_name(key)
        if name is None or isinstance(value, dict | list) or name in raw:
            continue
        if any(known.field(name) is not None for known in types):
            raw[name] = value
    return (
        n,
        one.person,
        one.event.encode("utf-8", "replace").decode(),
        own.name if own is not None else None,
        step,
        one.time,
        hashed(one.insert_id) if one.insert_id else None,
        json.dumps(raw),
        json.dumps(_said(raw, [own] if own is not None else [])),
        json.dumps(_said(raw, how.signs)),
    )


def _said(raw: dict[str, object], types: Iterable[EventType]) -> dict[str, str]:
    """Convert properties to values of the catalog, as a column of a data set shows them."""
    said = {}
    for known in types:
        for field in known.fields:
            if field.source is None and (value := fitting(field, raw.get(field.name))) is not None:
                wire = field.coerce(value)
                said[field.name] = str(wire).lower() if isinstance(wire, bool) else str(wire)
    return said

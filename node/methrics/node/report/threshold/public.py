"""Summaries of public data on this machine: how often each combination of values was reported.

A summary has one table for each event type. A table counts the reports or people for each
combination, without any times. Only reports that arrived on several days count (`crowd.lasting`),
because anyone can invent many reports in a day. `methrics threshold remember FILE` makes the
summary from a public data set. It is stored as readable JSON, so the meter needs no network before
a report is sent.

    {"version": 2, "namespace": "example-x7...", "source": "metrics.duckdb", "made": 1800000000,
     "types": {"heartbeat": {"unit": "people", "period": "the month 2026-09", "others": 1210,
                             "names": ["version", "os"], "rows": [[["1.2", "linux"], 311], ...]}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from methrics.node.report.threshold.crowd import PEOPLE, REPORTS
from methrics.schema.catalog.fields import Wire
from methrics.schema.errors import StoreError

VERSION = 2
"""Version of the file. In version 1, the reports of a single day counted in full."""

ROWS_MAX = 20_000
"""Most combinations stored for each event type; those with the smallest crowds are left out. They
count as 0, so the only effect is that more reports are withheld."""

Row = tuple[Wire | None, ...]
"""The parts of a report in the order of a table's names. None: the part was not shared."""


@dataclass(frozen=True, slots=True)
class Table:
    """How often others reported each row, without floods. `unit`: reports or people. `period`: the
    period of the data, in words."""

    names: tuple[str, ...]
    rows: Mapping[Row, int]
    others: int
    """How many reports or people there are in all, in the rows and besides."""
    unit: str = REPORTS
    period: str = "all the data"


@dataclass(frozen=True, slots=True)
class Public:
    """The summary of one namespace's public data. `source`: the file or address of the data.
    `made`: when the summary was made (Unix seconds)."""

    namespace: str
    source: str
    made: int
    types: Mapping[str, Table]


def table(
    names: tuple[str, ...], rows: Mapping[Row, int], unit: str = REPORTS, period: str = ""
) -> Table:
    """Returns a table with the ROWS_MAX most frequent of `rows`."""
    kept = dict(sorted(rows.items(), key=lambda row: (-row[1], repr(row[0])))[:ROWS_MAX])
    return Table(names, kept, sum(rows.values()), unit, period or "all the data")


def to_json(public: Public) -> dict[str, object]:
    """Returns the summary as the JSON document of its file."""
    return {
        "version": VERSION,
        "namespace": public.namespace,
        "source": public.source,
        "made": public.made,
        "types": {
            name: {
                "unit": one.unit,
                "period": one.period,
                "others": one.others,
                "names": list(one.names),
                "rows": [[list(row), count] for row, count in one.rows.items()],
            }
            for name, one in public.types.items()
        },
    }


def from_json(document: Any) -> Public:
    """Returns the summary in a file's JSON document.

    Raises StoreError `public-damaged` for any other document."""
    try:
        _must(isinstance(document, dict))
        if document["version"] == 1:
            raise public_damaged("an earlier version made it")
        _must(document["version"] == VERSION)
        types = {str(name): _table(entry) for name, entry in document["types"].items()}
        return Public(
            _text(document["namespace"]), _text(document["source"]), _whole(document["made"]), types
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise public_damaged("unexpected content") from error


def public_damaged(what: str) -> StoreError:
    """Returns the error for a summary that cannot be read. `what`: the cause."""
    return StoreError(
        "public-damaged",
        f"the summary of the public data cannot be read: {what}",
        "make it again with `methrics threshold remember FILE`",
    )


def _table(entry: Any) -> Table:
    names, rows = entry["names"], entry["rows"]
    _must(isinstance(names, list))
    _must(isinstance(rows, list))
    _must(len(rows) <= ROWS_MAX)
    found: dict[Row, int] = {}
    for parts, count in rows:
        _must(len(parts) == len(names))
        _must(all(part is None or isinstance(part, str | int) for part in parts))
        found[tuple(parts)] = _whole(count)
    unit = _text(entry["unit"])
    _must(unit in (REPORTS, PEOPLE))
    return Table(
        tuple(_text(name) for name in names),
        found,
        _whole(entry["others"]),
        unit,
        _text(entry["period"]),
    )


def _must(holds: bool) -> None:
    if not holds:
        raise ValueError("unexpected content")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("should be text")
    return value


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("should be a count")
    return value

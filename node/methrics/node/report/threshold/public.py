"""What others say, in short: the public data as it is remembered on this machine.

One table per event type: how many reports or people said each combination, without any time. It is
made from a public data set (`methrics threshold remember FILE`), kept as readable JSON, and
asked before sending, so that nobody has to be asked then.

    {"version": 1, "namespace": "example-x7...", "source": "metrics.duckdb", "made": 1800000000,
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

VERSION = 1

ROWS_MAX = 20_000
"""Combinations remembered per event type, the largest crowds first; one that is not counts as
nobody, which can only hold back more."""

Row = tuple[Wire | None, ...]
"""The parts of a report in the order of a table's names; None for one that was not shared."""


@dataclass(frozen=True, slots=True)
class Table:
    """How many others (`unit`: reports or people, over `period` in words) said each row."""

    names: tuple[str, ...]
    rows: Mapping[Row, int]
    others: int
    """All of them, with those whose row was not remembered."""
    unit: str = REPORTS
    period: str = "all the data"


@dataclass(frozen=True, slots=True)
class Public:
    """What is remembered of one namespace. `made` is when (unix seconds), `source` from which file
    or address."""

    namespace: str
    source: str
    made: int
    types: Mapping[str, Table]


def table(
    names: tuple[str, ...], rows: Mapping[Row, int], unit: str = REPORTS, period: str = ""
) -> Table:
    """A table of `rows`, bounded."""
    kept = dict(sorted(rows.items(), key=lambda row: (-row[1], repr(row[0])))[:ROWS_MAX])
    return Table(names, kept, sum(rows.values()), unit, period or "all the data")


def to_json(public: Public) -> dict[str, object]:
    """The document of the file."""
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
    """What a file holds. Raises StoreError `public-damaged` for anything else."""
    try:
        _must(isinstance(document, dict))
        _must(document["version"] == VERSION)
        types = {str(name): _table(entry) for name, entry in document["types"].items()}
        return Public(
            _text(document["namespace"]), _text(document["source"]), _whole(document["made"]), types
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            "public-damaged",
            "what was remembered of the public data cannot be read",
            "make it anew with `methrics threshold remember FILE`",
        ) from error


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

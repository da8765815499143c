"""Lists a person's own reports, finds one by its name, and exports them to a file.

Everything is read from the receipts on this machine; no network is used. An export has no keys,
because a reader of the file could erase the reports with them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from methrics.node.clock import Clock
from methrics.node.mine.own import OwnReport, read_own
from methrics.node.outbox.found import choose_namespaces, namespaces_here, read_catalogs
from methrics.node.outbox.journal import Journal
from methrics.node.paths import Paths
from methrics.schema.errors import ConfigError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split

PLAIN_FORMATS = ("cbor", "jsonl", "csv")
"""File formats of an export that need no other package."""

FORMATS = (*PLAIN_FORMATS, "parquet")
"""File formats of an export. `parquet` needs the extra `aggregate`."""

VERSION = 1
"""Version of the CBOR export."""

ID_DIGITS = 12
"""How many hex digits of a report's id are shown, which are enough to identify it."""


def set_aside(paths: Paths) -> list[str]:
    """Returns the paths of outboxes that were damaged and renamed (`outbox.database`). The reports
    in them cannot be listed.

    Call this after the outboxes were read, because reading them finds the damage.
    """
    found = [f"{paths.outbox(namespace)}.damaged" for namespace in namespaces_here(paths)]
    return [path for path in found if os.path.exists(path)]


def read_mine(paths: Paths, clock: Clock, chosen: Collection[str] = ()) -> list[OwnReport]:
    """Returns all own reports of the chosen namespaces (all namespaces if none is chosen), oldest
    first.

    Raises StoreError, and ConfigError `unknown-namespace`.
    """
    found: list[OwnReport] = []
    for namespace in choose_namespaces(paths, chosen):
        journal = Journal(paths.outbox(namespace), clock=clock)
        try:
            found += read_own(journal, read_catalogs(journal), namespace)
        finally:
            journal.close()
    return sorted(found, key=lambda one: (one.made, one.namespace, one.number))


def pick(found: Iterable[OwnReport], words: Iterable[str]) -> list[OwnReport]:
    """Returns the reports that `words` name. A word is the number of a report (at most five
    digits), or the first six or more digits of its id.

    Raises ConfigError `unknown-report` for a word that names no report or more than one.
    """
    found = list(found)
    chosen: dict[bytes, OwnReport] = {}
    for word in words:
        if word.isdecimal() and len(word) < 6:
            fits = [one for one in found if one.number == int(word)]
        else:
            fits = [
                one for one in found if len(word) >= 6 and one.id.hex().startswith(word.lower())
            ]
        if len(fits) != 1:
            several = "more than one report is" if fits else "no own report is"
            raise ConfigError(
                "unknown-report",
                f"{several} called {word}",
                "`methrics mine` lists ids and numbers; name the app as well with --app",
            )
        chosen[fits[0].id] = fits[0]
    return list(chosen.values())


def form_of(path: Path, forms: Collection[str] = FORMATS) -> str:
    """Returns the one of `forms` that the file's ending names, else "jsonl"."""
    ending = path.suffix[1:]
    return ending if ending in forms else "jsonl"


def encoded(found: Iterable[OwnReport], form: str) -> bytes:
    """Returns an export of `found` in one of PLAIN_FORMATS. Raises ConfigError `unknown-format` for
    another one."""
    if form == "cbor":
        return to_cbor(found)
    if form not in PLAIN_FORMATS:
        raise ConfigError(
            "unknown-format", f"no such format: {form}", f"one of {', '.join(PLAIN_FORMATS)}"
        )
    return (to_csv(found) if form == "csv" else to_jsonl(found)).encode()


def as_record(one: OwnReport) -> dict[str, object]:
    """Returns everything that this machine stores about a report. Times are Unix seconds.

    All values have JSON types, except that `id`, `key`, `catalog` and `raw`, also the `raw` of
    `erasure`, are bytes."""
    report, erasure = one.report, one.erasure
    record: dict[str, object] = {
        "app": one.namespace,
        "number": one.number,
        "type": one.receipt.type,
        "time": one.time,
        "values": dict(report.values) if report else {},
        "state": one.receipt.state,
        "left": one.may_have_left,
        "route": one.receipt.route,
        "made": one.made,
        "attempts": one.receipt.attempts,
        "id": one.id,
        "raw": one.receipt.raw,
    }
    if report is not None:
        record["catalog"] = report.catalog
        record["key"] = split(one.receipt.raw).key
        record["one_in"] = report.one_in
        if report.count is not None:
            record["count"] = report.count
        if report.sequence is not None:
            record["sequence"] = [list(step) for step in report.sequence]
    if erasure is not None:
        record["erasure"] = {
            "state": erasure.state,
            "made": erasure.made,
            "due": erasure.due,
            "attempts": erasure.attempts,
            "raw": erasure.raw,
        }
    return record


def to_cbor(found: Iterable[OwnReport]) -> bytes:
    """Returns one CBOR map with `version` and `reports`, an array of records (`as_record`)."""
    return encode({"version": VERSION, "reports": [as_record(one) for one in found]})


def to_jsonl(found: Iterable[OwnReport]) -> str:
    """Returns one JSON object (`as_record`) on each line, with bytes in hex."""
    return "".join(json.dumps(_hex(as_record(one)), ensure_ascii=False) + "\n" for one in found)


def to_csv(found: Iterable[OwnReport]) -> str:
    """Returns comma-separated values (RFC 4180) with a header line; see `to_rows`."""
    columns, rows = to_rows(found)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(["" if cell is None else _cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def to_rows(found: Iterable[OwnReport]) -> tuple[list[str], list[list[object]]]:
    """Returns column names and rows. There is a column `value.<field>` for each field that any of
    the reports has. `sequence` and `erasure` are text. A value that a report does not have is None.
    """
    records = [as_record(one) for one in found]
    fields = sorted({name for record in records for name in _mapping(record["values"])})
    fixed = [
        "app", "number", "type", "time", "utc", "state", "left", "route", "made", "attempts",
        "erasure", "count", "one_in", "sequence",
    ]  # fmt: skip
    tail = ["id", "key", "catalog", "raw"]
    rows = []
    for record in records:
        flat = {**record, "utc": _utc(record["time"]), "erasure": None, "sequence": None}
        if asked := _mapping(record.get("erasure", {})):
            flat["erasure"] = asked["state"]
        if "sequence" in record:
            flat["sequence"] = json.dumps(record["sequence"])
        values = _mapping(record["values"])
        rows.append(
            [flat.get(name) for name in fixed]
            + [values.get(name) for name in fields]
            + [flat.get(name) for name in tail]
        )
    return [*fixed, *(f"value.{name}" for name in fields), *tail], rows


def _utc(time: object) -> str:
    seconds = time if isinstance(time, int) else 0
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return value.hex() if isinstance(value, bytes) else value


def _hex(value: object) -> object:
    if isinstance(value, dict):
        return {key: _hex(one) for key, one in value.items()}
    return value.hex() if isinstance(value, bytes) else value

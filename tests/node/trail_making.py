"""People and their reports for the tests of trails, and a crowd that is a plain list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256

from methrics.node.mine.own import ReadableReport, own_reports, readable
from methrics.node.mine.trail.others import Overlap, Window, agreement
from methrics.node.outbox.rows import Receipt
from methrics.node.report.identity import NO_SALT, report_seed
from methrics.node.report.parts import Parts
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_seed, example_source
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report

SOURCE = example_source()
for shipped, finer in (("resolution = 86400\n", ""), ("[3600, 43200]", "[86400, 129600]")):
    assert SOURCE.index(shipped) < SOURCE.index("[types.system]")
    SOURCE = SOURCE.replace(shipped, finer, 1)

CATALOG = load(sign(parse_source(SOURCE), example_seed()))
"""The example catalog, but its heartbeats have a resolution of ten minutes, one a day at most."""

HEARTBEAT = CATALOG.types["heartbeat"]
NAMESPACE = "example-app"
DAY = 86_400
START = 1_788_048_000
"""2026-08-30 00:00 UTC, a Sunday."""


def report(values: Mapping[str, object], time: int, type_name: str = "heartbeat") -> Report:
    sequence = (("shown", 0), ("signed_in", 2)) if type_name == "signin" else None
    return Report(CATALOG.id, type_name, time, dict(values), None, 1, sequence)


def receipt(
    index: int, said: Report, *, state: str = "acknowledged", attempts: int = 1, key: int = -1
) -> Receipt:
    """The receipt of the report `said`. `key`: the index of another key, so that reports share
    one."""
    seed = report_seed(b"p" * 32, index if key < 0 else key, NO_SALT)
    raw = seal(Kind.REPORT, encode_report(said), seed)
    made = said.time + 900
    return Receipt(
        key_index=index,
        salt=NO_SALT,
        id=split(raw).id,
        raw=raw,
        catalog=1,
        type=said.type,
        time=said.time,
        made=made,
        due=made,
        route="relay",
        state=state,
        attempts=attempts,
    )


def own_of(*said: Report, **changes: object) -> list[ReadableReport]:
    """Own reports with the numbers 0, 1, 2, …"""
    receipts = [receipt(i, one, **changes) for i, one in enumerate(said)]  # type: ignore[arg-type]
    return readable(own_reports(receipts, {1: CATALOG}, NAMESPACE))


class Listed:
    """The `Others` of a list of (event type, time, parts)."""

    def __init__(self, *reports: tuple[str, int, Parts]) -> None:
        self.reports = reports
        self.asked = 0

    def counts_people(self, own: ReadableReport) -> str | None:
        return "month" if own.event_type.name == "heartbeat" else None

    def agreeing(
        self,
        own: ReadableReport,
        names: Sequence[str],
        *,
        window: Window | None = None,
        people: bool = False,
    ) -> Overlap:
        self.asked += 1
        found: Counter[int] = Counter()
        for type_name, time, parts in self.reports:
            if type_name != own.event_type.name or (people and parts.get("monthly") is not True):
                continue
            if window is None or window[0] <= time < window[1]:
                found[agreement(names, own.parts, parts)] += 1
        return found


def beat(os: str = "linux", version: str = "1.2", **more: object) -> dict[str, object]:
    """Values of a heartbeat."""
    flags = {"daily": True, "weekly": False, "monthly": False}
    return {"version": version, "os": os, **flags, "age": 3, **more}


def number(*parts: object) -> bytes:
    """32 bytes that depend on `parts` alone."""
    return sha256(repr(parts).encode()).digest()

"""Makes one example report for the consent screen, exactly as it would be sent.

`prepare`, which makes every report, makes the example from this machine's facts and from values
that the app provides. The key is thrown away, and the report is not stored or sent. If only real
use of the app can provide the value of a field, the field gets any value that the catalog declares,
and is listed in `made_up`.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from copy import copy
from typing import NamedTuple

from methrics.node.outbox.rows import Identity, Pending
from methrics.node.report.facts import machine_facts
from methrics.node.report.prepare import prepare
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import Field, Wire
from methrics.schema.wire.codec import encode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report

_STEPS_SHOWN = 3


class Example(NamedTuple):
    """An example report. `raw`: its bytes with the signature. `report`: its content. `made_up`: the
    fields (and "sequence") whose values are placeholders, because only the app can know them."""

    raw: bytes
    report: Report
    made_up: frozenset[str]


def example(
    catalog: Catalog,
    event_type: EventType,
    *,
    now: int,
    seed: bytes,
    values: Mapping[str, object] | None = None,
    app_version: str | None = None,
    fields: Collection[str] | None = None,
    stamped: bool = True,
) -> Example | None:
    """Returns the report of one event at `now` (Unix seconds), signed with a key derived from
    `seed` (32 bytes).

    `values`: the values that the app would record, raw or as on the wire; other fields get their
    values from this machine's facts. `fields`: the fields agreed to, None for all. `stamped`:
    whether to add the type's work stamp, which takes 2**work hashes. Returns None if
    the report would be empty or the type has expired. Raises ValueError for values that the type
    does not accept.
    """
    if not stamped and event_type.work:
        catalog, event_type = _unstamped(catalog, event_type)
    known = machine_facts(field.name for field in event_type.fields if field.source is None)
    if app_version is not None and event_type.field("version") is not None:
        known["version"] = app_version
    known |= values or {}
    wire = event_type.coerce(known)
    own = [field for field in event_type.fields if field.source is None]
    unknown = [field for field in own if field.name not in wire]
    wire |= {field.name: _stand_in(field) for field in unknown}
    made_up = {field.name for field in unknown}
    steps = None
    if event_type.sequence is not None:
        shown = event_type.sequence.steps[: min(_STEPS_SHOWN, event_type.sequence.max_steps)]
        last = event_type.sequence.buckets - 1
        steps = encode([[step, min(place, last)] for place, step in enumerate(shown)])
        made_up.add("sequence")
    total = 1 if event_type.kind == "count" else None
    row = Pending(
        table="event",
        n=0,
        catalog=0,
        type=event_type.name,
        time=now,
        due=now,
        one_in=event_type.one_in[0],
        fields=encode(wire),
        steps=steps,
        total=total,
    )
    prepared = prepare(
        [row],
        catalogs={0: catalog},
        allowed={event_type.name: None if fields is None else frozenset(fields)},
        identity=Identity(seed=seed, next_index=0, install_week=now),
        paces={},
        route="relay",
        now=now,
        rng=random.Random(0).random,
        entropy=bytes,  # zeros: `seed` is drawn for this example alone
    )
    if not prepared.made:
        return None
    raw = prepared.made[0].raw
    report = decode_report(split(raw).payload)
    left = made_up & {*report.values, "sequence"}
    return Example(raw, report, frozenset(left))


def _unstamped(catalog: Catalog, event_type: EventType) -> tuple[Catalog, EventType]:
    """Returns copies of a catalog and its type that are the same but for the work stamp."""
    catalog, event_type = copy(catalog), copy(event_type)
    event_type.work = 0
    catalog.types = {**catalog.types, event_type.name: event_type}
    return catalog, event_type


def _stand_in(field: Field) -> Wire:
    """Returns a wire value that the field declares, as a placeholder for an unknown value."""
    if field.type == "flag":
        return False
    if field.type == "version":
        return field.coerce("1.0")
    if field.type in ("bucket", "count"):
        return min(1, field.domain - 1)
    declared = field.params.get("values")
    if isinstance(declared, list) and declared:
        return str(declared[0])
    return "en" if field.type == "language" else "ZZ"

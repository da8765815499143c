"""Read a catalog's payload by the rules that every node applies; the lint uses the same code.

Only the bytes decide whether a catalog keeps to these rules. `lint` adds the checks that need
today's date, and advice that an author may ignore.
"""

from __future__ import annotations

from itertools import pairwise

from methrics.schema.catalog.event_type import (
    KINDS,
    PSEUDONYMS,
    EventType,
    Release,
    SequenceDeclaration,
)
from methrics.schema.catalog.fields import FIELDS_MAX, Field, read_field
from methrics.schema.wire.limits import (
    CONTACT_MAX,
    DELAY_MIN,
    ENTROPY_MAX,
    EVERY_MIN,
    PERIOD_MAX,
    QUESTION_MAX,
    REPORT_MAX,
    RETENTION_MAX,
    STEPS_MAX,
    TIME_STEP,
    TYPES_MAX,
    WHY_MAX,
    WORK_MAX,
)
from methrics.schema.wire.reading import (
    ABSENT,
    BAD_LINK,
    BAD_NAME,
    BROKEN_CHAIN,
    DISORDERED,
    MISPLACED,
    OUT_OF_RANGE,
    OVER_BUDGET,
    REPEATED,
    TOO_LARGE,
    TOO_MANY_CONTENTS,
    TOO_SOON,
    UNKNOWN_WORD,
    WRONG_TYPE,
    Reader,
    kind_of,
    show,
)

CHARTS = ("line", "bar", "stack", "funnel", "table")
"""Default charts. All except the funnel may name a field, as in `stack:os`."""

NUMBER_MAX = 2**32 - 1
TIME_MAX = 2**32 - 1
COUNT_LIMIT = 2**ENTROPY_MAX
ONE_IN_MAX = 1_000_000

_TYPE_WORDS = (
    "kind question why owner review expires retention_days lateness resolution release pseudonym "
    "entropy_bits chart fields one_in work"
)
_TYPE_KEYS = tuple(_TYPE_WORDS.split())
_CATALOG_KEYS = ("label", "number", "contact", "types")


class Content:
    """The content of a catalog without key and signature; a catalog and its source both have it."""

    __slots__ = ("contact", "label", "number", "previous", "results", "types")

    def __init__(
        self,
        label: str,
        number: int,
        previous: bytes | None,
        contact: str,
        results: str,
        types: dict[str, EventType],
    ) -> None:
        self.label = label
        self.number = number
        self.previous = previous
        self.contact = contact
        self.results = results
        self.types = types

    def to_wire(self) -> dict[str, object]:
        """Return the map for the catalog's payload."""
        wire: dict[str, object] = {
            "label": self.label,
            "number": self.number,
            "contact": self.contact,
            "types": {name: entry.to_wire() for name, entry in self.types.items()},
        }
        if self.results:
            wire["results"] = self.results
        return wire if self.previous is None else {**wire, "previous": self.previous}


def read_content(reader: Reader, value: object) -> Content:
    """Read a catalog's content from its payload's map. It is valid only if `reader` has no
    problem."""
    table = reader.table(value, "catalog", _CATALOG_KEYS, ("previous", "results"))
    get = table.get
    label = reader.label(get("label", ABSENT), "catalog.label")
    number = reader.uint(get("number", ABSENT), "catalog.number", 1, NUMBER_MAX)
    contact = reader.text(get("contact", ABSENT), "catalog.contact", CONTACT_MAX)
    results = reader.address(get("results", ABSENT), "catalog.results", CONTACT_MAX)
    previous = table.get("previous")
    if previous is not None and (type(previous) is not bytes or len(previous) != 32):
        reader.complain(WRONG_TYPE, "catalog.previous", "should be the 32 bytes of a catalog's id")
        previous = None
    elif (number > 1) != (previous is not None):
        rule = (
            "number 1 has no previous catalog, and every later number needs one; "
            "leave both out and sign with --previous"
        )
        reader.complain(BROKEN_CHAIN, "catalog.previous", rule)
    types: dict[str, EventType] = {}
    entries = table.get("types", {})
    if type(entries) is not dict:
        reader.complain(WRONG_TYPE, "types", f"should be a table, is {kind_of(entries)}")
        entries = {}
    if "types" in table and not 1 <= len(entries) <= TYPES_MAX:
        reader.complain(OUT_OF_RANGE, "types", f"should have 1 to {TYPES_MAX} entries")
        entries = {}
    for key, entry in entries.items():
        name = reader.name(key, "types")
        if name:
            found = read_type(reader, name, entry)
            if found is not None:
                types[name] = found
    return Content(label, number, previous, contact, results, types)


def read_type(reader: Reader, name: str, value: object) -> EventType | None:
    """Read one event type from its map. Returns None if `reader` found a problem."""
    where = f"types.{name}"
    before = len(reader.problems)
    table = reader.table(value, where, _TYPE_KEYS, ("count", "sequence"))
    get = table.get
    kind = reader.one_of(get("kind", ABSENT), f"{where}.kind", KINDS)
    review = reader.text(get("review", ABSENT), f"{where}.review", CONTACT_MAX)
    if review and not review.startswith("https://"):
        reader.complain(BAD_LINK, f"{where}.review", "should be a link that starts with https://")
    resolution = reader.uint(
        get("resolution", ABSENT), f"{where}.resolution", TIME_STEP, PERIOD_MAX, "seconds"
    )
    if resolution % TIME_STEP:
        reader.complain(OUT_OF_RANGE, f"{where}.resolution", f"should be a multiple of {TIME_STEP}")
    fields = _read_fields(reader, get("fields", ABSENT), f"{where}.fields")
    max_count, window = _read_count(reader, table, where, kind)
    sequence = _read_sequence(reader, table, where, kind)
    release = _read_release(reader, get("release", ABSENT), f"{where}.release", kind)
    entropy_bits = reader.uint(
        get("entropy_bits", ABSENT), f"{where}.entropy_bits", 0, ENTROPY_MAX, "bits"
    )
    lateness = get("lateness", ABSENT)
    retention = get("retention_days", ABSENT)
    found = EventType(
        name=name,
        kind=kind,
        question=reader.text(get("question", ABSENT), f"{where}.question", QUESTION_MAX),
        why=reader.text(get("why", ABSENT), f"{where}.why", WHY_MAX),
        owner=reader.text(get("owner", ABSENT), f"{where}.owner", CONTACT_MAX),
        review=review,
        expires=reader.uint(get("expires", ABSENT), f"{where}.expires", 1, TIME_MAX),
        retention_days=reader.uint(retention, f"{where}.retention_days", 1, RETENTION_MAX, "days"),
        lateness=reader.uint(lateness, f"{where}.lateness", 3600, PERIOD_MAX, "seconds"),
        resolution=resolution,
        release=release,
        pseudonym=reader.one_of(get("pseudonym", ABSENT), f"{where}.pseudonym", PSEUDONYMS),
        entropy_bits=entropy_bits,
        chart=_read_chart(reader, get("chart", ABSENT), f"{where}.chart", kind, fields),
        fields=fields,
        max_count=max_count,
        window=window,
        sequence=sequence,
        one_in=_read_one_in(reader, get("one_in", ABSENT), f"{where}.one_in"),
        work=reader.uint(get("work", ABSENT), f"{where}.work", 0, WORK_MAX, "bits"),
    )
    if len(reader.problems) > before:
        return None
    _check_bounds(reader, where, found)
    return found


def _check_bounds(reader: Reader, where: str, found: EventType) -> None:
    # This compares whole numbers, because logarithms round differently between implementations.
    if found.domain > 1 << ENTROPY_MAX:
        reader.complain(
            TOO_MANY_CONTENTS,
            where,
            f"a report can hold {found.bits:.2f} bits, and no type may hold more than "
            f"{ENTROPY_MAX}; remove or coarsen fields, steps or counts, or split the type",
        )
    elif found.distinguishable > 1 << found.entropy_bits:
        reader.complain(
            OVER_BUDGET,
            where,
            f"a report can hold {found.revealed_bits:.2f} bits, its budget is "
            f"{found.entropy_bits}; remove or coarsen fields, or raise entropy_bits",
        )
    if found.max_report_bytes > REPORT_MAX:
        reader.complain(
            TOO_LARGE,
            where,
            f"a report could have {found.max_report_bytes} bytes, but the limit is {REPORT_MAX}; "
            "remove or shorten fields or steps",
        )


def _read_fields(reader: Reader, value: object, where: str) -> tuple[Field, ...]:
    fields: dict[str, Field] = {}
    for entry in reader.array(value, where, 0, FIELDS_MAX):
        if type(entry) is not dict or "name" not in entry:
            reader.complain(WRONG_TYPE, where, "each field should be a table with a name")
            continue
        name = reader.name(entry["name"], where)
        if name in fields:
            reader.complain(REPEATED, f"{where}.{name}", "is a duplicate; remove one")
        elif name:
            field = read_field(reader, entry, f"{where}.{name}", name)
            if field is not None:
                fields[name] = field
    sources = [field.source for field in fields.values() if field.source is not None]
    reader.unique(sources, where)
    return tuple(fields.values())


def _read_count(
    reader: Reader, table: dict[str, object], where: str, kind: str
) -> tuple[int | None, int | None]:
    where = f"{where}.count"
    if not _belongs(reader, table, "count", where, kind):
        return None, None
    entry = reader.table(table["count"], where, ("max", "window"))
    most = reader.uint(entry.get("max", ABSENT), f"{where}.max", 1, COUNT_LIMIT)
    window = entry.get("window", ABSENT)
    return most, reader.uint(window, f"{where}.window", TIME_STEP, PERIOD_MAX, "seconds")


def _read_sequence(
    reader: Reader, table: dict[str, object], where: str, kind: str
) -> SequenceDeclaration | None:
    where = f"{where}.sequence"
    if not _belongs(reader, table, "sequence", where, kind):
        return None
    entry = reader.table(table["sequence"], where, ("steps", "offset_edges", "max_steps"))
    steps = reader.array(entry.get("steps", ABSENT), f"{where}.steps", 1, STEPS_MAX)
    names = [reader.name(step, f"{where}.steps") for step in steps]
    at = f"{where}.offset_edges"
    edges = [
        reader.uint(edge, at, 1, PERIOD_MAX, "seconds")
        for edge in reader.array(entry.get("offset_edges", ABSENT), at, 0, STEPS_MAX)
    ]
    _ascending(reader, edges, at)
    most = reader.uint(entry.get("max_steps", ABSENT), f"{where}.max_steps", 1, STEPS_MAX)
    return SequenceDeclaration(reader.unique(names, f"{where}.steps"), tuple(edges), most)


def _belongs(reader: Reader, table: dict[str, object], key: str, where: str, kind: str) -> bool:
    """Tell whether to read the table `key`. Complains if it is missing, or does not fit the
    kind."""
    if kind == key and key not in table:
        reader.complain(MISPLACED, where, f"a type of kind {key} needs this table; add it")
    elif kind != key and key in table and "kind" in table:
        reader.complain(MISPLACED, where, f"a type of kind {kind} has no such table; remove it")
    return kind == key and key in table


def _read_release(reader: Reader, value: object, where: str, kind: str) -> Release:
    if value is ABSENT:
        return Release(DELAY_MIN, None, 0)
    entry = reader.table(value, where, ("delay", "jitter"), ("every",))
    delay = reader.uint(entry.get("delay", ABSENT), f"{where}.delay", 0, PERIOD_MAX, "seconds")
    if "delay" in entry and delay < DELAY_MIN:
        reader.complain(TOO_SOON, f"{where}.delay", f"should be at least {DELAY_MIN} seconds")
    jitter = reader.uint(entry.get("jitter", ABSENT), f"{where}.jitter", 0, PERIOD_MAX, "seconds")
    every = None
    if "every" in entry:
        at = f"{where}.every"
        ends = [reader.uint(e, at, 0, PERIOD_MAX) for e in reader.array(entry["every"], at, 2, 2)]
        if ends and ends[0] > ends[1]:
            reader.complain(DISORDERED, at, "should be [least, most] seconds")
        elif ends and ends[0] < EVERY_MIN:
            reader.complain(TOO_SOON, at, f"should be at least {EVERY_MIN} seconds")
        every = (ends[0], ends[1]) if ends else None
    if ("every" in entry) != (kind == "state"):
        rule = "a state needs every = [least, most] seconds, other kinds have none"
        reader.complain(MISPLACED, f"{where}.every", rule)
    return Release(delay, every, jitter)


def _read_chart(
    reader: Reader, value: object, where: str, kind: str, fields: tuple[Field, ...]
) -> str:
    if value is ABSENT:
        return ""
    if type(value) is not str:
        reader.complain(WRONG_TYPE, where, f"should be text, is {kind_of(value)}")
        return ""
    chart, colon, by = value.partition(":")
    if chart not in CHARTS:
        reader.complain(UNKNOWN_WORD, where, f"{show(chart)} is not one of {', '.join(CHARTS)}")
    elif (chart == "funnel") and kind != "sequence":
        reader.complain(MISPLACED, where, "a funnel needs kind sequence; choose another chart")
    elif colon and by not in {field.name for field in fields}:
        reader.complain(BAD_NAME, where, f"{show(by)} is not a field of this type")
    return value


def _read_one_in(reader: Reader, value: object, where: str) -> tuple[int, ...]:
    entries = reader.array(value, where, 1, 8)
    rates = [reader.uint(rate, where, 1, ONE_IN_MAX) for rate in entries]
    _ascending(reader, rates, where)
    return tuple(rates) or (1,)


def _ascending(reader: Reader, numbers: list[int], where: str) -> None:
    if any(low >= high for low, high in pairwise(numbers)):
        reader.complain(DISORDERED, where, "should be ascending without duplicates; sort them")

"""Fields: the values that a report can hold, each from a small closed set of wire values.

No field holds free text or an unbounded number, so the type system protects privacy. The definition
of a field gives its coercion in the app, its wire check, its table column, its label for people,
its maximum size and its number of wire values, which the entropy budget counts (NEW-8).

Every embedding app loads this module. It does without dataclasses, because importing them would
take a fifth of the time that our import may take.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, exp, log2

from methrics.schema.catalog.field_types import BUILDERS, OTHER, Shape, Wire
from methrics.schema.wire.reading import (
    ABSENT,
    BAD_RANDOMIZE,
    BAD_SOURCE,
    RESERVED,
    WRONG_TYPE,
    Reader,
    kind_of,
)

__all__ = ["FIELD_TYPES", "OTHER", "RESERVED_NAMES", "SOURCES", "Field", "Wire", "read_field"]

FIELD_TYPES = tuple(BUILDERS)
"""enum, flag, bucket, version, country, language, count."""

FIELDS_MAX = 32
"""Fields of one event type: keeps reports small and consent screens readable."""
SAYS_MAX = 240
"""Bytes of a field's text `says`: one sentence on a consent screen."""

SOURCES = {
    "first_of_day": "flag",
    "first_of_week": "flag",
    "first_of_month": "flag",
    "install_age": "bucket",
    "milestone": "enum",
}
"""Source of a field that the node fills in (NEW-4) -> the field type that it needs."""
MILESTONE_MAX = 400
"""Days after the first report: enough to ask about retention for a year and a month."""
INSTALL_AGE_EDGES = (1, 4, 24)
"""Whole weeks since installation: first week, weeks 2-4, 5-24, later (MARS-9)."""

RESERVED_NAMES = frozenset(
    {
        *("report", "time", "day", "received", "count", "one_in", "sequence"),
        *("step", "offset", "position", "only", "n"),
    }
)
"""Names that are columns of each event type's table, or parameters of `record` and `count`."""

RANDOMIZED = ("enum", "flag", "bucket", "country", "language")
"""Field types that can use randomized response; types with more values could not be counted."""
EPSILON_MIN, EPSILON_MAX = 100, 10_000
"""Thousandths. A smaller epsilon makes counting impossible; a larger one hides nothing."""


class Field:
    """One declared field.

    `domain`: number of wire values. `bits`: log2 of it. `column`: "text", "bool", "u8" or "u16".
    `max_size`: bytes of the largest wire value in CBOR. `coerce(raw)`: the app's value to the wire
    value (buckets, clamps, "other"); ValueError for a value of the wrong Python type.
    `check(wire)`: whether a decoded value is one of the wire values; never raises. `randomize`:
    thousandths of epsilon of a field with randomized response, else None. `distinguishable`:
    how many true values one answer can tell apart, which the entropy budget counts.
    """

    __slots__ = (
        "_schema",
        "_words",
        "bits",
        "check",
        "coerce",
        "column",
        "distinguishable",
        "domain",
        "max_size",
        "name",
        "params",
        "randomize",
        "says",
        "source",
        "type",
    )

    def __init__(
        self,
        name: str,
        type: str,
        says: str,
        source: str | None,
        params: dict[str, object],
        shape: Shape,
        randomize: int | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.says = says
        self.source = source
        self.params = params
        self.domain = shape.domain
        self.bits = log2(shape.domain)
        self.randomize = randomize
        self.distinguishable = shape.domain
        if randomize is not None:
            self.distinguishable = min(shape.domain, _distinguishable(randomize))
        self.column = shape.column
        self.max_size = shape.max_size
        self.coerce = shape.coerce
        self.check = shape.check
        self._words = shape.label
        self._schema = shape.schema

    def label(self, wire: Wire) -> str:
        """The wire value in words, for tables and consent screens. ValueError if it is invalid."""
        if not self.check(wire):
            raise ValueError(f"{self.name}: not a value of this field")
        return self._words(wire)

    def listed(self) -> tuple[Wire, ...]:
        """Every wire value, in order; () for a version or a count, which have too many."""
        if self.type == "flag":
            return (False, True)
        if self.type == "bucket":
            return tuple(range(self.domain))
        words = self._schema().get("enum")
        return tuple(words) if isinstance(words, list) else ()

    def json_schema(self) -> dict[str, object]:
        """JSON Schema (2020-12) of the wire value."""
        return self._schema()

    def to_wire(self) -> dict[str, object]:
        """The map for the catalog's payload."""
        wire: dict[str, object] = {"name": self.name, "type": self.type, "says": self.says}
        if self.source is not None:
            wire["source"] = self.source
        if self.randomize is not None:
            wire["randomize"] = self.randomize
        return {**wire, **self.params}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Field) and self.to_wire() == other.to_wire()

    def __hash__(self) -> int:
        return hash((self.name, self.type, self.says))

    def __repr__(self) -> str:
        return f"Field({self.to_wire()!r})"


def read_field(reader: Reader, value: object, where: str, name: str) -> Field | None:
    """The field that a payload map declares. Problems go to `reader`; None if there are any."""
    before = len(reader.problems)
    if type(value) is not dict:
        reader.complain(WRONG_TYPE, where, f"should be a table, is {kind_of(value)}")
        return None
    if "type" in value:
        kind = reader.one_of(value["type"], f"{where}.type", FIELD_TYPES)
        if len(reader.problems) > before:
            return None
    else:
        kind = "flag"
    required, optional, shape_of = BUILDERS[kind]
    filled = ("source", "randomize", *optional)
    value = reader.table(value, where, ("name", "type", "says", *required), filled)
    if name in RESERVED_NAMES:
        reader.complain(RESERVED, where, f"{name} is a column of every table; choose another name")
    says = reader.text(value.get("says", ABSENT), f"{where}.says", SAYS_MAX)
    source = _read_source(reader, value, where, kind) if "source" in value else None
    randomize = _read_randomize(reader, value, where, kind) if "randomize" in value else None
    if len(reader.problems) > before:
        return None
    params = {key: value[key] for key in (*required, *optional) if key in value}
    shape = shape_of(reader, where, name, params)
    if source == "milestone" and len(reader.problems) == before:
        _check_milestones(reader, params["values"], f"{where}.values")
    if len(reader.problems) > before:
        return None
    return Field(name, kind, says, source, params, shape, randomize)


def _distinguishable(randomize: int) -> int:
    """How many true values an answer of this epsilon can tell apart, at most: it reveals at most
    epsilon * log2(e) bits. No e^epsilon is so close to a whole number that the rounding error of
    a double matters, so every implementation finds the same number."""
    return ceil(exp(randomize / 1000))


def _read_randomize(reader: Reader, value: dict[str, object], where: str, kind: str) -> int:
    where = f"{where}.randomize"
    if kind not in RANDOMIZED:
        reader.complain(BAD_RANDOMIZE, where, f"needs one of the types {', '.join(RANDOMIZED)}")
    elif "source" in value:
        reader.complain(
            BAD_RANDOMIZE,
            where,
            "a field with a source cannot be randomized; remove one of the two",
        )
    unit = "thousandths of epsilon"
    return reader.uint(value["randomize"], where, EPSILON_MIN, EPSILON_MAX, unit)


def _read_source(reader: Reader, value: dict[str, object], where: str, kind: str) -> str:
    source = reader.one_of(value["source"], f"{where}.source", tuple(SOURCES))
    if SOURCES[source] != kind:
        reader.complain(BAD_SOURCE, f"{where}.source", f"{source} needs type {SOURCES[source]}")
    elif kind == "bucket" and value.get("edges") != list(INSTALL_AGE_EDGES):
        edges = list(INSTALL_AGE_EDGES)
        reader.complain(BAD_SOURCE, f"{where}.edges", f"{source} needs edges = {edges} (weeks)")
    return source


def milestone_days(values: object) -> tuple[int, ...]:
    """The days named by the values of a milestone field: `["d0", "d7"]` gives (0, 7).

    Raises ValueError unless they are `d0` and later days in ascending order.
    """
    if not isinstance(values, list):
        raise ValueError("not a list")
    days = tuple(int(value[1:]) for value in values if str(value[1:]).isdecimal())
    ascending = all(before < after for before, after in pairwise(days))
    if [f"d{day}" for day in days] != values or days[:1] != (0,) or not ascending:
        raise ValueError("not d0 and later days")
    if days[-1] > MILESTONE_MAX:
        raise ValueError("too late a day")
    return days


def _check_milestones(reader: Reader, values: object, where: str) -> None:
    try:
        milestone_days(values)
    except ValueError:
        rule = f"a milestone is d0 or a later day up to d{MILESTONE_MAX}: d0 first, then ascending"
        reader.complain(BAD_SOURCE, where, rule)

"""Declare fields: the values in a report, each from a small closed set of wire values.

No field can hold free text or an unbounded number, which protects privacy. A field's declaration
determines how the app's values are narrowed, which wire values are valid, the table column, the
text for people, the maximum size, and the number of wire values, which the entropy budget counts
(NEW-8).

Every app that embeds the recorder imports this module. It does not use dataclasses, because
importing them would take a fifth of the time that the recorder's import may take.
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
"""The most fields of one event type, so that reports stay small and consent screens readable."""
SAYS_MAX = 240
"""The most bytes of a field's text `says`: one sentence on a consent screen."""

SOURCES = {
    "first_of_day": "flag",
    "first_of_week": "flag",
    "first_of_month": "flag",
    "install_age": "bucket",
    "milestone": "enum",
}
"""Maps each source, from which the node fills in a field (NEW-4), to the field type it needs."""
MILESTONE_MAX = 400
"""The latest milestone, in days after the first report: a year and a month of retention."""
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
"""The field types that can use randomized response. The others have so many values that shares
could not be estimated."""
EPSILON_MIN, EPSILON_MAX = 100, 10_000
"""Bounds of epsilon, in thousandths. With a smaller epsilon, shares could not be estimated; a
larger epsilon would hide nothing."""


class Field:
    """One declared field.

    `domain`: number of wire values. `bits`: log2 of it. `column`: "text", "bool", "u8" or "u16".
    `max_size`: bytes of the largest wire value in CBOR. `coerce(raw)`: converts the app's value to
    the wire value (buckets, clamps, "other"); raises ValueError for a value of the wrong Python
    type. `check(wire)`: tells whether a decoded value is one of the wire values; never raises.
    `randomize`: thousandths of epsilon of a field with randomized response, else None.
    `distinguishable`: how many true values one answer can distinguish, which the entropy budget
    counts.
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
        """Describe a wire value, for tables and consent screens. Raises ValueError if it is
        invalid."""
        if not self.check(wire):
            raise ValueError(f"{self.name}: not a value of this field")
        return self._words(wire)

    def listed(self) -> tuple[Wire, ...]:
        """List every wire value, in order. Returns () for a version or a count: they have too
        many."""
        if self.type == "flag":
            return (False, True)
        if self.type == "bucket":
            return tuple(range(self.domain))
        words = self._schema().get("enum")
        return tuple(words) if isinstance(words, list) else ()

    def json_schema(self) -> dict[str, object]:
        """Return the JSON Schema (2020-12) of the wire value."""
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
    """Read a field from its map in a payload. Reports problems to `reader`; then returns None."""
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
    """Return the most true values that an answer can distinguish: it reveals at most epsilon *
    log2(e) bits. No e^epsilon is so close to a whole number that the rounding error of a double
    matters, so every implementation computes the same number."""
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
    """Return the days that a milestone field's values name: `["d0", "d7"]` gives (0, 7).

    Raises ValueError unless the values are `d0` and later days in ascending order.
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

"""Make the functions and sizes of a field from its type and parameters.

One function per field type makes the coercion, the check, the label and the sizes together, so they
cannot contradict each other. They are closures instead of methods for speed: `coerce` runs inside
`record()`, and `check` runs once per value of every received report.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from itertools import pairwise

from methrics.schema.catalog.regions import COUNTRIES, LANGUAGES, NOWHERE
from methrics.schema.wire.reading import DISORDERED, RESERVED, WRONG_TYPE, Reader, kind_of

Wire = str | int | bool
"""A value in a report."""

OTHER = "other"
"""The wire value for every enum value, version or language that is not declared."""

WORDS_MAX = 256
"""The most values that one enum may declare."""
EDGES_MAX = 64
"""The most edges of one bucket field: the bucket's index fits a u8 column."""
EDGE_LIMIT = 2**53 - 1
"""The largest magnitude of a whole edge: every language stores it exactly as a double."""
COUNT_MAX = 65_535
"""The largest value of a count field: it fits a u16 column."""
PART_MAX = 9_999
"""The largest number that a part of a version may declare."""
UNIT_MAX = 24
"""The most bytes of a bucket's unit."""
_IRREGULAR = ("ss", "us", "is", "ies", "ses", "xes", "zes", "ches", "shes")
"""Endings of words whose singular is not the word without its last letter: `classes`, `entries`."""

# Not compiled at import, because most catalogs need only one of them; `re` caches them.
_DECIMAL = r"-?(?:0|[1-9][0-9]{0,15})\.[0-9]{0,8}[1-9]"
_VERSION = r"v?([0-9]{1,9})(?:\.([0-9]{1,9}))?(?:\.([0-9]{1,9}))?"
_PART = r"(?:0|[1-9][0-9]{0,3})"
_MEMO_MAX = 512
_BILLION = 10**9
"""A decimal has at most nine digits after the point."""

Coerce = Callable[[object], Wire]
Check = Callable[[object], bool]


class Shape:
    """The functions and sizes that a `Field` copies; `BUILDERS` makes them."""

    __slots__ = ("check", "coerce", "column", "domain", "label", "max_size", "schema")

    def __init__(
        self,
        domain: int,
        column: str,
        max_size: int,
        coerce: Coerce,
        check: Check,
        label: Callable[[Wire], str],
        schema: Callable[[], dict[str, object]],
    ) -> None:
        self.domain = domain
        self.column = column
        self.max_size = max_size
        self.coerce = coerce
        self.check = check
        self.label = label
        self.schema = schema


def text_size(text: str) -> int:
    """Return the size in bytes of a text string in deterministic CBOR."""
    size = len(text.encode())
    return uint_size(size) + size


def uint_size(value: int) -> int:
    """Return the size in bytes of an unsigned integer, or of a head with this argument, in CBOR."""
    if value < 24:
        return 1
    if value < 1 << 8:
        return 2
    if value < 1 << 16:
        return 3
    return 5 if value < 1 << 32 else 9


def _text_of(name: str, raw: object) -> str:
    if isinstance(raw, str):
        return str.__str__(raw)  # a StrEnum member is a subclass of str
    raise ValueError(f"{name}: should be text, is {kind_of(raw)}")


def _number_of(name: str, raw: object) -> float:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return raw
    raise ValueError(f"{name}: should be a number, is {kind_of(raw)}")


def _closed(name: str, words: tuple[str, ...], rest: str) -> Shape:
    """Make the shape of a closed list of words; every other text becomes `rest`."""
    table = {word: word for word in (*words, rest)}

    def coerce(raw: object) -> Wire:
        if type(raw) is not str:
            raw = _text_of(name, raw)
        return table.get(raw, rest)

    def check(wire: object) -> bool:
        return type(wire) is str and wire in table

    size = text_size(max(table, key=len))  # words and codes are ASCII
    return Shape(len(table), "text", size, coerce, check, str, lambda: {"enum": list(table)})


def _enum(reader: Reader, where: str, name: str, params: dict[str, object]) -> Shape:
    where = f"{where}.values"
    entries = reader.array(params["values"], where, 1, WORDS_MAX)
    words = reader.unique([reader.word(entry, where) for entry in entries], where)
    if OTHER in words:
        reader.complain(RESERVED, where, f"{OTHER} is always included; leave it out")
    return _closed(name, words, OTHER)


def _place(
    reader: Reader,
    where: str,
    name: str,
    params: dict[str, object],
    codes: frozenset[str],
    rest: str,
) -> Shape:
    if "values" not in params:
        return _closed(name, _ordered(codes), rest)
    where = f"{where}.values"
    entries = reader.array(params["values"], where, 1, len(codes))
    chosen = reader.unique([reader.code(entry, where, codes) for entry in entries], where)
    return _closed(name, chosen, rest)


@cache
def _ordered(codes: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(codes))


def _country(reader: Reader, where: str, name: str, params: dict[str, object]) -> Shape:
    return _place(reader, where, name, params, COUNTRIES, NOWHERE)


def _language(reader: Reader, where: str, name: str, params: dict[str, object]) -> Shape:
    return _place(reader, where, name, params, LANGUAGES, OTHER)


def _flag(reader: Reader, where: str, name: str, params: dict[str, object]) -> Shape:
    def coerce(raw: object) -> Wire:
        if raw is True or raw is False:
            return raw
        raise ValueError(f"{name}: should be True or False, is {kind_of(raw)}")

    def check(wire: object) -> bool:
        return wire is True or wire is False

    def label(wire: Wire) -> str:
        return "yes" if wire else "no"

    return Shape(2, "bool", 1, coerce, check, label, lambda: {"type": "boolean"})


def _whole(limit: int) -> Check:
    def check(wire: object) -> bool:
        return type(wire) is int and 0 <= wire <= limit

    return check


def _whole_schema(limit: int) -> dict[str, object]:
    return {"type": "integer", "minimum": 0, "maximum": limit}


def _count(reader: Reader, where: str, name: str, params: dict[str, object]) -> Shape:
    limit = reader.uint(params["max"], f"{where}.max", 1, COUNT_MAX)

    def coerce(raw: object) -> Wire:
        if type(raw) is not int:
            if not isinstance(raw, int) or isinstance(raw, bool):
                raise ValueError(f"{name}: should be a whole number, is {kind_of(raw)}")
            raw = int(raw)
        return limit if raw > limit else max(raw, 0)

    def label(wire: Wire) -> str:
        return f"{wire} or more" if wire == limit else str(wire)

    column = "u8" if limit < 256 else "u16"
    size = uint_size(limit)
    return Shape(
        limit + 1, column, size, coerce, _whole(limit), label, lambda: _whole_schema(limit)
    )


def _read_edges(reader: Reader, where: str, entries: list[object]) -> list[float]:
    edges: list[float] = []
    exact: list[int] = []
    for entry in entries:
        if type(entry) is int and abs(entry) <= EDGE_LIMIT:
            edges.append(entry)
            exact.append(entry * _BILLION)
        elif type(entry) is str and re.fullmatch(_DECIMAL, entry):
            edges.append(float(entry))
            whole, _, fraction = entry.partition(".")
            exact.append(int(whole + fraction.ljust(9, "0")))
        else:
            rule = "whole numbers up to 2^53 - 1 or plain decimals such as 0.5"
            reader.complain(WRONG_TYPE, where, f"should be {rule}")
    # Compared in billionths. As doubles, two decimals with many digits could be equal for one node
    # and not for another, and one would reject catalogs that the other accepts.
    if any(low >= high for low, high in pairwise(exact)):
        reader.complain(DISORDERED, where, "should be ascending without duplicates; sort them")
    return edges


def _with_unit(number: str, unit: str) -> str:
    """`4 weeks`, `1 week`, or the number alone if there is no unit.

    Abbreviations such as `ms` and irregular plurals stay as declared.
    """
    plural = len(unit) > 3 and unit.isascii() and unit.isalpha() and unit.islower()
    if number == "1" and plural and unit.endswith("s") and not unit.endswith(_IRREGULAR):
        unit = unit[:-1]
    return f"{number} {unit}".rstrip()


def _bucket(reader: Reader, where: str, name: str, params: dict[str, object]) -> Shape:
    entries = reader.array(params["edges"], f"{where}.edges", 1, EDGES_MAX) or [0]
    edges = _read_edges(reader, f"{where}.edges", entries)
    unit = reader.text(params["unit"], f"{where}.unit", UNIT_MAX) if "unit" in params else ""
    shown = [_with_unit(str(entry), unit) for entry in entries]

    def coerce(raw: object) -> Wire:
        if type(raw) is not int and type(raw) is not float:
            raw = _number_of(name, raw)
        if raw != raw:
            raise ValueError(f"{name}: is not a number (NaN)")
        return bisect_right(edges, raw)

    def label(wire: Wire) -> str:
        index = int(wire)
        if index == 0:
            return f"under {shown[0]}"
        if index == len(shown):
            return f"{shown[-1]} or more"
        return f"{entries[index - 1]} to under {shown[index]}"

    def schema() -> dict[str, object]:
        meanings = "; ".join(f"{index}: {label(index)}" for index in range(top + 1))
        return {**_whole_schema(top), "description": meanings}

    top = len(edges)
    return Shape(top + 1, "u8", uint_size(top), coerce, _whole(top), label, schema)


def _version(reader: Reader, where: str, name: str, params: dict[str, object]) -> Shape:
    where = f"{where}.max"
    tops = [reader.uint(e, where, 0, PART_MAX) for e in reader.array(params["max"], where, 2, 3)]
    parts = len(tops)
    canonical = r"\.".join([_PART] * parts)
    known: dict[
        str, str
    ] = {}  # an app always passes the same version, and a topic has few versions

    def bounded(numbers: list[int]) -> str:
        if any(n > top for n, top in zip(numbers, tops, strict=True)):
            return OTHER
        return ".".join(map(str, numbers))

    def coerce(raw: object) -> Wire:
        if type(raw) is not str:
            raw = _text_of(name, raw)
        wire = known.get(raw)
        if wire is None:
            match = re.match(_VERSION, raw)
            wire = bounded([int(n or 0) for n in match.groups()[:parts]]) if match else OTHER
            if len(known) < _MEMO_MAX and len(raw) <= 64:
                known[raw] = wire
        return wire

    def check(wire: object) -> bool:
        if type(wire) is not str:
            return False
        if known.get(wire) == wire:
            return True
        if wire == OTHER:
            return True
        if re.fullmatch(canonical, wire) is None:
            return False
        valid = bounded([int(n) for n in wire.split(".")]) == wire
        if valid and len(known) < _MEMO_MAX:
            known[wire] = wire
        return valid

    domain = 1
    for top in tops:
        domain *= top + 1
    size = max(text_size(OTHER), text_size(".".join(map(str, tops))))
    pattern = f"^({OTHER}|{canonical})$"

    def schema() -> dict[str, object]:
        meaning = f"each part is at most the same part of {'.'.join(map(str, tops))}"
        return {"type": "string", "pattern": pattern, "description": meaning}

    return Shape(domain + 1, "text", size, coerce, check, str, schema)


Builder = Callable[[Reader, str, str, dict[str, object]], Shape]
BUILDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Builder]] = {
    "enum": (("values",), (), _enum),
    "flag": ((), (), _flag),
    "bucket": (("edges",), ("unit",), _bucket),
    "version": (("max",), (), _version),
    "country": ((), ("values",), _country),
    "language": ((), ("values",), _language),
    "count": (("max",), (), _count),
}
"""Field type -> required parameters, optional parameters, and the function for its shape."""

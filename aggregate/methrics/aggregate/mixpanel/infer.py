"""Declares a field for a property from its values, or explains why it gets no field (pure)."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import NamedTuple

from methrics.aggregate.mixpanel.sketch import Property
from methrics.schema.catalog.regions import COUNTRIES, LANGUAGES
from methrics.schema.wire.reading import is_word

MOST = 0.95
"""Share of values that must have the same type. The other values become `other`."""
FEW = 0.01
"""If at least this share of values can identify people, the property is left out."""
ENUM_MAX = 24
"""Maximum number of values of a drafted enum, as many as one chart can show."""
COVERED = 0.5
"""Share of values that the words of an enum must cover. Otherwise most would be `other`."""

_WORDS = (
    "id uuid guid email mail phone address street zip postcode ip token password secret iban "
    "birthday dob lat latitude lon lng longitude ssn imei idfa url uri referrer username user "
    "firstname lastname fullname"
)
_HINTS = frozenset(_WORDS.split())
_NAMES = frozenset({"first_name", "last_name", "full_name", "user_name"})
_IDENTIFYING = {
    "email": "e-mail addresses",
    "url": "links, which may hold anything",
    "address": "network addresses",
    "phone": "phone numbers",
    "time": "dates and times",
}
_KNOWN = {
    "os": "Which kind of operating system you use.",
    "platform": "Which kind of operating system you use.",
    "browser": "Which browser you use, without its version.",
}
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_TOPS = (9, 19, 49, 99, 199, 499, 999, 4999, 9999)


class Declared(NamedTuple):
    """A field as a catalog declares it. `key` is the property's name, `params` are the parameters
    as in the source of a catalog."""

    name: str
    key: str
    type: str
    params: dict[str, list[object]]
    says: str
    note: str
    """A sentence on the values that are not declared; empty if all values are declared."""


def field_of(seen: Property, name: str, least: int) -> Declared | str:
    """Declare the field `name` for a property, or return the reason why it gets no field."""
    words = set(name.split("_"))
    if words & _HINTS or name in _NAMES:
        return "its name suggests that it identifies people"
    present = seen.present
    if not present:
        return "never has a value"
    share = {kind: n / present for kind, n in seen.kinds.items() if kind != "null"}
    if share.get("list"):
        return "lists and objects"
    if share.get("flag", 0) >= MOST:
        return Declared(name, seen.name, "flag", {}, f"Whether {_said(seen)} was so.", "")
    if share.get("huge", 0) >= FEW:
        return "numbers too large to be an amount: keys or ids"
    if share.get("whole", 0) + share.get("number", 0) >= MOST:
        return _bucket(seen, name)
    if share.get("text", 0) >= MOST:
        return _text(seen, name, words, least)
    return "values of several kinds"


def _said(seen: Property) -> str:
    """Quote the property's name for a sentence."""
    shown = "".join(char for char in seen.name if char.isprintable() and char not in '"\\')
    return f"“{shown[:60].strip() or 'it'}”"


def _text(seen: Property, name: str, words: set[str], least: int) -> Declared | str:
    total = seen.kinds["text"]
    share = {shape: n / total for shape, n in seen.shapes.items()}
    versions = share.get("version", 0) + (share.get("address", 0) if "version" in words else 0)
    if versions >= MOST:
        return _version(seen, name)
    for shape, what in _IDENTIFYING.items():
        if share.get(shape, 0) >= FEW:
            return what
    different = seen.different.total()
    if share.get("key", 0) >= MOST and (seen.texts is None or different > ENUM_MAX):
        return "keys or ids"
    if share.get("country", 0) >= MOST and (different >= 3 or "country" in words):
        return _place(seen, name, "country", least)
    if share.get("language", 0) >= MOST and (different >= 3 or words & {"language", "lang"}):
        return _place(seen, name, "language", least)
    return _enum(seen, name, least)


def _place(seen: Property, name: str, kind: str, least: int) -> Declared | str:
    codes = COUNTRIES if kind == "country" else LANGUAGES
    values: list[object] = [
        one
        for one, text in sorted((seen.texts or {}).items())
        if one in codes and len(text.people) >= least
    ]
    if not values:
        return f"no value that at least {least} people share"
    says = "The country you are in" if kind == "country" else "The language that you use"
    says += ", if it is one of the common ones."
    return Declared(name, seen.name, kind, {"values": values}, says, "")


def _enum(seen: Property, name: str, least: int) -> Declared | str:
    different = seen.different.total()
    if seen.texts is None:
        return f"free text: about {different} different values"
    texts = seen.texts
    shared = [one for one in texts if len(texts[one].people) >= least]
    if not shared:
        return f"no value that at least {least} people share"
    usable = [one for one in shared if is_word(one) and one != "other"]
    usable.sort(key=lambda one: (-texts[one].n, one))
    values = usable[:ENUM_MAX]
    covered = sum(texts[one].n for one in values) / seen.kinds["text"]
    if covered < COVERED:
        return f"free text: {different} different values, of which few are shared by many"
    if different == 1:
        return "always the same"
    rest = different - len(values)
    note = (
        f"{rest} rarer values become other ({100 * (1 - covered):.0f} % of events)" if rest else ""
    )
    says = _KNOWN.get(name, f"Which {_said(seen)} it was, out of {len(values)}; or another one.")
    return Declared(name, seen.name, "enum", {"values": [*values]}, says, note)


def _version(seen: Property, name: str) -> Declared | str:
    if seen.texts is None:
        return f"about {seen.different.total()} different versions"
    found = [re.match(r"v?(\d+)\.(\d+)", text) for text in seen.texts]
    pairs = [(int(one[1]), int(one[2])) for one in found if one]
    tops: list[object] = [_top(max(pair[part] for pair in pairs)) for part in (0, 1)]
    says = "Which version you use, without its last part."
    return Declared(name, seen.name, "version", {"max": tops}, says, "")


def _top(most: int) -> int:
    """Choose the highest number that is declared, with some room for later versions."""
    return next((top for top in _TOPS if top >= most + most // 5), _TOPS[-1])


def _bucket(seen: Property, name: str) -> Declared | str:
    numbers = sorted(seen.numbers)
    low, high = numbers[0], numbers[-1]
    if low == high:
        return "always the same"
    many = seen.different.total() > max(10, 0.5 * seen.present)
    whole = not seen.kinds["number"]
    if many and whole and high >= 10**8:
        times = (low >= 9.4e8 and high <= 4.1e9) or (low >= 9.4e11 and high <= 4.1e12)
        return "dates and times" if times else "keys or ids"
    edges = edges_of(numbers)
    says = f"Roughly how large {_said(seen)} was."
    return Declared(name, seen.name, "bucket", {"edges": [*edges]}, says, "")


def edges_of(numbers: list[float]) -> list[int | Decimal]:
    """Choose the edges of buckets at the quantiles of `numbers`, which are in ascending order.

    Each edge is rounded to 1, 2 or 5 times a power of ten. If there are only a few different whole
    numbers, each gets its own bucket.
    """
    different = sorted(set(numbers))
    if len(different) <= 8 and all(one == int(one) for one in different):
        return [int(one) for one in different[1:]]
    edges: set[Decimal] = set()
    for quantile in _QUANTILES:
        at = numbers[min(len(numbers) - 1, int(quantile * len(numbers)))]
        edge = rounded(at)
        if numbers[0] < edge <= numbers[-1]:
            edges.add(edge)
    if not edges:
        edges.add(_exact(different[-1]))
    return [int(edge) if edge == int(edge) else edge for edge in sorted(edges)]


def rounded(number: float) -> Decimal:
    """Round to 1, 2 or 5 times a power of ten, whichever is nearest by ratio; very small numbers
    become 0."""
    if abs(number) < 1e-6:
        return Decimal(0)
    power = math.floor(math.log10(abs(number)))
    scaled = abs(number) / 10.0**power
    digit = min((1, 2, 5, 10), key=lambda one: abs(math.log(scaled / one)))
    sign = -1 if number < 0 else 1
    return Decimal(sign * digit) * Decimal(10) ** power


def _exact(number: float) -> Decimal:
    """Round a number to at most six decimals."""
    return Decimal(repr(round(number, 6))).normalize()

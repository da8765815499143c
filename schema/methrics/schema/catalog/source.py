"""Read a catalog source: the TOML that a developer writes becomes the content to sign.

    [catalog]                label, contact, results; number and previous (hex), unless signing
                             fills them in
    [types.NAME]             kind, question, why, owner, review, expires, retention_days,
                             entropy_bits, chart; lateness_days, resolution, pseudonym,
                             one_in, work
    [types.NAME.release]     delay, jitter, every = [least, most] (state only); seconds
    [types.NAME.count]       max, window (seconds)
    [types.NAME.sequence]    steps, offset_edges (seconds), max_steps
    [types.NAME.fields.F]    type, says, source, randomize = {epsilon = 1.0}, and the type's
                             parameters

This module only translates the source. `rules` then checks the result like a catalog from the
network. Unknown keys are refused, because they are usually typing errors.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal

from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.fields import EPSILON_MAX, EPSILON_MIN
from methrics.schema.catalog.rules import Content, read_content
from methrics.schema.errors import CatalogError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.limits import CATALOG_MAX, LATE_DEFAULT, TIME_STEP
from methrics.schema.wire.problem import Problem
from methrics.schema.wire.reading import (
    BAD_TEXT,
    MISSING_KEY,
    OUT_OF_RANGE,
    SYNTAX,
    UNKNOWN_KEY,
    WRONG_TYPE,
    Reader,
    kind_of,
    show,
)

SOURCE_MAX = 4 * CATALOG_MAX
"""The most characters of a source: four times the limit of a catalog, because of comments."""

_DAY = 86_400
_DEFAULTS: dict[str, object] = {
    "lateness": LATE_DEFAULT,
    "resolution": TIME_STEP,
    "pseudonym": "none",
    "one_in": [1],
    "work": 0,
}


class CatalogSource:
    """A source that breaks no wire rule; it can be linted and signed."""

    __slots__ = ("content",)

    def __init__(self, content: Content) -> None:
        self.content = content

    @property
    def label(self) -> str:
        """Return the label, the readable part of the topic."""
        return self.content.label

    @property
    def number(self) -> int:
        """Return the catalog's number; 1 for the first catalog of a namespace."""
        return self.content.number

    @property
    def previous(self) -> bytes | None:
        """Return the id of the previous catalog, None for number 1."""
        return self.content.previous

    @property
    def contact(self) -> str:
        """Return the address for questions."""
        return self.content.contact

    @property
    def results(self) -> str:
        """Return the address at which the results can be seen, "" if there is none."""
        return self.content.results

    @property
    def types(self) -> dict[str, EventType]:
        """Return the event types by name."""
        return self.content.types

    def payload(self) -> bytes:
        """Encode the payload that would be signed."""
        return encode(self.content.to_wire())


def read_source(text: str) -> CatalogSource | list[Problem]:
    """Read TOML text. Returns the source, or all problems that break a wire rule. Never raises."""
    if len(text) > SOURCE_MAX:
        return [Problem(SYNTAX, "source", f"is longer than {SOURCE_MAX} characters; shorten it")]
    try:
        # Some editors begin a file with a byte order mark.
        document = tomllib.loads(text.removeprefix("\ufeff"), parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        return [Problem(SYNTAX, "source", f"is not TOML: {_one_line(error)}")]
    except (ValueError, ArithmeticError, RecursionError) as error:
        # Integers of thousands of digits, invalid numbers, and nesting that is too deep.
        return [Problem(SYNTAX, "source", f"has an invalid value: {_one_line(error)}")]
    reader = Reader(strict=False)
    content = read_content(reader, _translate(reader, document))
    return reader.problems or CatalogSource(content)


def parse_source(text: str) -> CatalogSource:
    """Read TOML text. Raises CatalogError with the first problem if there are any."""
    found = read_source(text)
    if isinstance(found, CatalogSource):
        return found
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    raise CatalogError(
        "catalog-source", f"{found[0]}{more}", "run `methrics catalog lint` to see them all"
    )


def _one_line(error: BaseException) -> str:
    return show(str(error).replace("\n", " ")).strip("'\"")


def _translate(reader: Reader, document: dict[str, object]) -> dict[str, object]:
    """Make the payload's map from the parts that are valid; `rules` reports all other problems."""
    wire: dict[str, object] = {}
    for key in document:
        if key not in ("catalog", "types"):
            reader.complain(
                UNKNOWN_KEY, "source", f"unknown table {show(key)}; known: catalog, types"
            )
    head = document.get("catalog")
    if isinstance(head, dict):
        head = reader.table(
            head, "catalog", (), ("label", "number", "previous", "contact", "results")
        )
        wire.update(number=1)
        wire.update(head)
        if "previous" in head:
            wire["previous"] = _identity(reader, head["previous"])
    else:
        reader.complain(MISSING_KEY, "catalog", "the table [catalog] is missing; add it")
    types = document.get("types")
    if isinstance(types, dict):
        wire["types"] = {
            name: _translate_type(
                reader, entry, f"types.{name}" if name.isidentifier() else "types"
            )
            for name, entry in types.items()
        }
    elif "types" in document:
        wire["types"] = types
    return wire


def _translate_type(reader: Reader, value: object, where: str) -> object:
    if not isinstance(value, dict):
        return value
    wire = {**_DEFAULTS, **value}
    if "lateness" in value:
        rule = "unknown key lateness; give lateness_days"
        reader.complain(UNKNOWN_KEY, where, rule)
    wire["lateness"] = LATE_DEFAULT
    if "lateness_days" in value:
        days = reader.uint(wire.pop("lateness_days"), f"{where}.lateness_days", 1, 366, "days")
        wire["lateness"] = days * _DAY
    if "expires" in value:
        wire["expires"] = _midnight(reader, value["expires"], f"{where}.expires")
    fields = value.get("fields", {})
    if isinstance(fields, dict):
        wire["fields"] = [
            _translate_field(reader, name, entry, f"{where}.fields")
            for name, entry in fields.items()
        ]
    else:
        reader.complain(WRONG_TYPE, f"{where}.fields", "should be a table per field")
        wire["fields"] = []
    return wire


def _translate_field(reader: Reader, name: str, value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict):
        reader.complain(WRONG_TYPE, where, f"{show(name)} should be a table with type and says")
        return {"name": name, "type": "flag", "says": "-"}
    if "name" in value:
        reader.complain(
            UNKNOWN_KEY, where, f"unknown key name in {show(name)}; its table has the name"
        )
    wire = {**value, "name": name}
    if isinstance(edges := value.get("edges"), list):
        wire["edges"] = [_exact(edge) if isinstance(edge, Decimal) else edge for edge in edges]
    if "randomize" in value:
        at = f"{where}.{name}.randomize" if name.isidentifier() else where
        wire["randomize"] = _thousandths(reader, value["randomize"], at)
    return wire


def _thousandths(reader: Reader, value: object, where: str) -> int:
    """Read `{epsilon = 1.0}` as thousandths, as on the wire: 1000."""
    epsilon = reader.table(value, where, ("epsilon",)).get("epsilon", Decimal(1))
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | Decimal):
        rule = f"should be a number such as 1.0, is {kind_of(epsilon)}"
        reader.complain(WRONG_TYPE, f"{where}.epsilon", rule)
        return 1000
    number = Decimal(epsilon)
    low, high = (Decimal(bound).scaleb(-3) for bound in (EPSILON_MIN, EPSILON_MAX))
    if not number.is_finite() or not low <= number <= high:
        rule = "should lie from 0.1 (hides most) to 10 (hides almost nothing)"
        reader.complain(OUT_OF_RANGE, f"{where}.epsilon", rule)
    elif number != number.quantize(Decimal("0.001")):
        reader.complain(OUT_OF_RANGE, f"{where}.epsilon", "should have three decimals at most")
    else:
        return int(number.scaleb(3))
    return 1000


def _exact(number: Decimal) -> object:
    """Write a decimal as on the wire: a whole number, or text in its shortest plain form."""
    if not number.is_finite() or not -16 <= number.adjusted() <= 16 or len(str(number)) > 40:
        return number  # `rules` refuses it
    if number == number.to_integral_value():
        return int(number)
    return f"{number.normalize():f}"


def _midnight(reader: Reader, value: object, where: str) -> int:
    """Convert a TOML date to the Unix time at which it starts in UTC."""
    if type(value) is not date:
        reader.complain(WRONG_TYPE, where, "should be a date such as 2027-01-31, without quotes")
    elif not 1970 < value.year < 2106:
        reader.complain(OUT_OF_RANGE, where, "should be a date before 2106")
    else:
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    return _DAY


def _identity(reader: Reader, value: object) -> bytes:
    """Read the 64 hex digits of an id as 32 bytes."""
    if isinstance(value, str) and len(value) == 64:
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    reader.complain(BAD_TEXT, "catalog.previous", "should be the 64 hex digits of a catalog's id")
    return bytes(32)

"""Read untrusted maps: signed catalogs (strict) and the sources that authors write (lenient).

One set of rules covers both a catalog from the network and one that its author is writing, so the
two cannot differ. In strict mode, the first breach raises `RefusedError`. Otherwise each breach
becomes a `Problem` and reading continues with a default value, so that an author sees all breaches.
Codes M001 to M049 are breaches of the wire rules and are documented in SPEC.md.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from methrics.schema.errors import RefusedError
from methrics.schema.wire.problem import Problem
from methrics.schema.wire.verdict import Reason

SYNTAX = "M001"
UNKNOWN_KEY = "M002"
MISSING_KEY = "M003"
WRONG_TYPE = "M004"
OUT_OF_RANGE = "M005"
BAD_NAME = "M006"
BAD_TEXT = "M007"
REPEATED = "M008"
DISORDERED = "M009"
UNKNOWN_WORD = "M010"
MISPLACED = "M011"
RESERVED = "M012"
BAD_LENGTH = "M013"
TOO_SOON = "M014"
TOO_LARGE = "M015"
OVER_BUDGET = "M016"
BROKEN_CHAIN = "M017"
BAD_LINK = "M018"
BAD_SOURCE = "M019"
BAD_RANDOMIZE = "M020"
TOO_MANY_CONTENTS = "M021"

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGIT = frozenset("0123456789")
_LETTER_DIGIT = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ") | _DIGIT
_NAME = _LOWER | _DIGIT | {"_"}
_LABEL = _LOWER | _DIGIT | {"-"}
_WORD = _LETTER_DIGIT | frozenset(" ._+/-")
_HOST = _LETTER_DIGIT | frozenset(".-")
_PATH = _LETTER_DIGIT | frozenset("._~/?=&%+#-")
NAME_MAX = 32
"""The most characters of a name, a label or a word."""

# Control characters, line separators and bidirectional overrides could forge what a consent screen
# shows. The set is written out, and not taken from a Unicode table, so that every implementation
# refuses the same catalogs.
BARRED = frozenset(
    [chr(n) for n in (*range(0x20), *range(0x7F, 0xA0))]
    + [chr(n) for n in (0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF)]
)

# Written out for the same reason: Python's set of white space changes with each Unicode version.
BLANK = "".join(
    chr(n) for n in (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)
)

_KINDS = {
    "dict": "a table",
    "list": "a list",
    "str": "text",
    "int": "a whole number",
    "bool": "a boolean",
    "float": "a decimal number",
    "Decimal": "a decimal number",
    "datetime": "a date and time",
}


ABSENT = object()
"""The value of a missing key, which `table` has already reported. The methods return a default for
it and report nothing."""


def kind_of(value: object) -> str:
    """Name the type of `value` for an error message, in the words of a catalog's author."""
    name = type(value).__name__
    return _KINDS.get(name, f"a {name}")


class Reader:
    """Takes typed values out of decoded maps and reports the values that break a rule."""

    __slots__ = ("problems", "strict")

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.problems: list[Problem] = []

    def complain(self, code: str, where: str, message: str) -> None:
        """Raise RefusedError(OFF_SCHEMA) if strict, else append a `Problem`."""
        if self.strict:
            raise RefusedError(Reason.OFF_SCHEMA, f"{code} {where}: {message}")
        self.problems.append(Problem(code, where, message))

    def table(
        self,
        value: object,
        where: str,
        required: Collection[str],
        optional: Collection[str] = (),
    ) -> dict[str, object]:
        """Read a map that must have the keys `required` and may have the keys `optional`.

        Returns its known keys only.
        """
        if type(value) is not dict:
            self.complain(WRONG_TYPE, where, f"should be a table, is {kind_of(value)}")
            return {}
        for key in value:
            if key not in required and key not in optional:
                allowed = ", ".join(sorted({*required, *optional}))
                self.complain(UNKNOWN_KEY, where, f"unknown key {show(key)}; known: {allowed}")
        for key in required:
            if key not in value:
                self.complain(MISSING_KEY, where, f"{key} is missing; add it")
        return {key: item for key, item in value.items() if key in required or key in optional}

    def text(self, value: object, where: str, limit: int, *, empty: bool = False) -> str:
        """Read one line of text of 1 to `limit` bytes of UTF-8; 0 bytes only with `empty`."""
        if value is ABSENT:
            return ""
        if type(value) is not str:
            self.complain(WRONG_TYPE, where, f"should be text, is {kind_of(value)}")
            return ""
        if not empty and not value.strip(BLANK):
            self.complain(BAD_TEXT, where, "is empty; write one sentence")
        elif not BARRED.isdisjoint(value):
            self.complain(BAD_TEXT, where, "has a line break or control character; use one line")
        elif len(value.encode("utf-8", "replace")) > limit:
            self.complain(BAD_TEXT, where, f"is longer than {limit} bytes; shorten it")
        else:
            return value
        return ""

    def uint(self, value: object, where: str, low: int, high: int, unit: str = "") -> int:
        """Read a whole number from `low` to `high`; return `low` after a complaint."""
        if value is ABSENT:
            return low
        unit = f" {unit}" if unit else ""
        if type(value) is not int:
            self.complain(WRONG_TYPE, where, f"should be a whole number, is {kind_of(value)}")
            return low
        if not low <= value <= high:
            self.complain(OUT_OF_RANGE, where, f"should be from {low} to {high}{unit}")
            return low
        return value

    def array(self, value: object, where: str, low: int, high: int) -> list[object]:
        """Read a list of `low` to `high` entries; return an empty list after a complaint."""
        if value is ABSENT:
            return []
        if type(value) is not list:
            self.complain(WRONG_TYPE, where, f"should be a list, is {kind_of(value)}")
            return []
        if not low <= len(value) <= high:
            self.complain(BAD_LENGTH, where, f"should have {low} to {high} entries")
            return []
        return value

    def one_of(self, value: object, where: str, words: Sequence[str]) -> str:
        """Read one of a closed list of words; return the first word after a complaint."""
        if value is ABSENT:
            return words[0]
        if type(value) is not str or value not in words:
            self.complain(UNKNOWN_WORD, where, f"{show(value)} is not one of {', '.join(words)}")
            return words[0]
        return value

    def code(self, value: object, where: str, codes: Collection[str]) -> str:
        """Read one of a closed list of codes. Complaints do not quote the list, which is too
        long."""
        if type(value) is not str or value not in codes:
            self.complain(UNKNOWN_WORD, where, f"{show(value)} is no code of the list; remove it")
            return ""
        return value

    def name(self, value: object, where: str) -> str:
        """Read the name of an event type, field or step."""
        rule = "lower case letters, digits and _, at most 32"
        return self._spelled(value, where, is_name, rule)

    def label(self, value: object, where: str) -> str:
        """Read a label, the readable part of a topic."""
        rule = "lower case letters, digits and -, at most 32"
        return self._spelled(value, where, is_label, rule)

    def word(self, value: object, where: str) -> str:
        """Read one declared value of an enum."""
        rule = "letters, digits, inner spaces and ._+/-, at most 32 characters"
        return self._spelled(value, where, is_word, rule)

    def address(self, value: object, where: str, limit: int) -> str:
        """Read a web address of at most `limit` bytes that any program can turn into a link."""
        found = self.text(value, where, limit)
        if found and not is_address(found):
            rule = "should be an address such as https://example.org/charts, of plain characters"
            self.complain(BAD_LINK, where, rule)
            return ""
        return found

    def unique(self, values: Sequence[str], where: str) -> tuple[str, ...]:
        """Return `values`; complain if a value is repeated."""
        seen: set[str] = set()
        twice: set[str] = set()
        for value in values:
            (twice if value in seen and value else seen).add(value)
        if twice:
            self.complain(REPEATED, where, f"{', '.join(sorted(twice))} is repeated; remove one")
        return tuple(values)

    def _spelled(self, value: object, where: str, allowed: Callable[[str], bool], rule: str) -> str:
        if value is ABSENT:
            return ""
        if type(value) is not str:
            self.complain(WRONG_TYPE, where, f"should be text, is {kind_of(value)}")
            return ""
        if not allowed(value):
            self.complain(BAD_NAME, where, f"{show(value)} is not allowed; use {rule}")
            return ""
        return value


# Character sets instead of regular expressions, because compiling expressions would add a
# millisecond to the start of each app.


def is_name(text: str) -> bool:
    """Tell whether `text` matches `[a-z][a-z0-9_]{0,31}`."""
    return 0 < len(text) <= NAME_MAX and text[0] in _LOWER and set(text) <= _NAME


def is_label(text: str) -> bool:
    """Tell whether `text` matches `[a-z][a-z0-9-]{0,31}`."""
    return 0 < len(text) <= NAME_MAX and text[0] in _LOWER and set(text) <= _LABEL


def is_word(text: str) -> bool:
    """Tell whether `text` matches `[A-Za-z0-9]([A-Za-z0-9 ._+/-]{0,30}[A-Za-z0-9._+/-])?`."""
    return (
        0 < len(text) <= NAME_MAX
        and text[0] in _LETTER_DIGIT
        and text[-1] != " "
        and set(text) <= _WORD
    )


def is_address(text: str) -> bool:
    """Tell whether `text` matches
    `https://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~/=+#&%?-]*)?`.

    Such an address has no user name, and no character that HTML, Markdown or a shell interprets
    within quotes.
    """
    if not text.startswith("https://"):
        return False
    authority, _, path = text[len("https://") :].partition("/")
    host, colon, port = authority.partition(":")
    return (
        host[:1] in _LETTER_DIGIT
        and set(host) <= _HOST
        and (not colon or (0 < len(port) <= 5 and set(port) <= _DIGIT))
        and set(path) <= _PATH
    )


def show(value: object) -> str:
    """Quote `value` in at most 40 ASCII characters, which are safe to print in one line."""
    if isinstance(value, int) and not -(2**64) < value < 2**64:
        return "a huge number"  # Python refuses to print integers of more than 4,300 digits
    text = ascii(value) if isinstance(value, str | int | bytes) else kind_of(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

"""Summarizes an export for a draft, in one pass and bounded memory (pure)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from random import Random

from methrics.aggregate.mixpanel.export import Tracked, hashed
from methrics.node.bridges.naming import IDENTIFIERS, SOURCE_MAX, field_name, is_reserved
from methrics.schema.catalog.regions import COUNTRIES, LANGUAGES

EVENTS_MAX = 256
"""Maximum number of event names. Events with further names are counted together."""
PROPERTIES_MAX = 64
"""Maximum number of properties of each event name."""
PROPERTIES_TOTAL = 2000
"""Maximum number of properties of all event names together."""
VALUES_MAX = 256
"""Maximum number of different texts that are kept for a property, as many as an enum may have."""
VALUES_TOTAL = 40_000
"""Maximum number of different texts that are kept in all. A property with more is free text."""
SAMPLE = 1000
"""Size of the random sample of numbers that is kept for each property."""
NUMBER_MAX = 10**15
"""The largest number that is read as an amount. Larger ones are probably keys or ids."""
DISTINCT_KEPT = 2048
"""Number of hashes that are kept to count people: the count is exact up to this number, and within
about 3 % above it."""
DIFFERENT_KEPT = 256
"""Number of hashes that are kept to count the values of a property: within about 8 % above it."""

_MASK = (1 << 64) - 1
_DAY = 86_400

USUAL = {
    "$os": "os",
    "$app_version_string": "version",
    "$app_version": "version",
    "mp_country_code": "country",
    "$browser": "browser",
}
"""Properties that Mixpanel adds to every event and that a heartbeat may report -> the name of the
field in ready-made event types."""

SHARED = frozenset({"os", "version", "country", "language", "browser", "platform"})
"""Names of fields that describe the machine, and not the event, if an app adds them to every
event."""

TEXTS = {
    "email": re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}\.[A-Za-z]{2,24}"),
    "url": re.compile(r"[a-z][a-z0-9+.-]{1,15}://.*", re.IGNORECASE | re.DOTALL),
    "address": re.compile(r"\d{1,3}(\.\d{1,3}){3}|[0-9a-f]{0,4}(:[0-9a-f]{0,4}){2,7}", re.I),
    "time": re.compile(r"\d{4}-\d\d-\d\d([T ].{0,40})?"),
    "key": re.compile(r"[0-9a-f-]{32,36}|(?=.*\d)[0-9A-Za-z_-]{16,}", re.I),
    "phone": re.compile(r"\+?\d[\d ()/-]{7,20}"),
    "version": re.compile(r"v?\d{1,4}(\.\d{1,9}){1,3}([-+. ]\S{0,24})?"),
}
"""The shapes of texts, in the order in which they are tried."""


class Distinct:
    """Counts distinct hashes: exactly up to `most`, by sampling beyond
    (Wegman's adaptive sampling: P. Flajolet, Computing 43, 1990)."""

    __slots__ = ("_kept", "_level", "_most")

    def __init__(self, most: int = DISTINCT_KEPT) -> None:
        self._most = most
        self._kept: set[int] = set()
        self._level = 0

    def add(self, hash_: int) -> None:
        """Add a hash of 64 evenly distributed bits."""
        if hash_ & ((1 << self._level) - 1):
            return
        self._kept.add(hash_)
        while len(self._kept) > self._most:
            self._level += 1
            below = (1 << self._level) - 1
            self._kept = {one for one in self._kept if not one & below}

    def total(self) -> int:
        """Return the number of distinct hashes, or an estimate of it."""
        return len(self._kept) << self._level


class Room:
    """The number of texts and properties that may still be kept."""

    __slots__ = ("left", "properties")

    def __init__(self, left: int = VALUES_TOTAL, properties: int = PROPERTIES_TOTAL) -> None:
        self.left = left
        self.properties = properties


class Text:
    """One text: its shape, the number of its occurrences, and up to `least` people who had it."""

    __slots__ = ("n", "people", "shape")

    def __init__(self, shape: str) -> None:
        self.shape = shape
        self.n = 0
        self.people: set[int] = set()


class Property:
    """The values of one property: kinds, shapes, frequent texts with their people, numbers."""

    def __init__(self, name: str, least: int) -> None:
        self.name = name
        self.kinds: Counter[str] = Counter()
        """Number of values by kind: null, flag, whole, number, huge, text, list."""
        self.shapes: Counter[str] = Counter()
        """Number of texts by shape: the names of `TEXTS`, country, language, other."""
        self.texts: dict[str, Text] | None = {}
        """The different texts; None if there are too many."""
        self.different = Distinct(DIFFERENT_KEPT)
        self.numbers: list[float] = []
        self._seen_numbers = 0
        self._least = least
        self._rng: Random | None = None

    @property
    def present(self) -> int:
        """The number of events that had a value."""
        return self.kinds.total() - self.kinds["null"]

    def add(self, value: object, person: int | None, room: Room) -> None:
        """Add one value."""
        if value is None:
            self.kinds["null"] += 1
        elif isinstance(value, bool):
            self.kinds["flag"] += 1
        elif isinstance(value, int | float):
            if not -NUMBER_MAX <= value <= NUMBER_MAX:  # NaN is not an amount either
                self.kinds["huge"] += 1
                return
            self.kinds["whole" if value == int(value) else "number"] += 1
            self._add_number(value)
        elif isinstance(value, str):
            self.kinds["text"] += 1
            self._add_text(value, person, room)
        else:
            self.kinds["list"] += 1

    def _add_number(self, value: float) -> None:
        self.different.add(hashed(repr(value)))
        self._seen_numbers += 1
        if len(self.numbers) < SAMPLE:
            self.numbers.append(value)
            return
        if self._rng is None:
            self._rng = Random(self.name)
        if (place := int(self._rng.random() * self._seen_numbers)) < SAMPLE:
            self.numbers[place] = value

    def _add_text(self, value: str, person: int | None, room: Room) -> None:
        known = self.texts.get(value) if self.texts is not None else None
        if known is None:
            known = Text(shape_of(value))
            self.different.add(hashed(value))
            self._keep(value, known, room)
        self.shapes[known.shape] += 1
        known.n += 1
        if person is not None and len(known.people) < self._least:
            known.people.add(person)

    def _keep(self, value: str, text: Text, room: Room) -> None:
        """Keep a new text if there is room."""
        if self.texts is None:
            return
        if len(self.texts) >= VALUES_MAX or len(value) > 255 or not room.left:
            room.left += len(self.texts)
            self.texts = None
        else:
            room.left -= 1
            self.texts[value] = text


def shape_of(text: str) -> str:
    """Return the shape of a text: a name of `TEXTS`, country, language or other."""
    if len(text) == 2:
        if text in COUNTRIES:
            return "country"
        if text in LANGUAGES:
            return "language"
    if len(text) <= 512:
        for shape, pattern in TEXTS.items():
            if pattern.fullmatch(text):
                return shape
    return "other"


class Event:
    """Summarizes the events of one name."""

    def __init__(self, name: str, least: int) -> None:
        self.name = name
        self.n = 0
        self.people = Distinct()
        self.person_days = Distinct()
        self.properties: dict[str, Property] = {}
        self.more_properties = 0
        """Number of values of properties that are not kept."""
        self._least = least

    def add(self, one: Tracked, room: Room) -> None:
        """Add one event."""
        self.n += 1
        if one.person is not None:
            self.people.add(one.person)
            self.person_days.add(_mixed(one.person, one.time // _DAY))
        for key, value in one.properties.items():
            if role(key) is not None:
                continue  # it describes the person, not the event: the heartbeat reports it
            known = self.properties.get(key)
            if known is None:
                full = len(self.properties) >= PROPERTIES_MAX or not room.properties
                if full or len(key) > SOURCE_MAX:
                    self.more_properties += 1
                    continue
                room.properties -= 1
                known = self.properties[key] = Property(key, self._least)
            known.add(value, one.person, room)


class Summary:
    """A summary of a whole export. A value gets a name in the draft if at least `least` people
    share it."""

    def __init__(self, least: int) -> None:
        self.least = least
        self.events: dict[str, Event] = {}
        self.more_events = 0
        """Number of events whose names are not kept."""
        self.people = Distinct()
        self.n = 0
        self.first: int | None = None
        self.last = 0
        self.shared: dict[str, Property] = {}
        """Properties that describe the machine, from all events: field name -> values."""
        self.reserved: Counter[str] = Counter()
        """Identifying properties that Mixpanel adds -> number of occurrences."""
        self._room = Room()

    def add_all(self, events: Iterable[Tracked]) -> None:
        """Add every event of an export."""
        for one in events:
            self.add(one)

    def add(self, one: Tracked) -> None:
        """Add one event."""
        self.n += 1
        self.first = one.time if self.first is None else min(self.first, one.time)
        self.last = max(self.last, one.time)
        if one.person is not None:
            self.people.add(one.person)
        known = self.events.get(one.event)
        if known is None and len(self.events) < EVENTS_MAX and len(one.event) <= SOURCE_MAX:
            known = self.events[one.event] = Event(one.event, self.least)
        if known is None:
            self.more_events += 1
        else:
            known.add(one, self._room)
        for key, value in one.properties.items():
            name = role(key)
            if name:
                shared = self.shared.get(name)
                if shared is None:
                    shared = self.shared[name] = Property(key, self.least)
                if shared.name == key:  # a second spelling would count the values twice
                    shared.add(value, one.person, self._room)
            elif name == "" and (key in self.reserved or len(self.reserved) < PROPERTIES_MAX):
                self.reserved[key] += 1


def role(key: str) -> str | None:
    """Return the heartbeat's field for a property.

    It is empty if Mixpanel adds the property or the property identifies people. It is None if the
    property describes the event.
    """
    return _role(key) if len(key) <= SOURCE_MAX else None


@lru_cache(maxsize=4096)
def _role(key: str) -> str | None:
    name = USUAL.get(key) or field_name(key)
    if name in SHARED:
        return name
    return "" if key in IDENTIFIERS or is_reserved(key) else None


def _mixed(a: int, b: int) -> int:
    """Mix two numbers into 64 evenly distributed bits, by the finalizer of SplitMix64."""
    z = (a + b * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)

"""Encode and decode the payloads of reports, erasures and announcements.

Each `decode_x(payload)` gives the value or raises RefusedError; each `encode_x(value)` gives the
payload that `envelope.seal` signs. Shapes and bounds are those of SPEC.md section "Payloads".
`EventType.check_report` checks whether a report fits its event type, and `judge` checks its time.
`catalog.Catalog` reads the payloads of catalogs, and `record` those of records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import decode, encode, head
from methrics.schema.wire.envelope import report_id
from methrics.schema.wire.limits import (
    ANNOUNCED_MAX,
    DAY,
    NEWS_TEXT_MAX,
    NOTICE_MAX,
    REASON_MAX,
    REPORT_MAX,
    SELECTED_MAX,
    TIME_MAX,
    WORD_MAX,
)
from methrics.schema.wire.payloads import (
    ID_SIZE,
    allow_keys,
    checked,
    decode_map,
    id_of,
    list_of,
    number_of,
    read_again,
    refuse,
    text,
    time_of,
)
from methrics.schema.wire.verdict import Reason


@dataclass(slots=True)
class Report:
    """One fact: `values` of one event type at `time` (unix seconds).

    `catalog` is the id (32 bytes) of the catalog that declares `type`. Only count types have a
    `count`, only sequence types a `sequence` of (step, offset bucket) pairs. A sampled report
    stands for `one_in` events. Nobody changes a report after it was made. It is not frozen,
    because to make a frozen one takes five times as long.
    """

    catalog: bytes
    type: str
    time: int
    values: Mapping[str, object]
    count: int | None = None
    one_in: int = 1
    sequence: tuple[tuple[str, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Erasure:
    """Asks those who store a report to delete it; signed with the key of that report.

    `catalog` is the report's, `inner` is the report's inner hash (32 bytes), `day` is the UTC day
    of the report's time, counted from 1970-01-01.
    """

    catalog: bytes
    inner: bytes
    day: int

    def report_id(self, key: bytes) -> bytes:
        """Return the id of the erased report. `key` is the one that signed the erasure."""
        return report_id(key, self.inner)


@dataclass(frozen=True, slots=True)
class News:
    """One piece of news for people, with an https address for more."""

    text: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """A namespace's message to its users; signed with the namespace key (MARS-12).

    Valid from `time` until `expires` (unix seconds). `report_interval` is in seconds, at least a
    day. `relays` are multiaddresses. `selector` maps the name of a fact to its accepted values:
    each reader decides locally, by these, whether the announcement concerns them.
    """

    time: int
    expires: int
    news: tuple[News, ...] = ()
    newest_version: str | None = None
    report_interval: int | None = None
    relays: tuple[str, ...] = ()
    selector: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def concerns(self, facts: Mapping[str, str]) -> bool:
        """Whether the selector accepts a reader with these facts; a missing fact never matches."""
        return all(facts.get(name) in values for name, values in self.selector.items())


def encode_report(report: Report) -> bytes:
    """Encode a report. Raises ValueError if `decode_report` would refuse the payload."""
    # As in `decode_report`: many reports differ only in their time, so the bytes before and after
    # the time are cached.
    values = report.values
    if report.sequence is not None or not 0xFFFF < report.time < 1 << 32:
        return _encode_report(report)
    try:
        # The types of the values distinguish True from 1.
        said = (
            report.catalog,
            report.type,
            *values.items(),
            *map(type, values.values()),
            report.count,
            report.one_in,
        )
        known = _ENCODED.get(said)
    except TypeError:  # an unhashable value, which no report may have
        return _encode_report(report)
    if known is None:
        payload = _encode_report(report)
        if len(_ENCODED) >= _REPORTS_MAX:
            _ENCODED.clear()
        known = _ENCODED[said] = payload[:_TIME], payload[_TIME_END:]
    return known[0] + report.time.to_bytes(4, "big") + known[1]


_ENCODED: dict[tuple[object, ...], tuple[bytes, bytes]] = {}
_REPORTS_MAX = 8192
"""The most reports whose encoded pieces are cached."""


def _encode_report(report: Report) -> bytes:
    # Built from cached pieces: reports repeat the same few names and values.
    values = report.values
    parts = [
        b"\x64time" + head(0, report.time) + b"\x64type" + _piece(report.type),
        b"" if report.count is None else b"\x65count" + head(0, report.count),
        b"" if report.one_in == 1 else b"\x66one_in" + head(0, report.one_in),
        b"\x66values" + head(5, len(values)),
        # Deterministic CBOR orders keys by their encoded bytes, and no key is the start of another.
        *sorted([_piece(name) + _any(value) for name, value in values.items()]),
        b"\x67catalog" + head(2, len(report.catalog)) + report.catalog,
        b"" if report.sequence is None else b"\x68sequence" + encode(report.sequence),
    ]
    entries = 4 + (report.count is not None) + (report.one_in != 1) + (report.sequence is not None)
    return read_again(head(5, entries) + b"".join(parts), decode_report)


def _any(value: object) -> bytes:
    if isinstance(value, str | int):
        return _piece(value, type(value) is bool)
    return encode(value)


@lru_cache(4096)
def _piece(value: str | int, _is_flag: bool = False) -> bytes:
    """Encode a word or number. `_is_flag` keeps 1 and True apart in the cache."""
    return encode(value)


def decode_report(payload: bytes) -> Report:
    """Decode a report. Raises RefusedError: OVERSIZE, MALFORMED."""
    report, content = recall_report(payload)
    if content is not None:
        report.values = dict(report.values)
    return report


class Content:
    """What reports have in common that differ only in their time: `report` is one of time 0.

    `fits` is for `judge`: the event type whose check this content has passed.
    """

    __slots__ = ("fits", "report")

    def __init__(self, report: Report) -> None:
        self.report = report
        self.fits: object = None


def recall_report(payload: bytes) -> tuple[Report, Content | None]:
    """Decode a report whose values nobody may change, because reports of the same content share
    them. Return also that content, if it is remembered. Raises RefusedError: OVERSIZE, MALFORMED.
    """
    # Fields have few values by design, so many reports differ only in their time. The content is
    # remembered under all bytes of the report except the 4 bytes of the time.
    if payload[1:_TIME] != _TIME_KEY or payload[:1] not in _REMEMBERED:
        return _decode_report(payload), None
    rest = payload[:1] + payload[_TIME_END:]
    content = _contents.get(rest)
    if content is not None:
        time = int.from_bytes(payload[_TIME:_TIME_END], "big")
        if time > 0xFFFF:
            of = content.report
            return Report(of.catalog, of.type, time, of.values, of.count, of.one_in), content
    report = _decode_report(payload)
    if report.sequence is None:
        content = _contents.add(rest, report)
    return report, content


class _Contents:
    """The remembered contents, by their bytes. Threads may share it."""

    __slots__ = ("_by_bytes", "_size", "get")

    def __init__(self) -> None:
        self._forget()

    def __len__(self) -> int:
        return len(self._by_bytes)

    def add(self, rest: bytes, report: Report) -> Content:
        """Remember the content of a report. Forget all others if they are too many."""
        if self._size + len(rest) + _CONTENT_COST > _CONTENTS_SIZE:
            self._forget()
        self._size += len(rest) + _CONTENT_COST
        content = self._by_bytes[rest] = Content(replace(report, time=0))
        return content

    def _forget(self) -> None:
        self._size = 0
        self._by_bytes: dict[bytes, Content] = {}
        self.get = self._by_bytes.get


_TIME_KEY = b"\x64time\x1a"
_TIME = 1 + len(_TIME_KEY)
_TIME_END = _TIME + 4
_REMEMBERED = (b"\xa4", b"\xa5")
"""Only maps with these heads are remembered: four entries, or five with `count` or `one_in`."""
_CONTENT_COST = 512
_CONTENTS_SIZE = 12_582_912
"""The most bytes of remembered contents, each counted with `_CONTENT_COST` for its objects: about
20 MB of memory, the contents of 20,000 heartbeats."""
_contents = _Contents()


def _decode_report(payload: bytes) -> Report:
    body = decode(payload, limit=REPORT_MAX)
    if type(body) is not dict:
        refuse("a report is not a map")
    get = body.get
    catalog, name, time, values = get("catalog"), get("type"), get("time"), get("values")
    if (
        type(catalog) is not bytes
        or len(catalog) != ID_SIZE
        or type(name) is not str
        or type(time) is not int
        or not 0 <= time <= TIME_MAX
        or type(values) is not dict
    ):
        refuse("a report lacks a valid catalog, type, time or values")
    if len(body) == 4:
        return Report(catalog, name, time, values)
    allow_keys(body, {"catalog", "type", "time", "values", "count", "one_in", "sequence"})
    count = number_of(body, "count", 1) if "count" in body else None
    one_in = number_of(body, "one_in", 2) if "one_in" in body else 1
    sequence = _sequence(body["sequence"]) if "sequence" in body else None
    return Report(catalog, name, time, values, count, one_in, sequence)


def _sequence(steps: object) -> tuple[tuple[str, int], ...]:
    if type(steps) is not list or not steps:
        refuse("a sequence is not an array of steps")
    found = []
    for step in steps:
        if type(step) is not list or len(step) != 2:
            refuse("a step is not a name and an offset")
        name, offset = step
        if type(name) is not str or type(offset) is not int or offset < 0:
            refuse("a step is not a name and an offset")
        found.append((name, offset))
    return tuple(found)


def encode_erasure(erasure: Erasure) -> bytes:
    """Encode an erasure. Raises ValueError if `decode_erasure` would refuse the payload."""
    body = {"catalog": erasure.catalog, "inner": erasure.inner, "day": erasure.day}
    return checked(body, decode_erasure)


def decode_erasure(payload: bytes) -> Erasure:
    """Decode an erasure. Raises RefusedError: OVERSIZE, MALFORMED."""
    body = decode_map(payload, NOTICE_MAX)
    allow_keys(body, {"catalog", "inner", "day"})
    day = number_of(body, "day", 0)
    if day > TIME_MAX // DAY:
        refuse("day is after the year 9999")
    return Erasure(id_of(body, "catalog"), id_of(body, "inner"), day)


def encode_announcement(announcement: Announcement) -> bytes:
    """Encode an announcement. ValueError if `decode_announcement` would refuse the payload."""
    body: dict[str, object] = {"time": announcement.time, "expires": announcement.expires}
    if announcement.news:
        body["news"] = [
            {"text": news.text} | ({} if news.url is None else {"url": news.url})
            for news in announcement.news
        ]
    if announcement.newest_version is not None:
        body["newest_version"] = announcement.newest_version
    if announcement.report_interval is not None:
        body["report_interval"] = announcement.report_interval
    if announcement.relays:
        body["relays"] = announcement.relays
    if announcement.selector:
        body["selector"] = dict(announcement.selector)
    return checked(body, decode_announcement)


def decode_announcement(payload: bytes) -> Announcement:
    """Decode an announcement; unknown keys are ignored, so that later versions can add keys.

    Raises RefusedError: OVERSIZE, MALFORMED, and OFF_SCHEMA for an interval under a day (MARS-13).
    """
    body = decode_map(payload, NOTICE_MAX)
    interval = number_of(body, "report_interval", 0) if "report_interval" in body else None
    version = body.get("newest_version")
    time, expires = time_of(body, "time"), time_of(body, "expires")
    if expires <= time:
        refuse("an announcement does not expire after its time")
    selector = body.get("selector", {})
    if type(selector) is not dict or len(selector) > ANNOUNCED_MAX:
        refuse(f"a selector is not a map of at most {ANNOUNCED_MAX} entries")
    found = Announcement(
        time=time,
        expires=expires,
        news=tuple(_news(news) for news in list_of(body, "news", ANNOUNCED_MAX)),
        newest_version=None if version is None else text(version, WORD_MAX),
        report_interval=interval,
        relays=tuple(text(relay, REASON_MAX) for relay in list_of(body, "relays", ANNOUNCED_MAX)),
        selector={
            text(name, WORD_MAX): tuple(
                text(value, WORD_MAX) for value in list_of(selector, name, SELECTED_MAX)
            )
            for name in selector
        },
    )
    # Checked last, so that MALFORMED takes precedence over OFF_SCHEMA.
    if interval is not None and interval < DAY:
        raise RefusedError(Reason.OFF_SCHEMA, "a report interval of less than a day")
    return found


def _news(news: object) -> News:
    if type(news) is not dict:
        refuse("a piece of news is not a map")
    url = news.get("url")
    if url is not None and not text(url, REASON_MAX).startswith("https://"):
        refuse("an address does not start with https://")
    return News(text(news.get("text"), NEWS_TEXT_MAX), url)

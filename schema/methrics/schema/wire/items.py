"""Encode and decode the payloads of reports, erasures, revocations and announcements.

Each `decode_x(payload)` gives the value or raises RefusedError; each `encode_x(value)` gives the
payload that `envelope.seal` signs. Shapes and bounds are those of SPEC.md section "Payloads".
`EventType.check_report` checks whether a report fits its event type, and `judge` checks its time.
`catalog.Catalog` reads the payloads of catalogs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import decode, encode, head
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
from methrics.schema.wire.reading import BARRED
from methrics.schema.wire.verdict import Reason

ID_SIZE = 32
"""Size in bytes of an item's id; a catalog's id is the id of its item."""


@dataclass(frozen=True, slots=True)
class Report:
    """One fact: `values` of one event type at `time` (unix seconds).

    `catalog` is the id (32 bytes) of the catalog that declares `type`. Only count types have a
    `count`, only sequence types a `sequence` of (step, offset bucket) pairs. A sampled report
    stands for `one_in` events.
    """

    catalog: bytes
    type: str
    time: int
    values: dict[str, object]
    count: int | None = None
    one_in: int = 1
    sequence: tuple[tuple[str, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Erasure:
    """Asks those who store a report to delete it; signed with the key of that report.

    `report` is the report's id (32 bytes), `catalog` and `time` (unix seconds) are the report's.
    """

    catalog: bytes
    report: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Revocation:
    """Ends event type `type` from `time` (unix seconds) on; signed with the namespace key."""

    type: str
    time: int
    reason: str


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
    return _read_again(head(5, entries) + b"".join(parts), decode_report)


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
    # Fields have few values by design, so many reports differ only in their time. The decoded
    # report is cached under all of its bytes except the 4 bytes of the time.
    if payload[1:_TIME] != _TIME_KEY or payload[:1] not in _REMEMBERED:
        return _decode_report(payload)
    rest = payload[:1] + payload[_TIME_END:]
    known = _REPORTS.get(rest)
    if known is not None:
        time = int.from_bytes(payload[_TIME:_TIME_END], "big")
        if time > 0xFFFF:
            values = known.values.copy()
            return Report(known.catalog, known.type, time, values, known.count, known.one_in)
    report = _decode_report(payload)
    if report.sequence is None:
        if len(_REPORTS) >= _REPORTS_MAX:
            _REPORTS.clear()
        values = report.values.copy()
        _REPORTS[rest] = Report(report.catalog, report.type, 0, values, report.count, report.one_in)
    return report


_TIME_KEY = b"\x64time\x1a"
_TIME = 1 + len(_TIME_KEY)
_TIME_END = _TIME + 4
_REMEMBERED = (b"\xa4", b"\xa5")
"""Only maps with these heads are cached: four entries, or five with `count` or `one_in`."""
_REPORTS: dict[bytes, Report] = {}
_REPORTS_MAX = 8192
"""The most cached reports: 20 MB if all have the largest size, about 5 MB if they are
heartbeats."""


def _decode_report(payload: bytes) -> Report:
    body = decode(payload, limit=REPORT_MAX)
    if type(body) is not dict:
        _refuse("a report is not a map")
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
        _refuse("a report lacks a valid catalog, type, time or values")
    if len(body) == 4:
        return Report(catalog, name, time, values)  # type: ignore[arg-type]  # dict is invariant
    _known(body, {"catalog", "type", "time", "values", "count", "one_in", "sequence"})
    count = _number(body, "count", 1) if "count" in body else None
    one_in = _number(body, "one_in", 2) if "one_in" in body else 1
    sequence = _sequence(body["sequence"]) if "sequence" in body else None
    return Report(catalog, name, time, values, count, one_in, sequence)  # type: ignore[arg-type]


def _sequence(steps: object) -> tuple[tuple[str, int], ...]:
    if type(steps) is not list or not steps:
        _refuse("a sequence is not an array of steps")
    found = []
    for step in steps:
        if type(step) is not list or len(step) != 2:
            _refuse("a step is not a name and an offset")
        name, offset = step
        if type(name) is not str or type(offset) is not int or offset < 0:
            _refuse("a step is not a name and an offset")
        found.append((name, offset))
    return tuple(found)


def encode_erasure(erasure: Erasure) -> bytes:
    """Encode an erasure. Raises ValueError if `decode_erasure` would refuse the payload."""
    body = {"catalog": erasure.catalog, "report": erasure.report, "time": erasure.time}
    return _checked(body, decode_erasure)


def decode_erasure(payload: bytes) -> Erasure:
    """Decode an erasure. Raises RefusedError: OVERSIZE, MALFORMED."""
    body = _map(payload)
    _known(body, {"catalog", "report", "time"})
    return Erasure(_id(body, "catalog"), _id(body, "report"), _time(body, "time"))


def encode_revocation(revocation: Revocation) -> bytes:
    """Encode a revocation. Raises ValueError if `decode_revocation` would refuse the payload."""
    body = {"type": revocation.type, "time": revocation.time, "reason": revocation.reason}
    return _checked(body, decode_revocation)


def decode_revocation(payload: bytes) -> Revocation:
    """Decode a revocation. Raises RefusedError: OVERSIZE, MALFORMED."""
    body = _map(payload)
    _known(body, {"type", "time", "reason"})
    name = _text(body.get("type"), WORD_MAX)
    return Revocation(name, _time(body, "time"), _text(body.get("reason"), REASON_MAX, least=0))


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
    return _checked(body, decode_announcement)


def decode_announcement(payload: bytes) -> Announcement:
    """Decode an announcement; unknown keys are ignored, so that later versions can add keys.

    Raises RefusedError: OVERSIZE, MALFORMED, and OFF_SCHEMA for an interval under a day (MARS-13).
    """
    body = _map(payload)
    interval = _number(body, "report_interval", 0) if "report_interval" in body else None
    version = body.get("newest_version")
    time, expires = _time(body, "time"), _time(body, "expires")
    if expires <= time:
        _refuse("an announcement does not expire after its time")
    selector = body.get("selector", {})
    if type(selector) is not dict or len(selector) > ANNOUNCED_MAX:
        _refuse(f"a selector is not a map of at most {ANNOUNCED_MAX} entries")
    found = Announcement(
        time=time,
        expires=expires,
        news=tuple(_news(news) for news in _list(body, "news", ANNOUNCED_MAX)),
        newest_version=None if version is None else _text(version, WORD_MAX),
        report_interval=interval,
        relays=tuple(_text(relay, REASON_MAX) for relay in _list(body, "relays", ANNOUNCED_MAX)),
        selector={
            _text(name, WORD_MAX): tuple(
                _text(value, WORD_MAX) for value in _list(selector, name, SELECTED_MAX)
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
        _refuse("a piece of news is not a map")
    url = news.get("url")
    if url is not None and not _text(url, REASON_MAX).startswith("https://"):
        _refuse("an address does not start with https://")
    return News(_text(news.get("text"), NEWS_TEXT_MAX), url)


def _refuse(message: str) -> NoReturn:
    raise RefusedError(Reason.MALFORMED, message)


def _checked(body: object, decoder: object) -> bytes:
    """Encode `body`. Raises ValueError if `decoder` would refuse the payload."""
    return _read_again(encode(body), decoder)


def _read_again(payload: bytes, decoder: object) -> bytes:
    try:
        decoder(payload)  # type: ignore[operator]  # one of the decoders above
    except RefusedError as error:
        raise ValueError(error.message) from error
    return payload


def _map(payload: bytes) -> dict[str, object]:
    body = decode(payload, limit=NOTICE_MAX)
    if type(body) is not dict:
        _refuse("a payload is not a map")
    return body  # type: ignore[return-value]  # dict is invariant


def _known(body: Mapping[str, object], names: set[str]) -> None:
    unknown = body.keys() - names
    if unknown:
        _refuse(f"{len(unknown)} unknown keys")


def _id(body: Mapping[str, object], name: str) -> bytes:
    value = body.get(name)
    if type(value) is not bytes or len(value) != ID_SIZE:
        _refuse(f"{name} is not an id of {ID_SIZE} bytes")
    return value


def _time(body: Mapping[str, object], name: str) -> int:
    value = _number(body, name, 0)
    if value > TIME_MAX:
        _refuse(f"{name} is after the year 9999")
    return value


def _number(body: Mapping[str, object], name: str, least: int) -> int:
    value = body.get(name)
    if type(value) is not int or value < least:
        _refuse(f"{name} is not an integer of at least {least}")
    return value


def _text(value: object, most: int, least: int = 1) -> str:
    """Check that `value` is text of `least` to `most` bytes of UTF-8 without control characters."""
    if type(value) is not str or not least <= len(value.encode()) <= most:
        _refuse(f"a text does not have {least} to {most} bytes")
    if not BARRED.isdisjoint(value):
        _refuse("a text has a line break or control character")
    return value


def _list(body: Mapping[str, object], name: str, most: int) -> list[object]:
    value = body.get(name, [])
    if type(value) is not list or len(value) > most:
        _refuse(f"{name} is not an array of at most {most} entries")
    return value

"""Signed items for the aggregate's tests: a catalog of every kind of type, reports, erasures."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from catalog_text import CLICKS, TYPE, WALK

from methrics.aggregate.store.store import Batch, Committed, Store
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, accept, judge
from methrics.schema.wire.envelope import Kind, inner_hash, seal, split
from methrics.schema.wire.items import (
    Announcement,
    Erasure,
    Report,
    encode_announcement,
    encode_erasure,
    encode_report,
)
from methrics.schema.wire.record import Revoked, sign_record

NOW = 1_790_000_400
"""2026-09-21 14:20 UTC, a multiple of 600."""

DAY = 86_400


def braced(text: str) -> str:
    """`text` with doubled braces, because SOURCE is formatted again."""
    return text.replace("{", "{{").replace("}", "}}")


SOURCE = f"""
[catalog]
label = "{{label}}"
contact = "https://example.org"

[types.beat]
kind = "state"
chart = "line:os"
{TYPE}
[types.beat.release]
delay = 300
every = [86400, 172800]
jitter = 600
[types.beat.fields.version]
type = "version"
max = [9, 49]
says = "Version."
[types.beat.fields.os]
type = "enum"
values = ["linux", "macos"]
says = "System."
[types.beat.fields.daily]
type = "flag"
source = "first_of_day"
says = "First today."
[types.beat.fields.age]
type = "bucket"
edges = [1, 4, 24]
unit = "weeks"
source = "install_age"
says = "Age."
{{extra}}
{braced(CLICKS)}
{braced(WALK)}
"""

MORE_FIELDS = """
[types.beat.fields.country]
type = "country"
says = "Country."
"""


def seed(*parts: object) -> bytes:
    """A 32-byte seed that depends on `parts` alone."""
    return sha256(repr(parts).encode()).digest()


NAMESPACE = seed("namespace")

_SEEDS: dict[bytes, bytes] = {example_catalog().key: example_seed()}
"""namespace key -> its seed, of the catalogs that were made"""


def catalog(
    label: str = "test",
    extra: str = "",
    key: bytes = NAMESPACE,
    previous: Catalog | None = None,
    replace: tuple[str, str] = ("", ""),
) -> Catalog:
    """A signed catalog made from SOURCE."""
    text = SOURCE.format(label=label, extra=extra)
    if replace[0]:
        assert replace[0] in text
        text = text.replace(*replace)
    made = load(sign(parse_source(text), key, previous))
    _SEEDS[made.key] = key
    return made


def beat(of: Catalog, i: int, time: int = NOW - 7200) -> bytes:
    """Report number `i` of the state type."""
    values: dict[str, object] = {"os": ("linux", "macos", "other")[i % 3], "daily": i % 2 == 0}
    if i % 4:
        values["version"] = f"1.{i % 5}"
        values["age"] = i % 4
    return seal(Kind.REPORT, encode_report(Report(of.id, "beat", time, values)), seed("beat", i))


def clicks(of: Catalog, i: int, time: int = NOW - 7200) -> bytes:
    """Report number `i` of the count type."""
    report = Report(of.id, "clicks", time, {"button": "ok"}, count=i % 100 + 1)
    return seal(Kind.REPORT, encode_report(report), seed("clicks", i))


def walk(of: Catalog, i: int, time: int = NOW - 7200) -> bytes:
    """Report number `i` of the sequence type: one to three steps, every other one sampled."""
    steps = (("start", 0), ("middle", 1), ("end", 2))[: i % 3 + 1]
    report = Report(of.id, "walk", time, {"variant": "ab"[i % 2]}, None, 1 + 9 * (i % 2), steps)
    return seal(Kind.REPORT, encode_report(report), seed("walk", i))


def erasure(of: Catalog, raw: bytes, name: str, i: int, time: int = NOW - 7200) -> bytes:
    """The erasure of the report `raw`, made by the function `name` with number `i`."""
    body = Erasure(of.id, inner_hash(split(raw)), time // DAY)
    return seal(Kind.ERASURE, encode_erasure(body), seed(name, i))


def record(
    *catalogs: Catalog,
    time: int | None = None,
    revoked: dict[str, int] | None = None,
    delisted: dict[bytes, int] | None = None,
    previous: Iterable[bytes] = (),
    expires: int = NOW + 400 * DAY,
    settled: int | None = None,
) -> bytes:
    """A record of the namespace of `catalogs`, which lists them since the beginning of time.

    Without `time`, a record that lists or revokes more is newer.
    """
    gone = {name: Revoked(since, "testing") for name, since in (revoked or {}).items()}
    return sign_record(
        [one.id for one in catalogs],
        _SEEDS[catalogs[0].key],
        time=NOW - 1000 + len(catalogs) + len(gone) if time is None else time,
        expires=expires,
        previous=previous,
        revoked=gone,
        delisted=delisted,
        settled=settled,
    ).raw


def announcement(time: int, key: bytes = NAMESPACE) -> bytes:
    """An announcement of the namespace, valid for a day."""
    body = Announcement(time, time + DAY, newest_version="1.2")
    return seal(Kind.ANNOUNCEMENT, encode_announcement(body), key)


def book(*catalogs: Catalog, expires: int = NOW + 400 * DAY) -> CatalogBook:
    """A book with these catalogs, which a record of each namespace lists until `expires`."""
    made = CatalogBook()
    for catalog in catalogs:
        made.add(catalog, given=True)
    for key in {catalog.key for catalog in catalogs}:
        own = record(*(one for one in catalogs if one.key == key), expires=expires)
        learn(accept(own, made, NOW), made)
    return made


def batch(raws: Iterable[bytes], book: CatalogBook, now: int = NOW) -> Batch:
    """A batch of items that are all accepted. Before a catalog stands the record that lists it."""
    verdicts = []
    for raw in raws:
        if split(raw).kind is Kind.CATALOG:
            verdicts += _listed(load(raw), book)
        verdict = judge(raw, book, now)
        assert isinstance(verdict, Accepted), verdict.reason
        learn(verdict, book)
        verdicts.append(verdict)
    return Batch(now, verdicts)


def _listed(catalog: Catalog, book: CatalogBook) -> list[Accepted]:
    book.add(catalog, given=True)
    if not book.lists(catalog):
        own = record(*(one for one in book if one.key == catalog.key))
        learn(accept(own, book, NOW), book)
    newest = book.records.newest(catalog.key)
    assert newest is not None
    return [Accepted(*newest)]


def store_all(path: Path, raws: Iterable[bytes], now: int = NOW) -> Committed:
    """Put items into a file in one batch, catalogs first in `raws`, and close it."""
    with Store(path) as store:
        return store.commit(batch(raws, CatalogBook(), now))

"""Nobody finds out what a report says by guessing, from its id or from its erasure.

A report has few possible contents by design, so whoever has a hash of the content alone, or of the
content and the key, can try them all. The tests do: they try every heartbeat that the example
catalog allows, by everything that an erasure or a tombstone tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import product

import pytest

from methrics.schema.catalog.regions import COUNTRIES
from methrics.schema.example import example_catalog
from methrics.schema.wire.codec import head
from methrics.schema.wire.envelope import Item, Kind, inner_hash, seal, split
from methrics.schema.wire.items import Erasure, Report, encode_erasure, encode_report
from methrics.schema.wire.limits import DAY

CATALOG = example_catalog()
TODAY = 1_800_000_000 // DAY * DAY
SEED = b"a key that is used for one report"[:32]
SECRET: dict[str, object] = {
    "version": "7.31",
    "os": "freebsd",
    "daily": True,
    "weekly": True,
    "monthly": False,
    "age": 2,
    "country": "DE",
}
REPORT = split(
    seal(Kind.REPORT, encode_report(Report(CATALOG.id, "heartbeat", TODAY, SECRET)), SEED)
)
ERASURE = split(
    seal(
        Kind.ERASURE,
        encode_erasure(Erasure(CATALOG.id, inner_hash(REPORT), TODAY // DAY)),
        SEED,
    )
)

FLAGS = [(False, False, False), *((True, *rest) for rest in product((False, True), repeat=2))]
"""The first report of a week or a month is also the first of its day."""

SYSTEMS = ("linux", "macos", "windows", "android", "ios", "freebsd", "other")
VERSIONS = ["other", *(f"{major}.{minor}" for major in range(10) for minor in range(50))]


def test_the_domain_that_is_tried_is_that_of_the_catalog() -> None:
    domains = {field.name: field.domain for field in CATALOG.types["heartbeat"].fields}
    tried = {"version": len(VERSIONS), "os": len(SYSTEMS), "country": len(COUNTRIES) + 1}
    assert domains == tried | {"age": 4, "daily": 2, "weekly": 2, "monthly": 2}


def told(erasure: Item) -> set[bytes]:
    """Every string of 32 bytes that an erasure tells about its report, and a tombstone keeps."""
    inner = Erasure(CATALOG.id, inner_hash(REPORT), TODAY // DAY)
    assert inner.inner in erasure.payload
    return {inner.inner, inner.report_id(erasure.key), erasure.id}


def heartbeats(countries: Iterable[str]) -> Iterator[tuple[bytes, int, Sequence[str]]]:
    """Every heartbeat of that day with all fields: the payload of one, where its version stands,
    and all versions of that length."""
    lengths = [[text for text in VERSIONS if len(text) == size] for size in (3, 4, 5)]
    for system, age, flags, country, versions in product(
        SYSTEMS, range(4), FLAGS, countries, lengths
    ):
        values = dict(zip(("daily", "weekly", "monthly"), flags, strict=True))
        values |= {"os": system, "age": age, "country": country, "version": versions[0]}
        payload = encode_report(Report(CATALOG.id, "heartbeat", TODAY, values))
        yield payload, payload.rindex(versions[0].encode()), versions


def signed_start(key: bytes, size: int) -> bytes:
    """What is signed in front of a payload of `size` bytes by the key of the erasure."""
    tail = len(head(2, len(REPORT.payload))) + len(REPORT.payload)
    return REPORT.signed[:-tail].replace(REPORT.key, key) + head(2, size)


def found(targets: set[bytes], starts: Sequence[str], countries: Iterable[str]) -> list[bytes]:
    """The payloads that some hash shows to be the report's, and how many were tried."""
    key, right, tried = ERASURE.key, list[bytes](), 0
    for payload, at, versions in heartbeats(countries):
        ways = {
            "signed bytes": signed_start(key, len(payload)),
            "payload": b"",
            "key and payload": key,
            "blank signature and payload": bytes(64),
        }
        tail = payload[at + len(versions[0]) :]
        for way in starts:
            begun = sha256(ways[way] + payload[:at])
            for version in versions:
                state = begun.copy()
                state.update(version.encode() + tail)
                digest = state.digest()
                if digest in targets or (way != "signed bytes" and _outer(key, digest) in targets):
                    right.append(payload[:at] + version.encode() + tail)
            tried += len(versions)
    assert tried >= len(starts) * 501 * 7 * 4 * 5
    return right


def _outer(key: bytes, digest: bytes) -> bytes:
    return sha256(key + digest).digest()


WAYS = ("signed bytes", "payload", "key and payload", "blank signature and payload")


def test_attack_guess_a_report_from_its_erasure() -> None:
    """The country is known to the attacker here, and everything else is tried in every way."""
    assert found(told(ERASURE), WAYS, ["DE"]) == []


def test_the_guesses_would_find_a_report_whose_id_is_a_hash_of_what_is_signed() -> None:
    """So the test above can fail."""
    guessable = sha256(REPORT.signed).digest()
    assert found({guessable}, WAYS[:1], ["DE"]) == [REPORT.payload]
    keyed = sha256(ERASURE.key + sha256(REPORT.payload).digest()).digest()
    assert found({keyed}, WAYS[1:2], ["DE"]) == [REPORT.payload]


@pytest.mark.slow
def test_attack_guess_a_report_from_its_erasure_in_the_whole_domain() -> None:
    guessable = sha256(REPORT.signed).digest()
    targets = told(ERASURE) | {guessable}
    assert found(targets, WAYS[:1], [*sorted(COUNTRIES), "ZZ"]) == [REPORT.payload]

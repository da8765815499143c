"""Vectors of reconciliation: fingerprints of ids, digests of days and sets, requests, replies.

Expected results are written here, not computed by the code under test: SipHash-2-4 as its authors
define it, on Python's whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from vector_world import Scenario, seed

from methrics.schema.wire.codec import encode

_MASK = (1 << 64) - 1
KEY, SESSION, SALT = seed("namespace"), seed("session")[:16], seed("salt")[:16]
IDS = [seed(f"id {i}") for i in range(40)]


def _turn(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def siphash(key: bytes, data: bytes) -> int:
    """SipHash-2-4 of `data`, whose length is a multiple of 8, under a key of 16 bytes."""
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    ]
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]
    for word in [*words, len(data) % 256 << 56]:
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        v[0] = (v[0] + v[1]) & _MASK
        v[1] = _turn(v[1], 13) ^ v[0]
        v[0] = _turn(v[0], 32)
        v[2] = (v[2] + v[3]) & _MASK
        v[3] = _turn(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & _MASK
        v[3] = _turn(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & _MASK
        v[1] = _turn(v[1], 17) ^ v[2]
        v[2] = _turn(v[2], 32)


def parts(ids: Iterable[bytes], prefix: str, salt: bytes) -> bytes:
    """The sixteen parts of the ids that begin with `prefix`, as they are sent."""
    found = b""
    for digit in "0123456789abcdef":
        below = [one for one in ids if one.hex().startswith(prefix + digit)]
        joined = 0
        for one in below:
            joined ^= siphash(salt, one)
        found += len(below).to_bytes(4, "big") + joined.to_bytes(8, "big")
    return found


def reconcile() -> Iterator[Scenario]:
    """All vectors: name (kind and special feature), description, input and expected result."""
    assert siphash(bytes(range(16)), bytes(range(32))) == 0x7127512F72F27CCE  # the authors' vector
    yield from _fingerprints()
    yield from _days()
    yield from _digests()
    yield from _good_requests()
    yield from _bad_requests()
    yield from _replies()


def _fingerprints() -> Iterator[Scenario]:
    deep = IDS[0].hex()[:31]
    alike = [bytes.fromhex(deep + f"{i:033x}") for i in range(20)]
    for name, says, ids, prefix, salt in (
        ("day", "the ids of a whole day", IDS, "", SALT),
        ("other-salt", "the same ids under another salt", IDS, "", bytes(16)),
        ("digit", "the ids that begin with one digit", IDS, IDS[0].hex()[:1], SALT),
        ("none", "a node without ids", IDS, "00000000", SALT),
        ("deep", "ids that differ in their last digits", [*IDS, *alike], deep + "0" * 31, SALT),
    ):
        given = {"salt": salt, "ids": list(ids), "prefix": prefix}
        yield f"parts-{name}", says, {**given, "parts": parts(ids, prefix, salt)}


def day_digest(which: int, day: int, ids: Iterable[bytes]) -> bytes:
    """The digest of one day of a set."""
    ids = sorted(ids)
    name = b"methrics/1 digest" if which else b"methrics/1 erasures"
    number, count = day.to_bytes(8, "big"), len(ids).to_bytes(8, "big")
    return sha256(b"".join([name, KEY, number, *ids, count])).digest()


def _days() -> Iterator[Scenario]:
    for which, name in enumerate(("erasures", "reports")):
        for feature, says, day, ids in (
            ("empty", "a day without", 20_700, []),
            ("one", "the first day, with one of the", 0, IDS[:1]),
            ("many", "a day with 40 of the", 20_700, IDS),
        ):
            given = {"namespace": KEY, "set": which, "day": day, "ids": list(ids)}
            found = {**given, "digest": day_digest(which, day, ids)}
            yield f"day-{which}-{feature}", f"the digest of {says} {name}", found


def _digests() -> Iterator[Scenario]:
    days = [{"day": 20_000 + i, "count": i + 1, "digest": seed(f"day {i}")} for i in range(3)]
    for which in (0, 1):
        for name, some in (("empty", []), ("three", days)):
            body = b"methrics/1 sets" + KEY + bytes([which])
            for one in some:
                body += one["day"].to_bytes(8, "big") + one["count"].to_bytes(8, "big")  # type: ignore[attr-defined]
                body += one["digest"]  # type: ignore[operator]
            given = {"namespace": KEY, "set": which, "days": some}
            says = f"the digest of set {which} with {name} days"
            yield f"digest-{which}-{name}", says, {**given, "digest": sha256(body).digest()}


_OPEN = ["open", KEY, 20_700, b"", seed("erasures"), seed("reports")]
_NODES = [[20_700, ""], [20_699, "0af"]]
_GOOD: dict[str, list[object]] = {
    "open": _OPEN,
    "open-record": [*_OPEN[:3], seed("record"), *_OPEN[4:]],
    "open-shard": [*_OPEN, [2, 4]],
    "open-shard-last": [*_OPEN, [16, 16]],
    "split": ["split", SESSION, 1, SALT, _NODES],
    "list": ["list", SESSION, 0, _NODES],
    "fetch": ["fetch", SESSION, 1, [[20_700, IDS[0] + IDS[1]], [20_699, IDS[2]]]],
    "all": ["all", SESSION, 1, [20_700, ""], 0],
    "all-next": ["all", SESSION, 1, [20_700, "f"], (1 << 63) - 1],
}


def _good_requests() -> Iterator[Scenario]:
    for name, value in _GOOD.items():
        yield f"request-{name}", f"the request {value[0]}", {"request": encode(value), "ok": True}


def _bad_requests() -> Iterator[Scenario]:
    bad: dict[str, object] = {
        "empty": [],
        "no-array": {"open": KEY},
        "other-name": ["close", SESSION, 1, _NODES],
        "short": ["list", SESSION],
        "session-15": ["list", SESSION[:15], 1, _NODES],
        "set-2": ["list", SESSION, 2, _NODES],
        "set-flag": ["list", SESSION, True, _NODES],
        "no-nodes": ["list", SESSION, 1, []],
        "nodes-513": ["list", SESSION, 1, [[0, ""]] * 513],
        "prefix-65": ["list", SESSION, 1, [[0, "0" * 65]]],
        "prefix-capital": ["list", SESSION, 1, [[0, "A"]]],
        "prefix-bytes": ["list", SESSION, 1, [[0, b"a"]]],
        "day-huge": ["list", SESSION, 1, [[1 << 32, ""]]],
        "day-negative": ["list", SESSION, 1, [[-1, ""]]],
        "salt-15": ["split", SESSION, 1, SALT[:15], _NODES],
        "ids-31": ["fetch", SESSION, 1, [[0, IDS[0][:31]]]],
        "ids-none": ["fetch", SESSION, 1, [[0, b""]]],
        "ids-501": ["fetch", SESSION, 1, [[0, IDS[0] * 501]]],
        "day-twice": ["fetch", SESSION, 1, [[0, IDS[0]], [0, IDS[1]]]],
        "cursor-huge": ["all", SESSION, 1, [0, ""], 1 << 63],
        "record-31": [*_OPEN[:3], seed("record")[:31], *_OPEN[4:]],
        "extra": [*_OPEN, 0],
        "extra-shard": [*_OPEN, [2, 4], 0],
        "shard-whole": [*_OPEN, [1, 1]],
        "shard-third": [*_OPEN, [1, 3]],
        "shard-zero": [*_OPEN, [0, 2]],
        "shard-over": [*_OPEN, [3, 2]],
        "shard-many": [*_OPEN, [1, 32]],
        "shard-flag": [*_OPEN, [True, 2]],
        "shard-one": [*_OPEN, [2]],
    }
    for name, value in bad.items():
        given = {"request": encode(value), "ok": False}
        yield f"request-bad-{name}", f"a request that is malformed: {name}", given


def _day(day: int, count: int, name: str) -> bytes:
    return day.to_bytes(4, "big") + count.to_bytes(4, "big") + seed(name)


_DAYS = [_day(20_698, 1, "a"), _day(20_700, 2, "b")]
_OPENED = ["opened", SESSION, seed("record"), _DAYS[0], b"".join(_DAYS)]
_PARTS = [parts(IDS, "", SALT), parts(IDS, "00000000", SALT)]
_SORTED = sorted(IDS)[:3]
_BUNDLE = encode([seed("catalog"), b"the bytes of a report"])
_REPLIES: dict[str, dict[str, object]] = {
    "open": {
        "same": ["same"],
        "opened": _OPENED,
        "opened-empty": ["opened", SESSION, b"", b"", b""],
        "shard": ["shard", 2, 4],
        "busy": ["busy", 30],
        "bad-empty": [],
        "bad-same": ["same", 0],
        "bad-busy": ["busy", -1],
        "bad-shard": ["shard", 5, 4],
        "bad-shard-nested": ["shard", [2, 4]],
        "bad-name": ["ids", [b""]],
        "bad-session": ["opened", SESSION[:15], *_OPENED[2:]],
        "bad-record": [*_OPENED[:2], seed("record")[:31], *_OPENED[3:]],
        "bad-set": _OPENED[:4],
        "bad-days-39": [*_OPENED[:4], _DAYS[0][:39]],
        "bad-days-back": [*_OPENED[:4], _DAYS[1] + _DAYS[0]],
        "bad-days-twice": [*_OPENED[:4], _DAYS[0] * 2],
        "bad-days-zero": [*_OPENED[:4], _day(20_700, 0, "b")],
    },
    "split": {
        "parts": ["parts", _PARTS],
        "over": ["busy", 0],
        "bad-fewer": ["parts", _PARTS[:1]],
        "bad-more": ["parts", [*_PARTS, _PARTS[0]]],
        "bad-short": ["parts", [_PARTS[0], _PARTS[1][:191]]],
    },
    "list": {
        "ids": ["ids", [b"".join(_SORTED), b""]],
        "bad-fewer": ["ids", [b"".join(_SORTED)]],
        "bad-short": ["ids", [_SORTED[0][:31], b""]],
        "bad-back": ["ids", [_SORTED[1] + _SORTED[0], b""]],
        "bad-twice": ["ids", [_SORTED[0] * 2, b""]],
    },
    "all": {
        "items": ["items", [_BUNDLE, _BUNDLE], 0],
        "next": ["items", [_BUNDLE], (1 << 63) - 1],
        "none": ["items", [], 0],
        "bad-cursor": ["items", [_BUNDLE], 1 << 63],
        "bad-no-cursor": ["items", [_BUNDLE]],
        "bad-text": ["items", ["a bundle"], 0],
    },
}


def _replies() -> Iterator[Scenario]:
    for to, values in _REPLIES.items():
        for name, value in values.items():
            given = {"to": to, "reply": encode(value), "ok": not name.startswith("bad")}
            says = f"a reply to the request {to}: {name}"
            yield f"reply-{to}-{name}", says, given

"""Common parts of the test vectors: one namespace, its catalog, and valid and invalid items.

All values derive from fixed seeds, so the same code always makes the same bytes.
"""

from __future__ import annotations

from hashlib import sha256

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from methrics.schema.catalog.catalog import load
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.codec import encode, head
from methrics.schema.wire.envelope import CONTENT_TYPE, DOMAIN, Kind, inner_hash, seal, split

NOW = 1_800_000_000
TIME = NOW - 600
ORDER = 2**252 + 27742317777372353535851937790883648493
"""The order of Ed25519's group: S + ORDER is the classic malleable signature."""


def seed(name: str) -> bytes:
    """The published 32-byte seed of a name: never use one for real data."""
    return sha256(b"methrics test vector: " + name.encode()).digest()


def event_type(kind: str, **more: object) -> dict[str, object]:
    """The wire form of an event type with all mandatory keys."""
    release: dict[str, object] = {"delay": 300, "jitter": 0}
    if kind == "state":
        release["every"] = [86_400, 172_800]
    return {
        "kind": kind,
        "question": "How many?",
        "why": "To test.",
        "owner": "test vectors",
        "review": "https://example.org/review",
        "expires": NOW + 86_400 * 365 - NOW % 600,
        "retention_days": 365,
        "lateness": 21 * 86_400,
        "resolution": 600,
        "release": release,
        "pseudonym": "none",
        "entropy_bits": 28,
        "chart": "line",
        "fields": [],
        "one_in": [1],
        "work": 0,
        **more,
    }


ARTICLED = {
    "report": "a report",
    "erasure": "an erasure",
    "catalog": "a catalog",
    "record": "a record",
    "announcement": "an announcement",
}
"""Each kind of item with its article, for descriptions."""

OS = {"name": "os", "type": "enum", "values": ["linux", "macos"], "says": "Your system."}
NEW = {"name": "new", "type": "flag", "says": "Whether you are new."}
SIZE = {"name": "size", "type": "bucket", "edges": [1, 10, 100], "says": "How many files."}
SEQUENCE = {"steps": ["open", "done"], "offset_edges": [10, 60], "max_steps": 4}

CATALOG: dict[str, object] = {
    "label": "vectors",
    "number": 1,
    "contact": "https://example.org",
    "results": "https://example.org/results",
    "types": {
        "ping": event_type("state", fields=[OS, NEW, SIZE]),
        "click": event_type("count", fields=[OS], count={"max": 1000, "window": 86_400}),
        "flow": event_type("sequence", fields=[OS], sequence=SEQUENCE),
        "rare": event_type("event", fields=[OS], one_in=[1, 10]),
        "stamped": event_type("event", fields=[OS], work=8),
        "daily": event_type("state", fields=[OS], resolution=86_400),
        "over": event_type("event", fields=[OS], expires=TIME),
    },
}


def sign_by_hand(
    protected: bytes,
    payload: bytes,
    *,
    unprotected: bytes = b"\xa0",
    domain: bytes = DOMAIN,
    context: bytes = b"\x6aSignature1",
    name: str = "report",
    payload_head: bytes | None = None,
) -> bytes:
    """An item from parts that `seal` would not combine; `protected`: the bytes of the header's
    map."""
    _, secret = crypto_sign_seed_keypair(seed(name))
    outer = head(2, len(protected)) + protected
    body = (head(2, len(payload)) if payload_head is None else payload_head) + payload
    signed = b"\x84" + context + outer + head(2, len(domain)) + domain
    signature = crypto_sign(signed + head(2, len(payload)) + payload, secret)[:64]
    return b"\x84" + outer + unprotected + body + b"\x58\x40" + signature


def protected(kind: int = Kind.REPORT, key: bytes | None = None) -> bytes:
    """The valid map of the protected header."""
    key = key if key is not None else crypto_sign_seed_keypair(seed("report"))[0]
    return b"\xa3\x01\x27\x03" + head(0, CONTENT_TYPE + kind) + b"\x04" + head(2, len(key)) + key


class World:
    """The catalog, its namespace key and its reports, from which scenarios are made."""

    now = NOW
    time = TIME

    def __init__(self) -> None:
        self.catalog = seal(Kind.CATALOG, encode(CATALOG), seed("namespace"))
        self.catalog_id = split(self.catalog).id
        other = CATALOG | {"contact": "https://example.org/other"}
        self.other_catalog = seal(Kind.CATALOG, encode(other), seed("namespace"))
        self.topic = load(self.catalog).topic

    def body(self, **change: object) -> dict[str, object]:
        """A report's payload as a map; None removes a key."""
        values = {"os": "linux", "new": True, "size": 2}
        body = {"catalog": self.catalog_id, "type": "ping", "time": TIME, "values": values}
        return {key: value for key, value in (body | change).items() if value is not None}

    def report(self, *, name: str = "report", work_bits: int = 0, **change: object) -> bytes:
        """A signed report, valid unless changed."""
        return seal(Kind.REPORT, encode(self.body(**change)), seed(name), work_bits=work_bits)

    def namespace(self, kind: Kind, body: object, name: str = "namespace") -> bytes:
        """An item signed by the namespace key."""
        return seal(kind, encode(body), seed(name))

    def listing(self, **change: object) -> dict[str, object]:
        """The entry of the catalog in a record; None removes a key."""
        body = {"catalog": self.catalog_id, "listed": TIME - 86_400 * 400} | change
        return {key: value for key, value in body.items() if value is not None}

    def record(self, **change: object) -> bytes:
        """A signed record that lists the catalog, valid unless changed; None removes a key."""
        body = {
            "time": TIME - 86_400,
            "expires": TIME + 86_400 * 90,
            "previous": [],
            "catalogs": [self.listing()],
            "revoked": {},
        }
        said = {key: value for key, value in (body | change).items() if value is not None}
        return self.namespace(Kind.RECORD, said)

    def records(self) -> dict[str, tuple[str, bytes]]:
        """Valid records that scenarios name as known: name -> (description, bytes)."""
        first = self.record()
        last = {"time": TIME - 600, "previous": [split(first).id]}
        ping = {"ping": {"time": TIME, "reason": "no longer needed"}}
        moved = {
            "listed-within": (
                "a catalog listed one second before the period of a report ends",
                {"listed": TIME + 599},
            ),
            "listed-after": (
                "a catalog listed when the period of a report has ended",
                {"listed": TIME + 600},
            ),
            "delisted-at": ("a catalog delisted at the time of a report", {"delisted": TIME}),
            "delisted-after": (
                "a catalog delisted one second after the time of a report",
                {"delisted": TIME + 1},
            ),
        }
        found = {
            "ok-record": ("the first record of a namespace, which lists its catalog", first),
            "ok-record-revoked": (
                "a later record, which revokes an event type",
                self.record(**last, revoked=ping),
            ),
            "ok-record-revoked-empty": (
                "a later record that lists nothing and revokes an event type",
                self.record(catalogs=[], **last, revoked=ping),
            ),
            "ok-record-empty": (
                "a later record that lists nothing",
                self.record(catalogs=[], **last),
            ),
            "ok-record-empty-expired": (
                "a later record that lists nothing and expires at the time of a report",
                self.record(catalogs=[], **last, expires=TIME),
            ),
            "ok-record-revoked-expired": (
                "a later record that revokes an event type and expires at the time of a report",
                self.record(**last, revoked=ping, expires=TIME),
            ),
            "ok-record-expires-at": (
                "a record that expires at the time of a report",
                self.record(**last, expires=TIME),
            ),
            "ok-record-expires-after": (
                "a record that expires one second after the time of a report",
                self.record(**last, expires=TIME + 1),
            ),
        }
        for name, (says, change) in moved.items():
            listed = self.record(**last, catalogs=[self.listing(**change)])
            found[f"ok-record-{name}"] = says, listed
        return found

    def erasure(self, **change: object) -> bytes:
        """The erasure of `report()`, signed by its own key; None removes a key."""
        inner = inner_hash(split(self.report()))
        body = {"catalog": self.catalog_id, "inner": inner, "day": TIME // 86_400} | change
        said = {key: value for key, value in body.items() if value is not None}
        return seal(Kind.ERASURE, encode(said), seed("report"))

    def bundle(self, *items: bytes) -> bytes:
        """A bundle of items of the catalog."""
        return pack(self.catalog_id, items)

    def announcement(self, **change: object) -> bytes:
        """A signed announcement; None removes a key."""
        body = {
            "time": TIME,
            "expires": TIME + 86_400 * 30,
            "news": [{"text": "Version 2 is out.", "url": "https://example.org/2"}],
            "newest_version": "2.0",
            "report_interval": 86_400 * 3,
            "selector": {"os": ["linux"]},
        }
        said = {key: value for key, value in (body | change).items() if value is not None}
        return self.namespace(Kind.ANNOUNCEMENT, said)


def malleable(raw: bytes) -> bytes:
    """The same item with S + L in place of S."""
    return raw[:-32] + (int.from_bytes(raw[-32:], "little") + ORDER).to_bytes(32, "little")


Scenario = tuple[str, str, dict[str, object]]
"""One scenario: name (expected reason and special feature), description, input."""

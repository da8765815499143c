"""Common parts of the test vectors: one namespace, its catalog, and valid and invalid items.

All values derive from fixed seeds, so the same code always makes the same bytes.
"""

from __future__ import annotations

from hashlib import sha256

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from methrics.schema.catalog.catalog import load
from methrics.schema.wire.codec import encode, head
from methrics.schema.wire.envelope import CONTENT_TYPE, DOMAIN, Kind, seal, split

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
    "revocation": "a revocation",
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

    def revocation(self, type: str = "ping", time: int = TIME) -> bytes:
        """A signed revocation."""
        body = {"type": type, "time": time, "reason": "no longer needed"}
        return self.namespace(Kind.REVOCATION, body)

    def erasure(self) -> bytes:
        """The erasure of `report()`, signed by its own key."""
        body = {"catalog": self.catalog_id, "report": split(self.report()).id, "time": TIME}
        return seal(Kind.ERASURE, encode(body), seed("report"))

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

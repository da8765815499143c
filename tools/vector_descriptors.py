"""Descriptors of relays: read, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator

from vector_world import NOW, Scenario, World, malleable, protected, seed, sign_by_hand

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import encode
from methrics.schema.wire.descriptor import read_descriptor
from methrics.schema.wire.envelope import Kind, public_key, seal
from methrics.schema.wire.limits import DESCRIPTOR_MAX

DAY = NOW // 86_400
BEGIN = DAY * 86_400
"""When the day of the descriptors begins, in Unix seconds."""

ADDRESS = "/dns4/relay.example.org/tcp/4001"
KEY = bytes(range(41))
"""A key configuration; a reader of descriptors does not look into it."""


def descriptor_body(**change: object) -> dict[str, object]:
    """A descriptor's payload as a map, of an entry that is an exit, too; None removes a key."""
    body: dict[str, object] = {
        "day": DAY,
        "expires": (DAY + 2) * 86_400,
        "roles": ["entry", "exit"],
        "addresses": [ADDRESS, "https://relay.example.org"],
        "keys": [KEY],
        "topics": ["/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"],
    }
    return {name: value for name, value in (body | change).items() if value is not None}


def sealed_descriptor(**change: object) -> bytes:
    """A descriptor signed by a relay, valid unless changed; None removes a key."""
    return seal(Kind.DESCRIPTOR, encode(descriptor_body(**change)), seed("relay"))


def descriptors(_: World) -> Iterator[Scenario]:
    """Descriptors by themselves, with what a reader gets from them."""
    for name, says, raw, now in (*_good(), *_timed(), *_signed(), *_malformed()):
        yield name, says, {"bytes": raw, "now": now, "expect": _expected(raw, now)}


def _expected(raw: bytes, now: int | None) -> dict[str, object]:
    try:
        signed = read_descriptor(raw, now)
    except RefusedError as error:
        return {"result": error.code}
    found = signed.descriptor
    told: dict[str, object] = {"operator": found.operator, "load": found.load}
    return {
        "result": "ok",
        "id": signed.item.id,
        "relay": signed.relay,
        "day": found.day,
        "expires": found.expires,
        "roles": list(found.roles),
        "addresses": list(found.addresses),
        "keys": list(found.keys),
        "topics": list(found.topics),
    } | {name: value for name, value in told.items() if value is not None}


_Descriptor = tuple[str, str, bytes, int | None]


def _good() -> Iterator[_Descriptor]:
    for name, says, change in (
        ("both", "a relay that is an entry and an exit", {}),
        ("entry", "an entry alone", {"roles": ["entry"], "keys": [], "topics": []}),
        ("exit", "an exit alone", {"roles": ["exit"]}),
        ("entry-topics", "an entry that names topics", {"roles": ["entry"], "keys": []}),
        ("claims", "an operator, and a load", {"operator": "Example e. V.", "load": 7}),
        ("load-most", "a relay without room", {"load": 100}),
        ("load-none", "a relay with all its room", {"load": 0}),
        ("keys-two", "two key configurations", {"keys": [KEY, KEY[:-1]]}),
        ("key-smallest", "a key configuration of one byte", {"keys": [b"\x00"]}),
        ("key-largest", "a key configuration of 255 bytes", {"keys": [bytes(255)]}),
        ("addresses-eight", "eight addresses", {"addresses": [f"{ADDRESS}{n}" for n in range(8)]}),
        ("address-longest", "an address of 200 bytes", {"addresses": ["/" + "a" * 199]}),
        ("operator-longest", "an operator of 64 bytes", {"operator": "é" * 32}),
        ("topics-256", "256 topics", {"topics": [f"/t/{n:03}" for n in range(256)]}),
        ("topics-order", "topics in the order of their bytes", {"topics": ["ﬀ", "𝄞"]}),
        ("later-version", "keys that are not known", {"mood": 1, "zones": [{"a": b"b"}]}),
    ):
        yield f"ok-{name}", says, sealed_descriptor(**change), NOW  # type: ignore[arg-type]


def _timed() -> Iterator[_Descriptor]:
    raw = sealed_descriptor()
    yield "ok-earliest", "a day and 300 s before its day begins", raw, BEGIN - 86_700
    yield "early-descriptor", "a day and 301 s before its day begins", raw, BEGIN - 86_701
    yield "ok-last-second", "one second before it expires", raw, BEGIN + 2 * 86_400 - 1
    yield "expired-descriptor", "at the second at which it expires", raw, BEGIN + 2 * 86_400
    yield "ok-file", "a descriptor that has expired, from a file", sealed_descriptor(), None


def _signed() -> Iterator[_Descriptor]:
    raw = sealed_descriptor()
    yield "forged-signature", "a changed signature", malleable(raw), NOW
    body, key = encode(descriptor_body()), public_key(seed("relay"))
    header = protected(Kind.DESCRIPTOR, key)
    yield "forged-signer", "a key that did not sign it", sign_by_hand(header, body), NOW
    other = sign_by_hand(header, body, name="relay", domain=b"methrics/2")
    yield "forged-domain", "a signature for another domain", other, NOW
    yield "forged-before-expired", "forged and expired", malleable(raw), BEGIN + 3 * 86_400
    small = protected(Kind.DESCRIPTOR, b"\x01" + bytes(31))
    yield "bad-key-small-order", "a key of small order", sign_by_hand(small, body), NOW
    stamped = sign_by_hand(b"\xa4" + header[1:] + b"\x64work\x00", body, name="relay")
    yield "off-schema-work", "a descriptor with a work stamp", stamped, NOW
    both = sign_by_hand(b"\xa4" + header[1:] + b"\x64work\x00", b"\xa0", name="relay")
    yield "off-schema-work-first", "a work stamp and a payload without keys", both, NOW
    manifest = seal(Kind.MANIFEST, encode(descriptor_body(topics=[])), seed("relay"))
    yield "malformed-kind", "the payload of a descriptor in a manifest", manifest, NOW
    huge = sign_by_hand(header, bytes(DESCRIPTOR_MAX), name="relay")
    yield "oversize-descriptor", "a descriptor of more than 16,384 bytes", huge, NOW
    yield "malformed-trailing-byte", "a byte after the item", raw + b"\x00", NOW


def _malformed() -> Iterator[_Descriptor]:
    last = 2_932_894
    for name, says, change in (
        ("day-missing", "no day", {"day": None}),
        ("day-huge", "a day after 9999-12-29", {"day": last + 1, "expires": (last + 3) * 86_400}),
        ("day-negative", "day -1", {"day": -1, "expires": 86_400}),
        ("day-flag", "true in place of a day", {"day": True, "expires": 3 * 86_400}),
        ("expires-missing", "no expiry", {"expires": None}),
        ("expires-late", "an expiry a second later", {"expires": (DAY + 2) * 86_400 + 1}),
        ("expires-early", "an expiry a day earlier", {"expires": (DAY + 1) * 86_400}),
        ("roles-missing", "no roles", {"roles": None}),
        ("roles-none", "an empty array of roles", {"roles": []}),
        ("roles-order", "roles in another order", {"roles": ["exit", "entry"]}),
        ("roles-twice", "a role twice", {"roles": ["exit", "exit"]}),
        ("roles-unknown", "a role that is not known", {"roles": ["entry", "judge"]}),
        ("roles-text", "a role that is not in an array", {"roles": "exit"}),
        ("addresses-missing", "no addresses", {"addresses": None}),
        ("addresses-none", "an empty array of addresses", {"addresses": []}),
        ("addresses-nine", "nine addresses", {"addresses": [f"{ADDRESS}{n}" for n in range(9)]}),
        ("address-http", "an address of http", {"addresses": ["http://relay.example.org"]}),
        ("address-long", "an address of 201 bytes", {"addresses": ["/" + "a" * 200]}),
        ("address-barred", "a line break in an address", {"addresses": [f"{ADDRESS}\n"]}),
        ("address-bytes", "an address in a byte string", {"addresses": [ADDRESS.encode()]}),
        ("keys-missing", "no array of keys", {"keys": None}),
        ("keys-missing-entry", "an entry without an array", {"roles": ["entry"], "keys": None}),
        ("keys-none", "an exit without a key", {"keys": []}),
        ("keys-entry", "an entry with a key", {"roles": ["entry"]}),
        ("keys-three", "three keys", {"keys": [KEY] * 3}),
        ("key-empty", "a key without bytes", {"keys": [b""]}),
        ("key-long", "a key of 256 bytes", {"keys": [bytes(256)]}),
        ("key-text", "a key as text", {"keys": ["key"]}),
        ("topics-missing", "no array of topics", {"topics": None}),
        ("topics-257", "257 topics", {"topics": [f"/t/{n:03}" for n in range(257)]}),
        ("topics-order", "topics that descend", {"topics": ["/b", "/a"]}),
        ("topics-units", "topics in the order of UTF-16", {"topics": ["𝄞", "ﬀ"]}),
        ("topics-twice", "a topic twice", {"topics": ["/a", "/a"]}),
        ("topic-empty", "a topic without bytes", {"topics": [""]}),
        ("topic-long", "a topic of 129 bytes", {"topics": ["/" + "a" * 128]}),
        ("operator-empty", "an operator without bytes", {"operator": ""}),
        ("operator-long", "an operator of 65 bytes", {"operator": "é" * 32 + "e"}),
        ("operator-barred", "an override of direction", {"operator": "a\u202eb"}),
        ("load-over", "a load of 101 percent", {"load": 101}),
        ("load-negative", "a load of -1 percent", {"load": -1}),
        ("load-flag", "true in place of a load", {"load": True}),
    ):
        yield f"malformed-{name}", says, sealed_descriptor(**change), NOW  # type: ignore[arg-type]

"""Sign, split and verify items: COSE_Sign1 (RFC 9052) with Ed25519, in one fixed layout.

    [ protected, {}, payload, signature ]
    protected = << {1: -8, 3: content type, 4: key, ? "work": nonce} >>

Any COSE library can verify an item: the algorithm is EdDSA, the key id is the public key itself,
and the external data is `DOMAIN`. The id of an item is the SHA-256 of the signed bytes. Only a
report has another id: `report_id` of its key and its inner hash. The inner hash covers the
signature, which nobody can guess, so an erasure can show key and inner hash without telling what
the report says. Normative text: SPEC.md section "Items".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import cache
from typing import Final, NamedTuple

from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import head
from methrics.schema.wire.limits import (
    CATALOG_MAX,
    DESCRIPTOR_MAX,
    ENVELOPE_SIZE,
    ITEM_MAX,
    MANIFEST_MAX,
    NOTICE_MAX,
    RECORD_MAX,
    REPORT_MAX,
)
from methrics.schema.wire.sha256 import sha256
from methrics.schema.wire.verdict import Reason

DOMAIN: Final = b"methrics/1"
"""The external data of each signature, so that a signature for another purpose does not verify."""


class Kind(IntEnum):
    """The kind of an item; on the wire, it is part of the content type."""

    REPORT = 1
    ERASURE = 2
    CATALOG = 3
    RECORD = 4
    ANNOUNCEMENT = 5
    MANIFEST = 6
    DESCRIPTOR = 7


SIZE_MAX: Final = {
    Kind.REPORT: REPORT_MAX,
    Kind.ERASURE: NOTICE_MAX,
    Kind.CATALOG: CATALOG_MAX,
    Kind.RECORD: RECORD_MAX,
    Kind.ANNOUNCEMENT: NOTICE_MAX,
    Kind.MANIFEST: MANIFEST_MAX,
    Kind.DESCRIPTOR: DESCRIPTOR_MAX,
}
"""The largest size in bytes of an item of each kind, with its envelope."""

CONTENT_TYPE: Final = 65_000
"""Version 1 starts at this CoAP content format (experimental range); the kind is added to it."""

_REPORT = Kind.REPORT
_KINDS = {CONTENT_TYPE + kind: kind for kind in Kind}
_EXPERIMENTAL = range(65_000, 65_536)

# [ bstr(42) {1: -8, 3: u16 ... ; a work stamp adds a fourth entry, so the string is longer.
_PLAIN = bytes.fromhex("84582aa301270319")
_STAMPED = bytes.fromhex("a401270319")
_KEY_HEAD = bytes.fromhex("045820")
_WORK_HEAD = b"\x64work"
_SIGNATURE_HEAD = bytes.fromhex("5840")
_SIGNED_HEAD = b"\x84\x6aSignature1"
_SIGNED_DOMAIN = head(2, len(DOMAIN)) + DOMAIN

_STARTS = {
    _PLAIN + content_type.to_bytes(2, "big") + _KEY_HEAD: _KINDS[content_type]
    for content_type in _KINDS
}
"""Maps the bytes in front of the key to the kind, for items without a work stamp (nearly all)."""

_OPENINGS = {kind: start[1:] for start, kind in _STARTS.items()}
"""Maps the kind to these bytes without the head of the array."""

_PLAIN_END = 3 + 42
_TAIL = 2 + 64

_SHORT_HEADS = b"\xa0\x58"
_SHORT = _PLAIN_END + 3
"""What is behind a plain header, and where the payload begins, if it has 24 to 255 bytes."""


class Item(NamedTuple):
    """One item with the right structure; `verify` checks its signature.

    `id` is 32 bytes, `key` the signer's raw Ed25519 public key, `payload` the encoded content,
    `raw` the exact bytes received, `signed` the bytes that the signature covers, `work` the nonce
    of the work stamp, or None without one.
    """

    kind: Kind
    id: bytes
    key: bytes
    payload: bytes
    raw: bytes
    signed: bytes
    work: int | None

    @property
    def signature(self) -> bytes:
        """The 64 bytes of the signature."""
        return self.raw[-64:]


def split(raw: bytes) -> Item:
    """Split an item into its parts, without checking its signature or decoding its payload.

    Raises RefusedError: OVERSIZE, MALFORMED for any other layout than the one above, and
    UNKNOWN_KIND for the right layout with a content type that this version does not know.
    """
    size = len(raw)
    if size > ITEM_MAX:
        raise RefusedError(Reason.OVERSIZE, f"an item of {size} bytes; the limit is {ITEM_MAX}")
    if size < ENVELOPE_SIZE:
        raise _malformed(f"{size} bytes are too few for an item")
    kind, end, work, stop = _STARTS.get(raw[:13]), _PLAIN_END, None, size - _TAIL
    if kind is None:
        kind, end, work = _other_start(raw)
    # Nearly all items are short reports; `_payload` reads any other.
    if end == _PLAIN_END and 24 <= stop - _SHORT < 256 and raw[end : end + 2] == _SHORT_HEADS:
        payload = _SHORT
        if raw[end + 2] != stop - _SHORT or raw[stop : stop + 2] != _SIGNATURE_HEAD:
            raise _malformed("the lengths of payload and signature do not add up")
    else:
        payload = _payload(raw, end)
    if size > SIZE_MAX[kind]:
        name, most = kind.name.lower(), SIZE_MAX[kind]
        raise RefusedError(Reason.OVERSIZE, f"a {name} of {size} bytes; the limit is {most}")
    # The signed bytes contain the protected header and the payload exactly as the item does.
    signed = b"".join((_SIGNED_HEAD, raw[1:end], _SIGNED_DOMAIN, raw[end + 1 : stop]))
    key, body = raw[13:45], raw[payload:stop]
    if kind is _REPORT:
        item_id = sha256(key + sha256(raw[stop + 2 :] + body).digest()).digest()
    else:
        item_id = sha256(signed).digest()
    # As `Item(...)`, without a call in Python: most of the work of a node is here.
    return tuple.__new__(Item, (kind, item_id, key, body, raw, signed, work))


def inner_hash(item: Item) -> bytes:
    """Return the inner hash (32 bytes) of a report, which an erasure of the report shows."""
    return sha256(item.raw[-64:] + item.payload).digest()


def report_id(key: bytes, inner: bytes) -> bytes:
    """Return the id of the report that `key` (32 bytes) signed and that has this inner hash."""
    return sha256(key + inner).digest()


def _malformed(message: str) -> RefusedError:
    return RefusedError(Reason.MALFORMED, message)


def _other_start(raw: bytes) -> tuple[Kind, int, int | None]:
    """Read the start of an item that has a work stamp or an unknown kind. Returns the kind, the end
    of the protected header, and the nonce."""
    if raw[:8] == _PLAIN:
        end, work = _PLAIN_END, None
    elif raw[:2] == b"\x84\x58" and raw[3:8] == _STAMPED:
        end = 3 + raw[2]
        work = _nonce(raw[_PLAIN_END:end])
    else:
        raise _malformed("not an array of four that starts with the protected header of an item")
    if raw[10:13] != _KEY_HEAD:
        raise _malformed("the key id is not a key of 32 bytes")
    content_type = raw[8] << 8 | raw[9]
    if content_type in _KINDS:
        return _KINDS[content_type], end, work
    if content_type in _EXPERIMENTAL:
        _payload(raw, end)
        raise RefusedError(Reason.UNKNOWN_KIND, f"content type {content_type} is not known")
    raise _malformed(f"content type {content_type} is not that of an item")


def _nonce(stamp: bytes) -> int:
    nonce = stamp[len(_WORK_HEAD) :]
    number = nonce[0] if len(nonce) == 1 else int.from_bytes(nonce[1:], "big")
    if not stamp.startswith(_WORK_HEAD) or number >= 1 << 64 or head(0, number) != nonce:
        raise _malformed("the work stamp is not an unsigned integer in its shortest form")
    return number


def _payload(raw: bytes, end: int) -> int:
    """Return the offset of the payload, between the empty map at `end` and the signature."""
    stop = len(raw) - _TAIL
    if raw[stop : stop + 2] != _SIGNATURE_HEAD:
        raise _malformed("the item does not end with a signature of 64 bytes")
    if raw[end : end + 1] != b"\xa0":
        raise _malformed("the unprotected header is not empty")
    first = raw[end + 1]
    start = end + (3 if first == 0x58 else 4 if first == 0x59 else 6 if first == 0x5A else 2)
    if start > stop or raw[end + 1 : start] != head(2, stop - start):
        raise _malformed("the payload is not a byte string in its shortest form")
    return start


def verify(item: Item) -> None:
    """Check the signature by libsodium's rules (RFC 8032, canonical S, no small-order point).

    If it does not verify, raises RefusedError: BAD_KEY if the key is not a point of the prime-order
    group, FORGED otherwise.
    """
    check, bad_signature = _sodium()
    try:
        check(item.raw[-64:] + item.signed, item.key)
    except bad_signature:
        from nacl.bindings import crypto_core_ed25519_is_valid_point

        if crypto_core_ed25519_is_valid_point(item.key):
            raise RefusedError(Reason.FORGED, "the signature does not verify") from None
        raise RefusedError(Reason.BAD_KEY, "the key is not a usable Ed25519 key") from None


@cache
def _sodium() -> tuple[Callable[[bytes, bytes], bytes], type[Exception]]:
    """Load libsodium's verifier and the exception it raises, on first use (30 ms)."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    return crypto_sign_open, BadSignatureError


def public_key(seed: bytes) -> bytes:
    """Return the Ed25519 public key (32 bytes) of a seed (32 bytes)."""
    from nacl.bindings import crypto_sign_seed_keypair

    return crypto_sign_seed_keypair(seed)[0]


def seal(kind: Kind, payload: bytes, seed: bytes, *, work_bits: int = 0) -> bytes:
    """Sign like `sign_item`, but return only the bytes of the item."""
    return sign_item(kind, payload, seed, work_bits=work_bits).raw


def sign_item(kind: Kind, payload: bytes, seed: bytes, *, work_bits: int = 0) -> Item:
    """Sign `payload` as an item of `kind` with the Ed25519 key of `seed` (32 bytes).

    The same arguments give the same bytes. With `work_bits`, the nonce counts up from 0 until the
    SHA-256 of the signed bytes starts with that many zero bits; this takes about 2**work_bits
    hashes.
    Raises ValueError if the item would be larger than its kind allows.
    """
    make_keys, sign = _signer()
    key, secret = make_keys(seed)
    body = head(2, len(payload)) + payload
    nonce = 0 if work_bits else None
    while True:
        protected = _protected(kind, key, nonce)
        signed = _SIGNED_HEAD + protected + _SIGNED_DOMAIN + body
        digest = sha256(signed).digest()
        if nonce is None or zero_bits(digest) >= work_bits:
            break
        nonce += 1
    signature = sign(signed, secret)[:64]
    raw = b"\x84" + protected + b"\xa0" + body + _SIGNATURE_HEAD + signature
    if len(raw) > SIZE_MAX[kind]:
        raise ValueError(
            f"a {kind.name.lower()} has at most {SIZE_MAX[kind]} bytes, not {len(raw)}"
        )
    if kind is Kind.REPORT:
        digest = report_id(key, sha256(signature + payload).digest())
    return Item(kind, digest, key, payload, raw, signed, nonce)


@cache
def _signer() -> tuple[Callable[[bytes], tuple[bytes, bytes]], Callable[[bytes, bytes], bytes]]:
    """Load libsodium's functions that make keys and sign, on first use."""
    from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

    return crypto_sign_seed_keypair, crypto_sign


def _protected(kind: Kind, key: bytes, nonce: int | None) -> bytes:
    """Encode the protected header, the item's first byte string."""
    if nonce is None:
        return _OPENINGS[kind] + key
    content_type = (CONTENT_TYPE + kind).to_bytes(2, "big")
    fields = _STAMPED + content_type + _KEY_HEAD + key + _WORK_HEAD + head(0, nonce)
    return head(2, len(fields)) + fields


def zero_bits(digest: bytes) -> int:
    """Count the leading zero bits of `digest`, the measure of a work stamp."""
    return 8 * len(digest) - int.from_bytes(digest, "big").bit_length()

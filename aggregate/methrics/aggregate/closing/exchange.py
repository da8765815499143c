"""What aggregators ask each other for manifests, and reply (`/methrics/manifest/1`).

    request = [namespace key, as_of, day]
    reply   = [0*256 manifest], the items' bytes: those of the namespace that the answerer has
              signed, after the given (as_of, day), in this order

So an asker gets each manifest once, whichever day it is about, and only the new ones later.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from methrics.aggregate.store.duck import moment
from methrics.aggregate.store.store import Store
from methrics.node.network.swarm import PeerId, Swarm
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import Value, decode, encode
from methrics.schema.wire.limits import DAY, MANIFEST_MAX, TIME_MAX
from methrics.schema.wire.verdict import Reason

PROTOCOL = "/methrics/manifest/1"

REQUEST_MAX = 64
"""Most bytes of a request."""

PAGE_MAX = 256
"""Most manifests of one reply."""

REPLY_MAX = PAGE_MAX * (MANIFEST_MAX + 3) + 3
"""Most bytes of a reply."""

REPLY_TIME = 20.0
"""Seconds within which a peer must reply."""

_EPOCH = date(1970, 1, 1)


class Ask(NamedTuple):
    """Asks for the manifests of a namespace after (`as_of`, `day`): Unix seconds, and days since
    1970-01-01. Both are 0 at first."""

    namespace: bytes
    as_of: int = 0
    day: int = 0


def encode_ask(ask: Ask) -> bytes:
    """Encode a request."""
    return encode(list(ask))


def decode_ask(data: bytes) -> Ask:
    """Decode a request. Raises RefusedError: OVERSIZE, MALFORMED."""
    value = decode(data, limit=REQUEST_MAX)
    if not isinstance(value, list) or len(value) != 3:
        raise RefusedError(Reason.MALFORMED, "a request for manifests has three parts")
    namespace, as_of, day = value
    if not isinstance(namespace, bytes) or len(namespace) != 32:
        raise RefusedError(Reason.MALFORMED, "a namespace key has 32 bytes")
    return Ask(namespace, _number(as_of, TIME_MAX), _number(day, TIME_MAX // DAY))


def _number(value: Value, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise RefusedError(Reason.MALFORMED, "not a number of the right size")
    return value


def encode_page(manifests: list[bytes]) -> bytes:
    """Encode a reply."""
    return encode(manifests)


def decode_page(data: bytes) -> list[bytes]:
    """Decode a reply; the manifests are not checked. Raises RefusedError: OVERSIZE, MALFORMED."""
    value = decode(data, limit=REPLY_MAX)
    if not isinstance(value, list) or len(value) > PAGE_MAX:
        raise RefusedError(Reason.MALFORMED, f"a reply is an array of at most {PAGE_MAX}")
    found = [one for one in value if isinstance(one, bytes)]
    if len(found) != len(value):
        raise RefusedError(Reason.MALFORMED, "a manifest is a byte string")
    return found


def page_of(store: Store, signer: bytes, ask: Ask) -> list[bytes]:
    """Return the manifests of `signer` that a request asks for. Raises StoreError."""
    with store.reading() as con:
        rows = con.execute(
            "SELECT raw FROM manifest WHERE signer = ? AND key = ? AND "
            f"(as_of, day) > ({moment(ask.as_of)}, ?::DATE) ORDER BY as_of, day LIMIT {PAGE_MAX}",
            [signer, ask.namespace, _EPOCH + timedelta(days=ask.day)],
        ).fetchall()
    return [raw for (raw,) in rows]


def newest_of(store: Store, signer: bytes, namespace: bytes) -> Ask:
    """Return what to ask a peer that signs as `signer`: for all after the newest that is known.
    Raises StoreError."""
    with store.reading() as con:
        row = con.execute(
            "SELECT epoch(as_of)::BIGINT, date_diff('day', DATE '1970-01-01', day) FROM manifest "
            "WHERE signer = ? AND key = ? ORDER BY as_of DESC, day DESC LIMIT 1",
            [signer, namespace],
        ).fetchone()
    return Ask(namespace, *(row or ()))


async def ask_manifests(swarm: Swarm, peer: PeerId, ask: Ask) -> list[bytes]:
    """Ask a connected peer for one page of its manifests; they are not checked.

    Raises UnreachableError, and RefusedError if the reply has another form.
    """
    body = encode_ask(ask)
    reply = await swarm.request(peer, PROTOCOL, body, reply_max=REPLY_MAX, timeout=REPLY_TIME)
    return decode_page(reply)

"""The messages of `/methrics/reconcile/1`, as bytes (SPEC.md section "Reconciliation"). Pure.

Every message is a CBOR array that begins with its name. `decode_request` is for the answering side,
and the functions `read_*` are for the asking side: what they return has the right form, and nothing
more is known of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

from methrics.aggregate.reconcile.faults import OtherShard as OtherShard
from methrics.aggregate.reconcile.faults import PeerFault as PeerFault
from methrics.aggregate.reconcile.faults import SessionEnded as SessionEnded
from methrics.schema.errors import RefusedError
from methrics.schema.wire.codec import Value, decode, encode
from methrics.schema.wire.shard import WHOLE, Shard, read_part
from methrics.schema.wire.verdict import Reason

PROTOCOL = "/methrics/reconcile/1"

ID_SIZE = 32
SESSION_SIZE = 16
SALT_SIZE = 16

NODES_MAX = 512
"""Most nodes of one request: a reply to `split` then has 99 KB."""

DAYS_MAX = 4096
"""Most days of one set: eleven years, more than any retention."""

LISTED_MAX = 4096
"""Most ids in the reply to `list`: 128 KB."""

FETCH_MAX = 500
"""Most ids of one request `fetch`: the reply has 2 MB if all are erasures of the largest size."""

REQUEST_MAX = 65_536
"""Most bytes of a request."""

REPLY_MAX = 2_097_152
"""Most bytes of a reply."""

PAGE_BYTES = 786_432
"""Bytes of items at which the reply to `all` is closed. Streams are fastest with messages of about
this size."""

DEPTH_MAX = 2 * ID_SIZE
"""Most digits of a prefix: then it is an id."""

CHILDREN = 16
_CHILD = 12
_DAY = 40
_DIGITS = frozenset("0123456789abcdef")


class Which(IntEnum):
    """The two sets that are compared for each namespace. Erasures go first."""

    ERASURES = 0
    REPORTS = 1


class Node(NamedTuple):
    """The ids of one day (since 1970-01-01) that begin with `prefix`, hexadecimal digits."""

    day: int
    prefix: str

    def child(self, i: int) -> Node:
        """Return the node with one more digit, 0 to 15."""
        return Node(self.day, self.prefix + "0123456789abcdef"[i])


@dataclass(frozen=True, slots=True)
class Part:
    """The number of ids below a node, and the XOR of their salted hashes (64 bits)."""

    count: int
    fingerprint: int


@dataclass(frozen=True, slots=True)
class DaySum:
    """The number of ids of a day, and the SHA-256 over them (`methrics.aggregate.store.digest`)."""

    day: int
    count: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """Asks for a session about one namespace. `as_of` is the day whose retention applies; `record`
    is the id of the newest record, or empty. The digests are those of all days of each set. Only
    the items of `shard` are compared."""

    key: bytes
    as_of: int
    record: bytes
    erasures: bytes
    reports: bytes
    shard: Shard = WHOLE


@dataclass(frozen=True, slots=True)
class Split:
    """Asks for the sixteen parts of each node."""

    session: bytes
    salt: bytes
    which: Which
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Ids:
    """Asks for the ids below nodes."""

    session: bytes
    which: Which
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Asks for the items with these ids, by day."""

    session: bytes
    which: Which
    wanted: tuple[tuple[int, tuple[bytes, ...]], ...]


@dataclass(frozen=True, slots=True)
class All:
    """Asks for all items below a node, from `cursor` on: 0 at first, then what the last reply
    named."""

    session: bytes
    which: Which
    node: Node
    cursor: int


Request = Open | Split | Ids | Fetch | All


@dataclass(frozen=True, slots=True)
class Opened:
    """A session: its name, the newest record's id, and the days of the sets."""

    session: bytes
    record: bytes
    erasures: tuple[DaySum, ...]
    reports: tuple[DaySum, ...]

    def days(self, which: Which) -> tuple[DaySum, ...]:
        """Return the days of one set, in ascending order."""
        return self.erasures if which is Which.ERASURES else self.reports


@dataclass(frozen=True, slots=True)
class Items:
    """Bundles of items. `cursor` continues an `All`; 0 is its end."""

    bundles: tuple[bytes, ...]
    cursor: int = 0


def encode_request(request: Request) -> bytes:
    """Encode a request."""
    if isinstance(request, Open):
        own: list[object] = ["open", request.key, request.as_of, request.record]
        own += [request.erasures, request.reports]
        return encode(own if request.shard.is_whole else [*own, request.shard.part])
    which = int(request.which)
    if isinstance(request, Split):
        nodes = [list(node) for node in request.nodes]
        return encode(["split", request.session, which, request.salt, nodes])
    if isinstance(request, Ids):
        return encode(["list", request.session, which, [list(node) for node in request.nodes]])
    if isinstance(request, Fetch):
        wanted = [[day, b"".join(ids)] for day, ids in request.wanted]
        return encode(["fetch", request.session, which, wanted])
    return encode(["all", request.session, which, list(request.node), request.cursor])


def decode_request(data: bytes) -> Request:
    """Decode a request. Raises RefusedError, OVERSIZE or MALFORMED."""
    name, *parts = _named(decode(data, limit=REQUEST_MAX))
    if name == "open":
        key, as_of, record, erasures, reports = _exactly(parts[:5], 5)
        shard = _shard(_exactly(parts[5:], 1)[0]) if parts[5:] else WHOLE
        empty = record == b""
        return Open(
            _bytes(key, ID_SIZE),
            _number(as_of),
            b"" if empty else _bytes(record, ID_SIZE),
            _bytes(erasures, ID_SIZE),
            _bytes(reports, ID_SIZE),
            shard,
        )
    if len(parts) < 3:
        raise _malformed("a request has too few parts")
    session, which, rest = _bytes(parts[0], SESSION_SIZE), _which(parts[1]), parts[2:]
    if name == "split":
        salt, nodes = _exactly(rest, 2)
        return Split(session, _bytes(salt, SALT_SIZE), which, _nodes(nodes))
    if name == "list":
        (nodes,) = _exactly(rest, 1)
        return Ids(session, which, _nodes(nodes))
    if name == "fetch":
        (wanted,) = _exactly(rest, 1)
        return Fetch(session, which, _wanted(wanted))
    if name == "all":
        node, cursor = _exactly(rest, 2)
        return All(session, which, _node(node), _number(cursor, most=(1 << 63) - 1))
    raise _malformed("a request of another name")


def encode_same() -> bytes:
    """Encode the reply to `open` that both sets are the same."""
    return encode(["same"])


def encode_busy(seconds: int) -> bytes:
    """Encode a reply that asks for a wait; 0 says that the session is over."""
    return encode(["busy", seconds])


def encode_shard(shard: Shard) -> bytes:
    """Encode the reply to `open` that this side has only the items of a shard."""
    return encode(["shard", *shard.part])


def encode_opened(opened: Opened) -> bytes:
    """Encode the reply to `open`."""
    days = [_pack_days(opened.erasures), _pack_days(opened.reports)]
    return encode(["opened", opened.session, opened.record, *days])


def encode_parts(nodes: Iterable[Sequence[Part]]) -> bytes:
    """Encode the reply to `split`: sixteen parts for each node."""
    return encode(["parts", [_pack_parts(parts) for parts in nodes]])


def encode_ids(nodes: Iterable[Sequence[bytes]]) -> bytes:
    """Encode the reply to `list`: ascending ids for each node."""
    return encode(["ids", [b"".join(ids) for ids in nodes]])


def encode_items(items: Items) -> bytes:
    """Encode the reply to `fetch` or `all`."""
    return encode(["items", list(items.bundles), items.cursor])


def read_opened(data: bytes) -> Opened | None:
    """Read the reply to `open`; None if the sets are the same. Raises PeerFault, SessionEnded or
    OtherShard."""
    name, *parts = _reply(data)
    if name == "same" and not parts:
        return None
    if name == "shard":
        try:
            raise OtherShard(_shard(parts))
        except RefusedError:
            raise PeerFault("malformed") from None
    if name != "opened" or len(parts) != 4:
        raise PeerFault("malformed")
    try:
        record = b"" if parts[1] == b"" else _bytes(parts[1], ID_SIZE)
        session = _bytes(parts[0], SESSION_SIZE)
    except RefusedError:
        raise PeerFault("malformed") from None
    return Opened(session, record, _read_days(parts[2]), _read_days(parts[3]))


def read_parts(data: bytes, count: int) -> list[list[Part]]:
    """Read the reply to `split` for `count` nodes. Raises PeerFault or SessionEnded."""
    return [_read_parts(one) for one in _strings(_reply(data), "parts", count)]


def read_ids(data: bytes, count: int) -> list[list[bytes]]:
    """Read the reply to `list` for `count` nodes: ascending ids. Raises PeerFault or
    SessionEnded."""
    found = []
    for one in _strings(_reply(data), "ids", count):
        ids = [one[i : i + ID_SIZE] for i in range(0, len(one), ID_SIZE)]
        if len(one) % ID_SIZE or any(a >= b for a, b in pairwise(ids)):
            raise PeerFault("malformed")
        found.append(ids)
    return found


def read_items(data: bytes) -> Items:
    """Read the reply to `fetch` or `all`. Raises PeerFault or SessionEnded."""
    parts = _reply(data)
    cursor = parts[2] if len(parts) == 3 else None
    if type(cursor) is not int or not 0 <= cursor < 1 << 63:
        raise PeerFault("malformed")
    return Items(tuple(_strings(parts[:2], "items", None)), cursor)


def busy_seconds(data: bytes) -> int:
    """Return for how long a reply asks to wait, an hour at most; 0 for any other reply."""
    if not data.startswith(b"\x82\x64busy"):
        return 0
    try:
        _reply(data)
    except SessionEnded as ended:
        return ended.seconds
    except PeerFault:
        pass  # whoever reads the reply will see that
    return 0


def _malformed(text: str) -> RefusedError:
    return RefusedError(Reason.MALFORMED, text)


def _named(value: Value) -> list[Value]:
    if not isinstance(value, list) or not value or not isinstance(value[0], str):
        raise _malformed("a message is an array that begins with its name")
    return value


def _reply(data: bytes) -> list[Value]:
    try:
        parts = _named(decode(data, limit=REPLY_MAX))
    except RefusedError:
        raise PeerFault("malformed") from None
    if parts[0] == "busy":
        seconds = parts[1] if len(parts) == 2 else None
        if type(seconds) is not int or seconds < 0:
            raise PeerFault("malformed")
        raise SessionEnded(min(seconds, 3600))
    return parts


def _exactly(parts: list[Value], count: int) -> list[Value]:
    if len(parts) != count:
        raise _malformed(f"{len(parts)} parts, not {count}")
    return parts


def _bytes(value: Value, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise _malformed(f"not a byte string of {size}")
    return value


def _number(value: Value, most: int = 0xFFFFFFFF) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise _malformed("not a number of the right size")
    return value


def _shard(value: Value) -> Shard:
    try:
        return read_part(value)
    except ValueError as error:
        raise _malformed(str(error)) from None


def _which(value: Value) -> Which:
    if type(value) is not int or value not in (0, 1):
        raise _malformed("a set is 0 or 1")
    return Which(value)


def _list(value: Value, most: int) -> list[Value]:
    if not isinstance(value, list) or not 0 < len(value) <= most:
        raise _malformed(f"not an array of 1 to {most}")
    return value


def _nodes(value: Value) -> tuple[Node, ...]:
    return tuple(_node(one) for one in _list(value, NODES_MAX))


def _node(value: Value) -> Node:
    day, prefix = _exactly(_list(value, 2), 2)
    if not isinstance(prefix, str) or len(prefix) > DEPTH_MAX or not _DIGITS.issuperset(prefix):
        raise _malformed("a prefix has hexadecimal digits, small letters")
    return Node(_number(day), prefix)


def _wanted(value: Value) -> tuple[tuple[int, tuple[bytes, ...]], ...]:
    found: list[tuple[int, tuple[bytes, ...]]] = []
    total = 0
    for one in _list(value, FETCH_MAX):
        day, ids = _exactly(_list(one, 2), 2)
        if not isinstance(ids, bytes) or not ids or len(ids) % ID_SIZE:
            raise _malformed("ids have 32 bytes each")
        total += len(ids) // ID_SIZE
        cut = tuple(ids[i : i + ID_SIZE] for i in range(0, len(ids), ID_SIZE))
        found.append((_number(day), cut))
    if total > FETCH_MAX:
        raise _malformed(f"more than {FETCH_MAX} ids")
    if len({day for day, _ in found}) < len(found):
        raise _malformed("a day is named twice")
    return tuple(found)


def _strings(parts: list[Value], name: str, count: int | None) -> list[bytes]:
    if len(parts) != 2 or parts[0] != name or not isinstance(parts[1], list):
        raise PeerFault("malformed")
    found = [one for one in parts[1] if isinstance(one, bytes)]
    if len(found) != len(parts[1]) or (count is not None and len(found) != count):
        raise PeerFault("malformed")
    return found


def _pack_days(days: Iterable[DaySum]) -> bytes:
    return b"".join(
        one.day.to_bytes(4, "big") + one.count.to_bytes(4, "big") + one.digest for one in days
    )


def _read_days(value: Value) -> tuple[DaySum, ...]:
    if not isinstance(value, bytes) or len(value) % _DAY or len(value) > DAYS_MAX * _DAY:
        raise PeerFault("malformed")
    found: list[DaySum] = []
    for at in range(0, len(value), _DAY):
        day = int.from_bytes(value[at : at + 4], "big")
        count = int.from_bytes(value[at + 4 : at + 8], "big")
        if not count or (found and day <= found[-1].day):
            raise PeerFault("malformed")
        found.append(DaySum(day, count, value[at + 8 : at + _DAY]))
    return tuple(found)


def _pack_parts(parts: Sequence[Part]) -> bytes:
    return b"".join(
        one.count.to_bytes(4, "big") + one.fingerprint.to_bytes(8, "big") for one in parts
    )


def _read_parts(data: bytes) -> list[Part]:
    if len(data) != CHILDREN * _CHILD:
        raise PeerFault("malformed")
    cut = [data[at : at + _CHILD] for at in range(0, len(data), _CHILD)]
    return [Part(int.from_bytes(one[:4], "big"), int.from_bytes(one[4:], "big")) for one in cut]

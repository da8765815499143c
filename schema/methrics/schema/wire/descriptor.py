"""Encode, sign and read descriptors: what a relay says of itself for one UTC day.

A relay signs one descriptor for each day, with the key of its peer id, and never changes it: two
different ones of one relay and day prove that the relay tells different things to different people,
such as an exit key of their own. Descriptors travel on `RELAYS_TOPIC`, one in a notice, and by
request; on the topic of a namespace they are `unknown-kind`. Shapes and bounds are those of SPEC.md
section "Descriptors".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import Item, Kind, sign_item, split, verify
from methrics.schema.wire.limits import (
    CARRIED_MAX,
    DAY,
    DESCRIPTOR_MAX,
    DOORS_MAX,
    EARLY_MAX,
    KEY_CONFIG_MAX,
    REASON_MAX,
    TOPIC_NAME_MAX,
    WORD_MAX,
)
from methrics.schema.wire.payloads import (
    checked,
    decode_map,
    list_of,
    number_of,
    refuse,
    text,
    time_of,
)
from methrics.schema.wire.verdict import Reason

RELAYS_TOPIC: Final = "/methrics/1/relays/cbor"
"""The topic on which relays tell each other their descriptors."""

ENTRY: Final = "entry"
"""The role of a relay that takes boxes from apps and hands them to exits."""

EXIT: Final = "exit"
"""The role of a relay that opens boxes, mixes reports and publishes them."""

KEYS_MAX: Final = 2
"""Most key configurations of a descriptor."""

_ROLES = ([ENTRY], [ENTRY, EXIT], [EXIT])


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What one relay says of itself for one day. Nothing in it is proven but the key.

    `day` is counted from 1970-01-01, UTC. `roles` are `ENTRY`, `EXIT` or both, in this order.
    `addresses` are the relay's doors: multiaddresses, or addresses that start with `https://`.
    `keys` are the encoded key configurations (RFC 9458 section 3) for which boxes of that day are
    sealed; an exit has 1 or 2, in the order of its preference, any other relay has none. `topics`
    are those that an exit publishes on, ascending. `operator` names who runs the relay, and `load`
    is the share of its room that is full, in percent; both are claims.
    """

    day: int
    roles: tuple[str, ...]
    addresses: tuple[str, ...]
    keys: tuple[bytes, ...] = ()
    topics: tuple[str, ...] = ()
    operator: str | None = None
    load: int | None = None

    @property
    def expires(self) -> int:
        """The time (unix seconds) from which on nobody uses the descriptor: the end of the day
        after its own."""
        return expiry(self.day)

    @property
    def is_entry(self) -> bool:
        """Whether the relay takes boxes from apps."""
        return ENTRY in self.roles

    @property
    def is_exit(self) -> bool:
        """Whether the relay opens boxes."""
        return EXIT in self.roles


class SignedDescriptor(NamedTuple):
    """A descriptor and the item that carries it."""

    item: Item
    descriptor: Descriptor

    @property
    def relay(self) -> bytes:
        """The key of the relay's peer id (32 bytes), by which boxes name an exit."""
        return self.item.key

    @property
    def about(self) -> tuple[bytes, int]:
        """The relay and the day: there is at most one descriptor of both."""
        return self.item.key, self.descriptor.day


def expiry(day: int) -> int:
    """Return the time (unix seconds) at which the descriptors of a day expire."""
    return (day + 2) * DAY


def contradicts(one: SignedDescriptor, other: SignedDescriptor) -> bool:
    """Tell whether two descriptors prove that their relay said two things of one day.

    Another signature of the same content, which only the relay can make, proves nothing.
    """
    return one.about == other.about and one.item.id != other.item.id


def encode_descriptor(descriptor: Descriptor) -> bytes:
    """Encode a descriptor. Raises ValueError if `decode_descriptor` would refuse the payload."""
    body: dict[str, object] = {
        "day": descriptor.day,
        "expires": descriptor.expires,
        "roles": list(descriptor.roles),
        "addresses": list(descriptor.addresses),
        "keys": list(descriptor.keys),
        "topics": list(descriptor.topics),
    }
    if descriptor.operator is not None:
        body["operator"] = descriptor.operator
    if descriptor.load is not None:
        body["load"] = descriptor.load
    return checked(body, decode_descriptor)


def decode_descriptor(payload: bytes) -> Descriptor:
    """Decode a descriptor. Keys that are not known are passed over.

    Raises RefusedError: OVERSIZE, MALFORMED.
    """
    body = decode_map(payload, DESCRIPTOR_MAX)
    day = number_of(body, "day", 0)
    if time_of(body, "expires") != expiry(day):
        refuse("a descriptor expires at the end of the day after its own")
    roles = body.get("roles")
    if not isinstance(roles, list) or roles not in _ROLES:
        refuse("roles are entry, exit or both, in this order")
    found = Descriptor(
        day=day,
        roles=tuple(roles),
        addresses=tuple(_address(one) for one in list_of(body, "addresses", DOORS_MAX)),
        keys=tuple(_key(one) for one in list_of(body, "keys", KEYS_MAX)),
        topics=_topics(list_of(body, "topics", CARRIED_MAX)),
        operator=text(body["operator"], WORD_MAX) if "operator" in body else None,
        load=_load(body) if "load" in body else None,
    )
    if not found.addresses or "keys" not in body or "topics" not in body:
        refuse("a descriptor has at least one address, and arrays of keys and topics")
    if bool(found.keys) != found.is_exit:
        refuse("an exit has a key, and no other relay has one")
    return found


def _address(value: object) -> str:
    found = text(value, REASON_MAX)
    if not found.startswith(("/", "https://")):
        refuse("an address is neither a multiaddress nor one of https")
    return found


def _key(value: object) -> bytes:
    """Read a key configuration. What is in it is for who seals."""
    if type(value) is not bytes or not 1 <= len(value) <= KEY_CONFIG_MAX:
        refuse(f"a key does not have 1 to {KEY_CONFIG_MAX} bytes")
    return value


def _topics(values: Sequence[object]) -> tuple[str, ...]:
    names = [text(one, TOPIC_NAME_MAX) for one in values]
    spelled = [name.encode() for name in names]
    if any(one >= other for one, other in pairwise(spelled)):
        refuse("topics do not ascend")
    return tuple(names)


def _load(body: dict[str, object]) -> int:
    load = number_of(body, "load", 0)
    if load > 100:
        refuse("load is over 100 percent")
    return load


def sign_descriptor(descriptor: Descriptor, seed: bytes) -> SignedDescriptor:
    """Sign a descriptor with the key of the relay's peer id, given by its seed (32 bytes).

    Raises ValueError if the descriptor is not well formed or too large.
    """
    item = sign_item(Kind.DESCRIPTOR, encode_descriptor(descriptor), seed)
    return SignedDescriptor(item, descriptor)


def read_descriptor(raw: bytes, now: int | None = None) -> SignedDescriptor:
    """Check the bytes of a descriptor. Whether its relay is to be trusted is for the caller.

    `now` is in Unix seconds; None skips the checks by the clock. Raises RefusedError: as `split`;
    MALFORMED for another kind of item or a payload that is no descriptor; OFF_SCHEMA for a work
    stamp; BAD_KEY, FORGED; EARLY if its day begins more than a day and 300 s from now; EXPIRED.
    """
    item = split(raw)
    if item.kind is not Kind.DESCRIPTOR:
        refuse("the item is no descriptor")
    if item.work is not None:
        raise RefusedError(Reason.OFF_SCHEMA, "only a report may have a work stamp")
    descriptor = decode_descriptor(item.payload)
    verify(item)
    if now is not None:
        check_time(descriptor, now)
    return SignedDescriptor(item, descriptor)


def check_time(descriptor: Descriptor, now: int) -> None:
    """Raise RefusedError: EARLY if the day begins more than a day and 300 s from `now` (unix
    seconds), EXPIRED if it is over by a day."""
    if descriptor.day * DAY > now + DAY + EARLY_MAX:
        raise RefusedError(Reason.EARLY, "a descriptor of the future")
    if descriptor.expires <= now:
        raise RefusedError(Reason.EXPIRED, "the descriptor has expired")

"""What this relay says of itself: one descriptor for each day, which is never changed.

The exact bytes are on disk before anybody sees them, so that a relay that starts again says what it
has said. Settings that have changed since take effect with the first day that nothing was said of.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from methrics.node.network.peer_ids import peer_id_of
from methrics.node.ohttp.key_config import encode_key_config
from methrics.node.relay.day_keys import DayKeys, Files
from methrics.schema.errors import ConfigError, RefusedError, StoreError
from methrics.schema.wire.descriptor import (
    EXIT,
    Descriptor,
    SignedDescriptor,
    encode_descriptor,
    read_descriptor,
    sign_descriptor,
)
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.limits import DESCRIPTOR_MAX, DOORS_MAX

KEPT_BEFORE = 2
"""Days before today whose descriptors are kept."""

ERASED_BACK = 60
"""Days before those, of which a file may be left by a relay that did not run meanwhile."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a relay says of itself, besides its keys.

    `addresses`: its doors, 1 to 8. `topics`: those that it carries. `operator`: who runs it, at
    most 64 bytes.
    """

    roles: tuple[str, ...]
    addresses: tuple[str, ...]
    topics: tuple[str, ...] = ()
    operator: str | None = None


class OwnDescriptor:
    """The descriptors of the relay with the Ed25519 seed `seed` (32 bytes).

    `files` keeps them; None keeps them in memory alone, which is for tests. `keys` are those of an
    exit. Raises ConfigError `bad-descriptor` if `said` does not fit a descriptor.
    """

    def __init__(self, files: Files | None, seed: bytes, keys: DayKeys, said: Said) -> None:
        self._files = files
        self._seed = seed
        self._keys = keys
        self._said = said
        self._made: dict[int, SignedDescriptor] = {}
        self.relay = public_key(seed)
        """The relay's id: the key of its peer id."""
        try:
            encode_descriptor(self._wanted(0, (b"k",) if EXIT in said.roles else ()))
        except ValueError as error:
            raise ConfigError(
                "bad-descriptor",
                f"the relay cannot say this of itself: {error}",
                "look at its addresses, its topics and --operator",
            ) from error

    def of(self, day: int) -> SignedDescriptor | None:
        """Return the descriptor for a day (counted from 1970-01-01, UTC), made if there was none.

        None if the day's key is erased. Raises StoreError if the files cannot be read or written,
        or are damaged.
        """
        if day not in self._made:
            found = self._kept(day) or self._new(day)
            if found is None:
                return None
            self._made[day] = found
        return self._made[day]

    def is_older(self, day: int) -> bool:
        """Whether the descriptor for a day was made with other settings than those of now. They
        take effect later."""
        found = self.of(day)
        if found is None:
            return False
        told = found.descriptor
        return told != self._wanted(day, told.keys)

    def erase(self, now_day: int) -> None:
        """Forget the descriptors of days that are over. Raises StoreError."""
        last = now_day - KEPT_BEFORE
        for day in {*range(last - ERASED_BACK, last), *(day for day in self._made if day < last)}:
            if self._files is not None and self._files.read(_name(day), limit=DESCRIPTOR_MAX):
                self._files.remove(_name(day))
            self._made.pop(day, None)

    def _kept(self, day: int) -> SignedDescriptor | None:
        raw = None if self._files is None else self._files.read(_name(day), limit=DESCRIPTOR_MAX)
        if raw is None:
            return None
        try:
            found = read_descriptor(raw)
        except RefusedError as error:
            raise _damaged(day) from error
        if found.about != (self.relay, day):
            raise _damaged(day)
        return found

    def _new(self, day: int) -> SignedDescriptor | None:
        configs: tuple[bytes, ...] = ()
        if EXIT in self._said.roles:
            key = self._keys.of(day)
            if key is None:
                return None
            configs = (encode_key_config(key.config),)
        made = sign_descriptor(self._wanted(day, configs), self._seed)
        if self._files is not None:
            self._files.write(_name(day), made.item.raw)
        return made

    def _wanted(self, day: int, keys: tuple[bytes, ...]) -> Descriptor:
        said = self._said
        topics = tuple(sorted(set(said.topics), key=str.encode)) if EXIT in said.roles else ()
        roles = tuple(sorted(said.roles))
        return Descriptor(day, roles, said.addresses, keys, topics, said.operator)


def announced(listening: Sequence[str], given: Sequence[str], relay: bytes) -> tuple[str, ...]:
    """Return the addresses that a relay says are its own.

    `given` are those that the operator named, to which the peer id is added. Without a multiaddress
    among them, those of `listening` (which end in the peer id) follow that anyone can reach, or all
    if there is none: other relays need one.
    """
    end = f"/p2p/{peer_id_of(relay)}"
    named = [one if "/p2p/" in one or one[0] != "/" else one + end for one in given]
    if not any(one[0] == "/" for one in given):
        named += [one for one in listening if _is_global(one)] or listening
        named = named[:DOORS_MAX]
    return tuple(dict.fromkeys(named))


def _is_global(address: str) -> bool:
    parts = address.split("/")
    try:
        return ipaddress.ip_address(parts[2]).is_global
    except (IndexError, ValueError):
        return parts[1:2] not in (["ip4"], ["ip6"])


def _name(day: int) -> str:
    return f"descriptor.{day}"


def _damaged(day: int) -> StoreError:
    return StoreError(
        "state-damaged",
        f"the file {_name(day)} of the relay is damaged, or of another relay",
        "restore it from a backup; if the relay says another thing of that day, others drop it",
    )

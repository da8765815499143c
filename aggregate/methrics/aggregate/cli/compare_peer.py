"""Asks a running aggregator for the digests of its days, for `methrics compare`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import trio

from methrics.aggregate.read.compare import Side, side_of
from methrics.aggregate.reconcile.wire import (
    PROTOCOL,
    REPLY_MAX,
    Open,
    Opened,
    OtherShard,
    PeerFault,
    SessionEnded,
    encode_request,
    read_opened,
)
from methrics.aggregate.store.digest import DayDigest
from methrics.node.clock import Clock
from methrics.node.network.peer_ids import key_of
from methrics.node.network.swarm import PeerId, Swarm
from methrics.node.publish.entry import check_addresses
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.wire.limits import DAY

REPLY_TIME = 60.0
"""Seconds within which a peer must reply: it may have to read its file first."""

TRIES = 5
"""Times that a busy peer is asked."""

_NONE = bytes(32)
"""The digest of a set that nobody has, so that the peer tells its days in any case."""


def is_peer(name: str) -> bool:
    """Tell whether a name is the address of a peer."""
    return key_of(name.rpartition("/p2p/")[2]) is not None and "/p2p/" in name


def peer_side(name: str, namespaces: Iterable[bytes]) -> Side:
    """Ask the aggregator at the address `name` for its days of these namespace keys.

    Raises ConfigError for a wrong address, or without a namespace; UnreachableError if the peer
    does not answer, is busy, or breaks the rules.
    """
    check_addresses([name])
    keys = sorted(namespaces)
    if not keys:
        raise ConfigError(
            "no-namespace",
            "two running aggregators can only be compared about the apps of a file",
            "compare each of them with a file or a directory",
        )
    return side_of(name, trio.run(partial(_ask, name, keys)))


async def _ask(name: str, keys: list[bytes]) -> list[DayDigest]:
    from methrics.node.network.libp2p import open_swarm

    async with open_swarm() as swarm:
        peer = await swarm.dial(name)
        found: list[DayDigest] = []
        for key in keys:
            found += await days_of(swarm, peer, key, Clock().now())
        return found


async def days_of(swarm: Swarm, peer: PeerId, key: bytes, now: int) -> list[DayDigest]:
    """Ask a connected aggregator for its days of one namespace key; `now` is in Unix seconds.

    Raises UnreachableError if it does not answer, is busy for too long, or breaks the rules.
    """
    opened = await opened_session(swarm, peer, key, now)
    days = () if opened is None else opened.reports
    return [DayDigest(key, "", one.day, one.count, one.digest) for one in days]


async def opened_session(swarm: Swarm, peer: PeerId, key: bytes, now: int) -> Opened | None:
    """Ask a connected aggregator for a session about one namespace key; None if it has nothing.

    Raises as `days_of`.
    """
    body = encode_request(Open(key, now // DAY, b"", _NONE, _NONE))
    for _ in range(TRIES):
        try:
            reply = await swarm.request(
                peer, PROTOCOL, body, reply_max=REPLY_MAX, timeout=REPLY_TIME
            )
            return read_opened(reply)
        except UnreachableError as error:
            raise UnreachableError(
                error.code,
                f"the aggregator gave no answer about the app with the key {key.hex()}",
                "it may not collect this app; or the clocks differ by more than a day",
            ) from None
        except OtherShard as other:
            raise UnreachableError(
                "other-shard",
                f"the aggregator has only shard {other.shard} of the reports",
                "compare the lake of all shards, or a file of the same shard",
            ) from None
        except SessionEnded as busy:
            await trio.sleep(max(1, busy.seconds))
            continue
        except PeerFault as fault:
            raise UnreachableError(
                "bad-answer", f"the aggregator broke the rules: {fault}"
            ) from None
    raise UnreachableError("peer-busy", "the aggregator is busy", "try again later")

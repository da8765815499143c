"""Says which reports of a day only one of two data sets has, for `methrics compare`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import trio

from methrics.aggregate.cli.compare_peer import is_peer, opened_session
from methrics.aggregate.read.compare import Compared, DayDifference
from methrics.aggregate.read.dataset import open_files
from methrics.aggregate.reconcile.finding import Finding, Unshared, unshared
from methrics.aggregate.reconcile.fingerprint import IdIndex
from methrics.aggregate.reconcile.wire import (
    PROTOCOL,
    REPLY_MAX,
    SALT_SIZE,
    PeerFault,
    SessionEnded,
    encode_request,
)
from methrics.aggregate.store.digest import ids_of
from methrics.node.clock import Clock, system_entropy
from methrics.node.network.swarm import PeerId, Swarm
from methrics.schema.errors import UnreachableError

DAYS_MAX = 20
"""Most days whose ids are looked at: of each, all ids are read."""

REPLY_TIME = 60.0
"""Seconds within which a peer must reply: it may have to read a day first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A day of a namespace key that differs."""

    key: bytes
    day: int


def with_ids(found: Sequence[Compared], names: Sequence[str], most: int) -> list[Compared]:
    """Return the result of a comparison of two names with the ids of the first `DAYS_MAX` days that
    differ, at most `most` of each side. Raises as `open_files` and `peer_side`."""
    wanted = [Wanted(one.key, diff.day) for one in found for diff in one.differences][:DAYS_MAX]
    if not wanted or not most:
        return list(found)
    b_is_peer = is_peer(names[1])
    near, far = (names[0], names[1]) if b_is_peer else (names[1], names[0])
    own = _stored(near, wanted)
    if is_peer(far):
        looked = trio.run(partial(_asked, far, own, most))
    else:
        others = _stored(far, wanted)
        looked = {
            one: unshared(others[one], own[one], system_entropy(SALT_SIZE), most) for one in wanted
        }
    return [
        replace(
            one,
            differences=tuple(
                _noted(diff, looked.get(Wanted(one.key, diff.day)), a_is_near=b_is_peer)
                for diff in one.differences
            ),
        )
        for one in found
    ]


def _noted(diff: DayDifference, found: Unshared | None, *, a_is_near: bool) -> DayDifference:
    if found is None:
        return diff
    near, far = tuple(found.mine), tuple(found.theirs)
    a, b = (near, far) if a_is_near else (far, near)
    return replace(diff, only_a=a, only_b=b)


def _stored(name: str, wanted: Iterable[Wanted]) -> dict[Wanted, IdIndex]:
    """Read the ids of days of a file, directory or address."""
    with open_files(name) as dataset:
        dataset.bring("item", "catalog")
        con = dataset.connection
        return {one: IdIndex(b"".join(ids_of(con, "item", one.key, one.day))) for one in wanted}


async def _asked(name: str, own: dict[Wanted, IdIndex], most: int) -> dict[Wanted, Unshared]:
    """Ask the aggregator at an address, one namespace after the other."""
    from methrics.node.network.libp2p import open_swarm

    async with open_swarm() as swarm:
        peer = await swarm.dial(name)
        return await ids_of_peer(swarm, peer, own, most, Clock().now())


async def ids_of_peer(
    swarm: Swarm, peer: PeerId, own: dict[Wanted, IdIndex], most: int, now: int
) -> dict[Wanted, Unshared]:
    """Compare days with a connected aggregator; `now` is in Unix seconds.

    Raises UnreachableError if it does not answer, is busy for too long, or breaks the rules.
    """
    found: dict[Wanted, Unshared] = {}
    for key in {one.key for one in own}:
        opened = await opened_session(swarm, peer, key, now)
        theirs = {} if opened is None else {one.day: one.count for one in opened.reports}
        for one, index in own.items():
            if one.key != key:
                continue
            count = theirs.get(one.day, 0)
            if opened is None or not count:
                found[one] = Unshared(mine=index.ids()[:most])
                continue
            salt = system_entropy(SALT_SIZE)
            finding = Finding(index, one.day, count, opened.session, salt, most)
            found[one] = await _followed(swarm, peer, finding)
    return found


async def _followed(swarm: Swarm, peer: PeerId, finding: Finding) -> Unshared:
    steps = finding.steps()
    request = next(steps)
    while True:
        reply = await swarm.request(
            peer, PROTOCOL, encode_request(request), reply_max=REPLY_MAX, timeout=REPLY_TIME
        )
        try:
            request = steps.send(reply)
        except StopIteration as ended:
            found: Unshared = ended.value
            return found
        except SessionEnded:
            raise UnreachableError(
                "peer-busy", "the aggregator is busy", "try again later"
            ) from None
        except PeerFault as fault:
            raise UnreachableError(
                "bad-answer", f"the aggregator broke the rules: {fault}"
            ) from None

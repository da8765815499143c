"""Asks all relays of a namespace for its records and catalogs, and hands them new ones.

Only the owner of a namespace and operators of relays do this, whose addresses are no secret. So the
exits are asked directly, in one hop (`exit_client`), and each relay can be named in what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from methrics.node.network.swarm import Swarm
from methrics.node.ohttp import inner
from methrics.node.publish.entry import is_url
from methrics.node.publish.exit_client import REQUEST_TIME, ExitClient
from methrics.node.publish.ways import name_of
from methrics.node.relay import catalog_exchange
from methrics.schema.errors import RefusedError, RemoteError
from methrics.schema.wire.limits import CATALOG_MAX
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Reason

PATIENCE = 120.0
"""Seconds for which a full relay is asked again."""

PAUSE = 5.0
"""Seconds until a full relay that names no time is asked again."""

NOT_CARRIED = "the relay does not carry this app"
"""Says that a relay answers, but carries no topic of the namespace."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one relay said about a namespace. `topic`: the namespace's topic, "" if the relay did
    not answer or does not carry it. `raws`: the records that it has. `error`: why there are none,
    in words. `foreign`: it answers, but does not carry the topic."""

    addr: str
    topic: str = ""
    raws: tuple[bytes, ...] = ()
    error: str = ""
    foreign: bool = False


def peer_of(addr: str) -> str:
    """Return the name of the relay at an address: several addresses can be those of one relay."""
    return name_of(addr)


async def ask_relays(addrs: Sequence[str], topic: str, short: str, swarm: Swarm) -> list[Told]:
    """Return what each relay says, in the order of `addrs`. Without a `topic`, the relay's topic of
    the namespace with the short key `short` is asked for. Raises ConfigError for a bad address."""
    found: dict[str, Told] = {}

    async def ask(addr: str) -> None:
        try:
            with trio.fail_after(REQUEST_TIME):
                found[addr] = await _ask(ExitClient(addr, swarm), topic, short)
        except RemoteError as error:
            found[addr] = Told(addr, error=error.message, foreign=error.code == Reason.FOREIGN)
        except trio.TooSlowError:
            found[addr] = Told(addr, error="it did not answer in time")

    async with trio.open_nursery() as nursery:
        for addr in addrs:
            nursery.start_soon(ask, addr)
    return [found[addr] for addr in addrs]


async def _ask(client: ExitClient, topic: str, short: str) -> Told:
    carried = (await client.relay()).topics
    own = [
        name for name in carried if topic == name or (not topic and parse_topic(name)[1] == short)
    ]
    if not own:
        raise RefusedError(Reason.FOREIGN, NOT_CARRIED)
    topic = min(own)
    (answer,) = await client.ask(inner.RECORDS, [topic.encode()])
    if answer.reason is not Reason.OK:
        raise RefusedError(answer.reason, _refusal(answer.reason))
    return Told(client.addr, topic, answer.items)


async def fetch_catalogs(addrs: Sequence[str], ids: Sequence[bytes], swarm: Swarm) -> list[bytes]:
    """Return the bytes of catalogs, given by id, each from the first of the relays that sends any.
    The caller checks them. Relays named by URLs are not asked: catalogs have no HTTP door."""
    found: list[bytes] = []
    missing = list(ids)
    for addr in addrs:
        if is_url(addr):
            continue
        with trio.move_on_after(REQUEST_TIME):
            try:
                peer = await swarm.dial(addr)
                for catalog_id in list(missing):
                    raw = await swarm.request(
                        peer,
                        catalog_exchange.PROTOCOL,
                        catalog_id,
                        reply_max=CATALOG_MAX,
                        timeout=REQUEST_TIME,
                    )
                    if raw:
                        found.append(raw)
                        missing.remove(catalog_id)
            except RemoteError:
                continue
    return found


async def submit_all(addrs: Sequence[str], items: Sequence[bytes], swarm: Swarm) -> dict[str, str]:
    """Hand `items`, in this order, to each relay. Return for each what went wrong, in words, "" if
    it took everything."""
    found: dict[str, str] = {}

    async def hand(addr: str) -> None:
        try:
            with trio.fail_after(PATIENCE):
                found[addr] = await _hand(ExitClient(addr, swarm), items)
        except RemoteError as error:
            found[addr] = error.message
        except trio.TooSlowError:
            found[addr] = "it did not take everything in time"

    async with trio.open_nursery() as nursery:
        for addr in addrs:
            nursery.start_soon(hand, addr)
    return found


async def _hand(client: ExitClient, items: Sequence[bytes]) -> str:
    left = list(items)
    while True:
        answers = await client.ask(inner.BOX, left)
        pairs = list(zip(left, answers, strict=True))
        refused = [one.reason for _, one in pairs if one.reason not in (*_TAKEN, Reason.QUOTA)]
        if refused:
            return _refusal(refused[0])
        left = [raw for raw, one in pairs if one.reason is Reason.QUOTA]
        if not left:
            return ""
        await trio.sleep(max(one.again or 0 for one in answers) or PAUSE)


def _refusal(reason: Reason) -> str:
    return f"it refuses: {reason}"


_TAKEN = frozenset({Reason.OK, Reason.DUPLICATE})

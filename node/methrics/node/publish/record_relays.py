"""Asks all relays of a namespace for its records and catalogs, and hands them new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import trio

from methrics.node.network.swarm import Swarm
from methrics.node.publish.relay_client import NOT_CARRIED, REQUEST_TIME, RelayClient
from methrics.node.relay import catalog_exchange
from methrics.schema.errors import RefusedError, RemoteError
from methrics.schema.wire.limits import CATALOG_MAX
from methrics.schema.wire.topic import parse_topic
from methrics.schema.wire.verdict import Reason

PATIENCE = 120.0
"""Seconds for which a full relay is asked again."""

PAUSE = 5.0
"""Seconds until a full relay that names no time is asked again."""


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
    """Return the peer id in an address: several addresses can be those of one relay."""
    return addr.rpartition("/p2p/")[2]


async def ask_relays(addrs: Sequence[str], topic: str, short: str, swarm: Swarm) -> list[Told]:
    """Return what each relay says, in the order of `addrs`. Without a `topic`, the relay's topic of
    the namespace with the short key `short` is asked for. Raises ConfigError for a bad address."""
    found: dict[str, Told] = {}

    async def ask(addr: str) -> None:
        try:
            with trio.fail_after(REQUEST_TIME):
                found[addr] = await _ask(RelayClient(swarm, addr), topic, short)
        except RemoteError as error:
            found[addr] = Told(addr, error=error.message, foreign=error.code == Reason.FOREIGN)
        except trio.TooSlowError:
            found[addr] = Told(addr, error="it did not answer in time")

    async with trio.open_nursery() as nursery:
        for addr in addrs:
            nursery.start_soon(ask, addr)
    return [found[addr] for addr in addrs]


async def _ask(client: RelayClient, topic: str, short: str) -> Told:
    if not topic:
        carried = (await client.describe("")).topics
        own = [name for name in carried if parse_topic(name)[1] == short]
        if not own:
            raise RefusedError(Reason.FOREIGN, NOT_CARRIED)
        topic = own[0]
    return Told(client.addr, topic, (await client.describe(topic)).records)


async def fetch_catalogs(addrs: Sequence[str], ids: Sequence[bytes], swarm: Swarm) -> list[bytes]:
    """Return the bytes of catalogs, given by id, each from the first of the relays that sends any.
    The caller checks them."""
    found: list[bytes] = []
    missing = list(ids)
    for addr in addrs:
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


async def submit_all(
    topics: Mapping[str, str], items: Sequence[bytes], swarm: Swarm
) -> dict[str, str]:
    """Hand `items`, in this order, to each relay of `topics` (topic by address). Return for each
    relay what went wrong, in words, "" if it took everything."""
    found: dict[str, str] = {}

    async def hand(addr: str, topic: str) -> None:
        try:
            with trio.fail_after(PATIENCE):
                found[addr] = await _hand(RelayClient(swarm, addr), topic, items)
        except RemoteError as error:
            found[addr] = error.message
        except trio.TooSlowError:
            found[addr] = "it did not take everything in time"

    async with trio.open_nursery() as nursery:
        for addr, topic in topics.items():
            nursery.start_soon(hand, addr, topic)
    return found


async def _hand(client: RelayClient, topic: str, items: Iterable[bytes]) -> str:
    left = {raw: raw for raw in items}
    while True:
        said = await client.hand(topic, left)
        refused = {raw: reason for raw, reason in said.reasons.items() if reason not in _TAKEN}
        left = {raw: raw for raw, reason in refused.items() if reason is Reason.QUOTA}
        if not refused:
            return ""
        if len(left) < len(refused):
            final = next(reason for reason in refused.values() if reason is not Reason.QUOTA)
            return f"it refuses: {final}"
        await trio.sleep(said.again or PAUSE)


_TAKEN = frozenset({Reason.OK, Reason.DUPLICATE})

"""Asks the relays that a person named about a namespace, and hands them what is new in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

import click
import trio

from methrics.node.network.swarm import Swarm
from methrics.node.publish.entry import check_relays
from methrics.node.publish.record_relays import Told, ask_relays, fetch_catalogs, submit_all
from methrics.schema.catalog.catalog import Catalog, load
from methrics.schema.errors import CatalogError

_T = TypeVar("_T")


def ask(relays: Sequence[str], topic: str, short: str = "") -> list[Told]:
    """Returns what each relay says; arguments as for `ask_relays`. Raises ConfigError,
    UsageError if there is no relay."""
    addrs = check_relays(relays)
    if not addrs:
        raise click.UsageError("no relay is given: give --relay ADDRESS")
    return trio.run(partial(on_network, partial(ask_relays, addrs, topic, short)))


def submit(told: Iterable[Told], items: Sequence[bytes]) -> dict[str, str]:
    """Hands `items` to the relays that answered. Returns for each what went wrong, in words, "" if
    it took everything."""
    addrs = [one.addr for one in told if one.topic]
    if not addrs:
        return {}
    return trio.run(partial(on_network, partial(submit_all, addrs, items)))


def fetch(told: Iterable[Told], wanted: Iterable[bytes], key: bytes) -> list[Catalog]:
    """Returns those of the `wanted` catalogs of the namespace `key`, by id, that a relay has."""
    addrs, ids = [one.addr for one in told if one.topic], sorted(wanted)
    if not addrs or not ids:
        return []
    found = []
    for raw in trio.run(partial(on_network, partial(fetch_catalogs, addrs, ids))):
        try:
            catalog = load(raw)
        except CatalogError:
            continue
        if catalog.key == key and catalog.id in ids:
            found.append(catalog)
    return found


async def on_network(work: Callable[[Swarm], Awaitable[_T]]) -> _T:
    """Returns what `work` does with a connection to the network."""
    from methrics.node.network.libp2p import open_swarm

    async with open_swarm() as swarm:
        return await work(swarm)

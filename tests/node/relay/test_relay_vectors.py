"""The published vectors of the requests of catalogs and records, against this implementation."""

from __future__ import annotations

import random

import pytest
import trio
from request_vectors import FOLDER, book_of, names, octets, vector

from methrics.node.relay.catalog_exchange import CatalogExchange
from methrics.node.relay.record_exchange import (
    REPLY_MAX,
    RecordExchange,
    decode_records,
    encode_records,
)
from methrics.node.testing import MemoryNetwork

HERE = ("catalog", "record")
LIBP2P = ("frame", "message")


def test_every_vector_is_of_a_kind_that_some_test_reads() -> None:
    kinds = {path.stem.partition("-")[0] for path in FOLDER.glob("*.json")}
    assert kinds == {*HERE, *LIBP2P}


@pytest.mark.parametrize("name", names("catalog"))
async def test_a_catalog_is_given_as_the_vector_says(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    given = vector(name)
    network = MemoryNetwork(rng=random.Random(1))

    async def learn(topic: str, bundle: bytes) -> object:
        raise AssertionError("nothing is looked for")

    async with network.open_swarm() as node, network.open_swarm(listen=False) as asker:
        book = book_of(given["catalogs"], [])
        CatalogExchange(node, book, random.Random(1).random, learn).serve()
        peer = await asker.dial(node.addrs[0])
        reply = await asker.request(
            peer, "/methrics/catalog/1", octets(given["request"]), reply_max=65_536, timeout=9
        )
    assert reply == octets(given["expect"]["reply"])


@pytest.mark.parametrize("name", names("record"))
async def test_records_are_given_as_the_vector_says(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    given = vector(name)
    network = MemoryNetwork(rng=random.Random(1))

    async def learn(topic: str, bundle: bytes) -> object:
        raise AssertionError("nothing is looked for")

    async with network.open_swarm() as node, network.open_swarm(listen=False) as asker:
        book = book_of([], given["records"])
        RecordExchange(node, book, given["topics"], random.Random(1).random, learn).serve()
        peer = await asker.dial(node.addrs[0])
        reply = await asker.request(
            peer, "/methrics/record/1", octets(given["request"]), reply_max=REPLY_MAX, timeout=9
        )
    assert reply == octets(given["expect"]["reply"])
    assert encode_records(decode_records(reply)) == reply

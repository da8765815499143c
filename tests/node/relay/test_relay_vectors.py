"""The published vectors of relays, boxes and the catalog exchange, against this implementation."""

from __future__ import annotations

import random
from hashlib import blake2b

import pytest
import trio
from nacl.bindings import crypto_box, crypto_scalarmult_base
from request_vectors import FOLDER, book_of, names, octets, vector

from methrics.node.clock import ManualClock
from methrics.node.process.worker import inline
from methrics.node.relay import submit
from methrics.node.relay.boxes import BOX_STEP, BoxKey, unseal
from methrics.node.relay.catalog_exchange import CatalogExchange
from methrics.node.relay.record_exchange import (
    REPLY_MAX,
    RecordExchange,
    decode_records,
    encode_records,
)
from methrics.node.relay.relay import Relay, RelaySettings
from methrics.node.testing import MemoryNetwork
from methrics.schema.errors import RefusedError

HERE = ("describe", "description", "boxes", "answers", "box", "submit", "catalog", "record")
LIBP2P = ("frame", "message")


def key_of(secret: str) -> BoxKey:
    return BoxKey(crypto_scalarmult_base(octets(secret)), octets(secret))


def test_every_vector_is_of_a_kind_that_some_test_reads() -> None:
    kinds = {path.stem.partition("-")[0] for path in FOLDER.glob("*.json")}
    assert kinds == {*HERE, *LIBP2P}


def relay_of(given: dict[str, object], network: MemoryNetwork, swarm: object) -> Relay:
    settings = RelaySettings(topics=tuple(given["topics"]))  # type: ignore[arg-type]
    return Relay(
        swarm,  # type: ignore[arg-type]
        book_of(given.get("catalogs", []), given.get("records", [])),  # type: ignore[arg-type]
        settings,
        clock=ManualClock(given["now"]),  # type: ignore[arg-type]
        rng=random.Random(1),
        key=key_of(str(given["secret"])),
        worker=inline,
    )


@pytest.mark.parametrize("name", [*names("describe"), *names("submit")])
async def test_a_relay_replies_as_the_vector_says(
    name: str, autojump_clock: trio.testing.MockClock
) -> None:
    given = vector(name)
    network = MemoryNetwork(rng=random.Random(1))
    async with network.open_swarm() as swarm:
        relay = relay_of(given, network, swarm)
        answer = relay.describe if name.startswith("describe") else relay.submit
        reply = await answer("peer", octets(given["request"]))
    assert reply == octets(given["expect"]["reply"])
    if "reasons" in given["expect"]:
        reasons = given["expect"]["reasons"]
        assert list(submit.decode_reply(reply, boxes=len(reasons)).answers) == reasons


@pytest.mark.parametrize("name", names("description"))
def test_a_description_is_read_as_the_vector_says(name: str) -> None:
    given = vector(name)
    expect = given["expect"]
    if expect["result"] != "ok":
        with pytest.raises(RefusedError) as caught:
            submit.decode_description(octets(given["reply"]))
        assert caught.value.code == expect["result"]
        return
    found = submit.decode_description(octets(given["reply"]))
    assert found.box == octets(expect["box"])
    assert list(found.topics) == expect["topics"]
    assert (found.time, found.life) == (expect["time"], expect["life"])
    assert found.records == tuple(map(octets, expect.get("records", [])))
    assert found.again == expect.get("again")
    if expect.get("records") != []:  # a relay without records leaves the key out
        assert submit.encode_description(found) == octets(given["reply"])


@pytest.mark.parametrize("name", names("boxes"))
def test_a_list_of_boxes_is_read_as_the_vector_says(name: str) -> None:
    given = vector(name)
    if given["expect"]["result"] != "ok":
        with pytest.raises(RefusedError) as caught:
            submit.decode_request(octets(given["request"]))
        assert caught.value.code == given["expect"]["result"]
        return
    boxes = [octets(box) for box in given["expect"]["boxes"]]
    assert submit.decode_request(octets(given["request"])) == boxes
    assert submit.encode_request(boxes) == octets(given["request"])


@pytest.mark.parametrize("name", names("answers"))
def test_answers_are_read_as_the_vector_says(name: str) -> None:
    given = vector(name)
    if given["expect"]["result"] != "ok":
        with pytest.raises(RefusedError):
            submit.decode_reply(octets(given["reply"]), boxes=given["boxes"])
        return
    found = submit.decode_reply(octets(given["reply"]), boxes=given["boxes"])
    assert list(found.answers) == given["expect"]["reasons"]
    assert found.again == given["expect"].get("again")
    assert submit.encode_reply(found) == octets(given["reply"])


@pytest.mark.parametrize("name", names("box"))
def test_a_box_opens_as_the_vector_says(name: str) -> None:
    given = vector(name)
    key, box = key_of(given["secret"]), octets(given["box"])
    if given["expect"]["result"] != "ok":
        with pytest.raises(RefusedError) as caught:
            unseal(box, key)
        assert caught.value.code == given["expect"]["result"]
        return
    item = octets(given["expect"]["item"])
    assert unseal(box, key) == item
    assert key.public == octets(given["public"])
    # As SPEC.md says that a box is made.
    padded = item + b"\x80" + bytes(-(len(item) + 1) % BOX_STEP)
    ephemeral = octets(given["ephemeral"])
    public = crypto_scalarmult_base(ephemeral)
    nonce = blake2b(public + key.public, digest_size=24).digest()
    assert public + crypto_box(padded, nonce, key.public, ephemeral) == box


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

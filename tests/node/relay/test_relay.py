"""The relay in a network in memory: it mixes, forgets submitters, and keeps unpublished items."""

from __future__ import annotations

import builtins
import gc
import io
import logging
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

import methrics.schema
from methrics.node.clock import Clock
from methrics.node.network.memory import MemoryNetwork, MemorySwarm
from methrics.node.network.swarm import PeerId
from methrics.node.process.worker import inline
from methrics.node.relay import submit
from methrics.node.relay.boxes import seal as seal_box
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings, run_relay
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import ConfigError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import judge
from methrics.schema.wire.bundle import pack, unpack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import (
    Erasure,
    Report,
    Revocation,
    encode_erasure,
    encode_report,
    encode_revocation,
)
from methrics.schema.wire.verdict import Decision, Reason

EXAMPLE = Path(methrics.schema.__file__).parent / "example" / "example.toml"
SOURCE = parse_source(EXAMPLE.read_text("utf-8"))
NAMESPACE = b"s" * 32
CATALOG = load(sign(SOURCE, NAMESPACE))
STRANGE = load(sign(SOURCE, b"x" * 32))
TOPIC = CATALOG.topic
BASE = 1_800_000_000
TODAY = BASE - BASE % 86_400


class TrioClock(Clock):
    """Wall time that moves with the simulated clock."""

    def now(self) -> int:
        return BASE + int(trio.current_time())


def report(number: int, catalog: Catalog = CATALOG, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "catalog": catalog.id,
        "type": "heartbeat",
        "time": TODAY,
        "values": {"os": "linux"},
    }
    payload = encode_report(Report(**(fields | changes)))  # type: ignore[arg-type]
    return seal(Kind.REPORT, payload, number.to_bytes(32, "big"))


class Scene:
    """One relay, one collecting peer, and as many submitters as a test opens."""

    def __init__(self, network: MemoryNetwork, relay: Relay, swarm: MemorySwarm) -> None:
        self.network = network
        self.relay = relay
        self.swarm = swarm
        self.stop = trio.Event()
        self.messages: list[bytes] = []
        self.forwarders: list[PeerId] = []

    @property
    def collected(self) -> list[bytes]:
        return [raw for message in self.messages for raw in unpack(message)]

    async def collect(self, peer: PeerId, message: bytes) -> Decision:
        self.forwarders.append(peer)
        self.messages.append(message)
        return Decision.ACCEPT


@asynccontextmanager
async def scene(
    *, book: CatalogBook | None = None, collector: bool = True, **changes: object
) -> AsyncIterator[Scene]:
    fields: dict[str, object] = {
        "topics": (TOPIC,),
        "mix": MixLimits(batch_window=30, rest=0),
        "catalog_every": None,
    }
    chosen = RelaySettings(**(fields | changes))  # type: ignore[arg-type]
    if book is None:
        book = CatalogBook({TOPIC})
        book.add(CATALOG)
    network = MemoryNetwork(rng=random.Random(7))
    async with (
        network.open_swarm() as swarm,
        network.open_swarm() as peer,
        trio.open_nursery() as nursery,
    ):
        stop = trio.Event()
        relay = await nursery.start(
            lambda task_status: run_relay(
                swarm,
                book,
                chosen,
                clock=TrioClock(),
                rng=random.Random(3),
                worker=inline,
                stop=stop,
                task_status=task_status,
            )
        )
        found = Scene(network, relay, swarm)
        found.stop = stop
        if collector:
            await peer.join(TOPIC, found.collect)
            await peer.dial(swarm.addrs[0])
        yield found
        nursery.cancel_scope.cancel()


async def ask(swarm: MemorySwarm, relay: Scene, *items: bytes, box: bytes = b"") -> list[Reason]:
    peer = await swarm.dial(relay.swarm.addrs[0])
    reply = await swarm.request(
        peer, submit.RELAY, submit.DESCRIBE_REQUEST, reply_max=submit.DESCRIPTION_MAX, timeout=9
    )
    key = submit.decode_description(reply).box
    boxes = [seal_box(item, key) for item in items] or [box]
    reply = await swarm.request(
        peer, submit.SUBMIT, submit.encode_request(boxes), reply_max=submit.REPLY_MAX, timeout=9
    )
    return submit.decode_reply(reply, boxes=len(boxes))


async def hand_in(relay: Scene, *items: bytes) -> list[Reason]:
    """As an app does: from a swarm of its own that lives for this one request."""
    async with relay.network.open_swarm(listen=False) as app:
        return await ask(app, relay, *items)


@pytest.mark.shows("NEW-6")
async def test_reports_of_many_leave_in_one_bundle(autojump_clock: trio.testing.MockClock) -> None:
    async with scene() as relay:
        for number in range(5):
            assert await hand_in(relay, report(number)) == [Reason.OK]
        assert relay.messages == []
        await trio.sleep(31)
        assert len(relay.messages) == 1
        assert sorted(relay.collected) == sorted(report(number) for number in range(5))
        assert relay.relay.pooled == 0


@pytest.mark.shows("NEW-6")
async def test_attack_reports_of_one_visit_leave_apart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """By default, items that one machine hands in together are spread over the next day."""
    reports = [report(number) for number in range(20)]
    async with scene(mix=MixLimits()) as relay:
        assert await hand_in(relay, *reports) == [Reason.OK] * 20
        await trio.sleep(86_400 - BASE % 86_400)
        assert relay.collected == [], "nothing leaves on the day on which it came"
        await trio.sleep(86_400 + 30)
        assert sorted(relay.collected) == sorted(reports)
        assert len(relay.messages) > 15


async def test_a_report_is_taken_once(autojump_clock: trio.testing.MockClock) -> None:
    async with scene() as relay:
        assert await hand_in(relay, report(1), report(1)) == [Reason.OK, Reason.DUPLICATE]
        await trio.sleep(31)
        assert await hand_in(relay, report(1)) == [Reason.DUPLICATE]
        await trio.sleep(31)
        assert relay.collected == [report(1)]


@pytest.mark.shows("METH-12", "KPI-3", "KPI-8", "KPI-15")
async def test_every_refusal_has_its_reason(autojump_clock: trio.testing.MockClock) -> None:
    forged = report(1)[:-1] + bytes([report(1)[-1] ^ 1])
    wrong = {
        Reason.FORGED: forged,
        Reason.MALFORMED: b"no item",
        Reason.OFF_SCHEMA: report(1, values={"os": "plan9"}),
        Reason.EMPTY: report(1, values={}),
        Reason.UNROUNDED: report(1, time=TODAY + 1),
        Reason.EARLY: report(1, time=TODAY + 86_400),
        Reason.LATE: report(1, time=TODAY - 22 * 86_400),
        Reason.UNKNOWN_CATALOG: report(1, STRANGE),
        Reason.FOREIGN: STRANGE.raw,
    }
    book = CatalogBook({TOPIC})
    book.add(CATALOG)
    everyone = [judge(raw, book, BASE, topic=TOPIC).reason for raw in wrong.values()]
    async with scene() as relay:
        assert await hand_in(relay, *wrong.values()) == everyone == list(wrong)
        await trio.sleep(31)
        assert relay.collected == []


async def test_attack_a_box_that_does_not_open_harms_only_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm(listen=False) as app:
        assert await ask(app, relay, box=b"\xff" * 1328) == [Reason.MALFORMED]
        assert await ask(app, relay, report(1)) == [Reason.OK]


async def test_attack_any_request_gets_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    async with scene() as relay, relay.network.open_swarm(listen=False) as app:
        peer = await app.dial(relay.swarm.addrs[0])
        for body in (b"", b"\xff", b"\x80", b"\x81\x01", bytes(1000)):
            reply = await app.request(peer, submit.SUBMIT, body, reply_max=99, timeout=9)
            assert submit.decode_reply(reply, boxes=1) == [Reason.MALFORMED]
            reply = await app.request(peer, submit.RELAY, body[:9], reply_max=99, timeout=9)
            assert reply == b""
        assert relay.swarm.statistics().handler_errors == 0


async def test_a_catalog_is_learned_and_published_before_its_reports(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(book=CatalogBook({TOPIC})) as relay:
        assert await hand_in(relay, report(1)) == [Reason.UNKNOWN_CATALOG]
        assert await hand_in(relay, CATALOG.raw, report(1)) == [Reason.OK, Reason.OK]
        await trio.sleep(1)
        assert relay.collected == [CATALOG.raw]
        await trio.sleep(31)
        assert relay.collected == [CATALOG.raw, report(1)]


async def test_the_newest_catalog_leads_a_bundle_every_six_hours(
    autojump_clock: trio.testing.MockClock,
) -> None:
    book = CatalogBook({TOPIC})
    later = load(sign(SOURCE, NAMESPACE, CATALOG))
    for catalog in (later, CATALOG):
        assert book.add(catalog)
    every = RelaySettings(()).catalog_every
    async with scene(book=book, catalog_every=every) as relay:
        for number, pause in ((1, 0.0), (2, 21_540.0), (3, 0.0), (4, 0.0)):
            assert await hand_in(relay, report(number)) == [Reason.OK]
            await trio.sleep(31)
            await trio.sleep(pause)
        assert [unpack(message) for message in relay.messages] == [
            [later.raw, report(1)],
            [report(2)],
            [later.raw, report(3)],
            [report(4)],
        ]
        assert relay.relay.statistics.published == 4


async def test_a_catalog_that_was_handed_in_need_not_lead_the_next_bundle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(book=CatalogBook({TOPIC}), catalog_every=21_600.0) as relay:
        assert await hand_in(relay, CATALOG.raw, report(1)) == [Reason.OK, Reason.OK]
        await trio.sleep(31)
        later = sign(SOURCE, NAMESPACE, CATALOG)
        assert await hand_in(relay, report(2), later) == [Reason.OK, Reason.OK]
        await trio.sleep(31)
        assert relay.collected == [CATALOG.raw, report(1), later, report(2)]


async def test_a_catalog_that_no_peer_took_leads_the_next_bundle_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(collector=False, catalog_every=21_600.0) as relay:
        assert await hand_in(relay, report(1)) == [Reason.OK]
        await trio.sleep(100)
        async with relay.network.open_swarm() as late:
            await late.join(TOPIC, relay.collect)
            await late.dial(relay.swarm.addrs[0])
            await trio.sleep(61)
            assert relay.collected == [CATALOG.raw, report(1)]


async def test_attack_the_other_relay_cannot_make_this_one_drop_a_report(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A report is handed to two relays. One of them shows it to the other beside an item that the
    other cannot judge and so does not forward."""
    async with scene() as relay, relay.network.open_swarm() as other:
        unknown = report(9, STRANGE)
        await other.dial(relay.swarm.addrs[0])
        assert await hand_in(relay, report(1)) == [Reason.OK]
        await other.publish(TOPIC, pack([unknown, report(1), report(2)]))
        await trio.sleep(1)
        assert relay.relay.statistics.gossip == {"unknown-catalog": 1}
        assert await hand_in(relay, report(2)) == [Reason.OK]
        await trio.sleep(31)
        assert sorted(relay.collected) == sorted([report(1), report(2)])


async def test_attack_a_catalog_that_no_peer_took_is_still_forwarded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(collector=False, catalog_every=21_600.0) as relay:
        assert await hand_in(relay, report(1)) == [Reason.OK]
        await trio.sleep(31)
        assert relay.relay.statistics.put_back == 1
        assert await relay.relay.validate(TOPIC, "", pack([CATALOG.raw])) is Decision.ACCEPT


async def test_erasures_and_revocations_pass(autojump_clock: trio.testing.MockClock) -> None:
    erasure = seal(
        Kind.ERASURE,
        encode_erasure(Erasure(CATALOG.id, split(report(1)).id, TODAY)),
        (1).to_bytes(32, "big"),
    )
    revoked = seal(Kind.REVOCATION, encode_revocation(Revocation("system", TODAY, "no")), NAMESPACE)
    async with scene() as relay:
        assert await hand_in(relay, erasure, revoked) == [Reason.OK, Reason.OK]
        await trio.sleep(31)
        assert sorted(relay.collected) == sorted([erasure, revoked])
        gone = report(2, type="system", values={"os": "linux"})
        assert await hand_in(relay, gone) == [Reason.REVOKED]


async def test_attack_one_connection_cannot_fill_the_pool(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(items_per_minute=10) as relay:
        async with relay.network.open_swarm(listen=False) as app:
            said = await ask(app, relay, *(report(number) for number in range(12)))
            assert said == [Reason.OK] * 10 + [Reason.QUOTA] * 2
            await trio.sleep(12)
            assert await ask(app, relay, report(10), report(11)) == [Reason.OK] * 2
        assert await hand_in(relay, report(12)) == [Reason.OK]


def test_a_relay_carries_no_more_topics_than_its_description_may_name() -> None:
    topics = tuple(f"topic {n}" for n in range(submit.TOPICS_MAX + 1))
    assert RelaySettings(topics[1:]).topics == topics[1:]
    with pytest.raises(ConfigError, match="at most 256 topics, not 257"):
        RelaySettings(topics)


async def test_without_peers_reports_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with scene(collector=False) as relay:
        assert await hand_in(relay, report(1)) == [Reason.OK]
        await trio.sleep(100)
        assert relay.relay.pooled == 1
        async with relay.network.open_swarm() as late:
            await late.join(TOPIC, relay.collect)
            await late.dial(relay.swarm.addrs[0])
            await trio.sleep(61)
            assert relay.collected == [report(1)]
            assert relay.relay.pooled == 0


async def test_attack_a_crowd_nobody_takes_does_not_keep_the_relay_busy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(collector=False, mix=MixLimits(batch_window=30, count=3, rest=0)) as relay:
        await hand_in(relay, *(report(number) for number in range(5)))
        await trio.sleep(100)
        assert relay.relay.pooled == 5
        assert relay.relay.statistics.put_back <= 5 * 5


async def test_stopping_publishes_the_pool(autojump_clock: trio.testing.MockClock) -> None:
    async with scene() as relay:
        await hand_in(relay, report(1), report(2))
        relay.stop.set()
        await trio.sleep(1)
        assert sorted(relay.collected) == sorted([report(1), report(2)])
        assert await hand_in(relay, report(3)) == [Reason.QUOTA]


async def test_a_stop_while_bundles_are_on_their_way_publishes_the_rest_too(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene() as relay:
        at_once = relay.swarm.publish

        async def slowly(topic: str, bundle: bytes) -> None:
            await trio.sleep(2)
            await at_once(topic, bundle)

        monkeypatch.setattr(relay.swarm, "publish", slowly)
        await hand_in(relay, report(1))
        await trio.sleep(30.5)
        assert relay.collected == []
        assert await hand_in(relay, report(2)) == [Reason.OK]
        relay.stop.set()
        await trio.sleep(6)
        assert sorted(relay.collected) == sorted([report(1), report(2)])


async def test_boxes_still_being_judged_when_the_relay_stops_get_quota(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(call: Callable[[], object]) -> object:
        await trio.sleep(3)
        return call()

    answers: list[Reason] = []

    async def submit_one(relay: Scene) -> None:
        answers.extend(await hand_in(relay, report(1)))

    async with scene() as relay, trio.open_nursery() as nursery:
        monkeypatch.setattr(relay.relay, "_worker", slowly)
        nursery.start_soon(submit_one, relay)
        await trio.sleep(1)
        relay.stop.set()
        await trio.sleep(5)
        assert answers == [Reason.QUOTA]
        assert relay.relay.pooled == 0


async def test_what_there_was_no_room_to_put_back_may_be_handed_in_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(collector=False) as relay:
        await hand_in(relay, report(1))
        monkeypatch.setattr(relay.relay.mixer, "put_back", lambda mixed, now: 0)
        await trio.sleep(31)
        assert await hand_in(relay, report(1)) == [Reason.OK]


async def test_what_another_relay_published_is_not_published_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm() as other:
        await hand_in(relay, report(1), report(2))
        await other.dial(relay.swarm.addrs[0])
        await other.publish(TOPIC, pack([report(1)]))
        await trio.sleep(31)
        assert sorted(relay.collected) == sorted([report(1), report(2)])
        assert relay.relay.statistics.elsewhere == 1


@pytest.mark.shows("METH-12")
async def test_a_relay_forwards_what_is_right_and_stops_what_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm() as other:
        await other.dial(relay.swarm.addrs[0])
        await other.publish(TOPIC, pack([report(1)]))
        await other.publish(TOPIC, pack([report(2), report(3, values={"os": "plan9"})]))
        await other.publish(TOPIC, pack([report(4, STRANGE)]))
        await other.publish(TOPIC, pack([STRANGE.raw]))
        await trio.sleep(5)
        assert relay.collected == [report(1)]
        assert relay.relay.statistics.gossip == {
            "ok": 1,
            "off-schema": 1,
            "unknown-catalog": 1,
            "foreign": 1,
        }


@pytest.mark.shows("MARS-2", "MARS-16", "DEB-9")
async def test_mars_2_nothing_of_the_submitter_stays_or_goes_on(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No log line, no statistic, no object of the relay and no byte of the second hop names it."""
    caplog.set_level(logging.DEBUG)
    async with scene() as relay:
        async with relay.network.open_swarm(listen=False) as app:
            name = app.peer_id
            await ask(app, relay, report(1), b"no item", report(2, STRANGE))
        await trio.sleep(31)
        assert relay.collected == [report(1)]
        assert relay.forwarders == [relay.swarm.peer_id]
        assert all(name.encode() not in message for message in relay.messages)
        assert name not in caplog.text
        assert name not in repr(relay.relay.statistics)
        assert not [text for text in reachable_text(relay.relay) if name in text]


def reachable_text(start: Relay) -> list[str]:
    """Every text and byte string that a relay's own memory still holds, its swarm left out."""
    seen: set[int] = {id(start._swarm)}
    texts: list[str] = []
    todo: list[object] = list(vars(start).values())
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        if isinstance(one, str | bytes):
            texts.append(one if isinstance(one, str) else one.decode("latin-1"))
        if type(one).__module__.startswith("methrics") or isinstance(
            one, dict | list | tuple | set
        ):
            todo += gc.get_referents(one)
    assert len(seen) > 50
    return texts


@pytest.mark.shows("KPI-8")
async def test_kpi_8_a_relay_opens_no_file(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def noting(call: Callable[..., object]) -> Callable[..., object]:
        def note(*arguments: object, **options: object) -> object:
            opened.append(arguments)
            return call(*arguments, **options)

        return note

    for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (sqlite3, "connect")):
        monkeypatch.setattr(module, name, noting(getattr(module, name)))
    async with scene() as relay:
        assert await hand_in(relay, report(1), b"no item") == [Reason.OK, Reason.MALFORMED]
        await trio.sleep(31)
        await hand_in(relay, report(2))
        relay.stop.set()
        await trio.sleep(31)
    assert sorted(relay.collected) == sorted([report(1), report(2)])
    assert opened == []

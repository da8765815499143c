"""The relay in a network in memory: it mixes, forgets submitters, and keeps unpublished items."""

from __future__ import annotations

import builtins
import gc
import io
import logging
import os
import sqlite3
from collections.abc import Callable

import pytest
import trio
import trio.testing
from relay_making import (
    BASE,
    CATALOG,
    KEY,
    NAMESPACE,
    STRANGE,
    TODAY,
    TOPIC,
    Scene,
    ask,
    exchange,
    hand_in,
    listing,
    report,
    scene,
)
from tests.listing import listed_book

from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import seal as seal_box
from methrics.node.relay import doors
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import Relay, RelaySettings
from methrics.node.relay.state_database import MEMORY
from methrics.schema.errors import ConfigError, UnreachableError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import judge
from methrics.schema.wire.bundle import pack, pack_notice
from methrics.schema.wire.envelope import Kind, inner_hash, seal, split
from methrics.schema.wire.items import (
    Announcement,
    Erasure,
    encode_announcement,
    encode_erasure,
)
from methrics.schema.wire.limits import CARRIED_MAX
from methrics.schema.wire.record import Revoked
from methrics.schema.wire.verdict import Reason


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
    book = listed_book(CATALOG, seed=NAMESPACE, topics={TOPIC})
    everyone = [judge(raw, book, BASE, topic=TOPIC).reason for raw in wrong.values()]
    async with scene() as relay:
        assert await hand_in(relay, *wrong.values()) == everyone == list(wrong)
        await trio.sleep(31)
        assert relay.collected == []


async def test_attack_a_box_that_does_not_open_harms_only_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm(listen=False) as app:
        good = seal_box(KEY.config, inner.encode_question(inner.BOX, report(1)))
        reply = await exchange(app, relay, b"\xff" * inner.BOX_SIZE, good.box)
        assert reply.answers[0] == b""
        assert inner.decode_answer(good.open(reply.answers[1])).reason is Reason.OK


async def test_attack_a_request_that_breaks_the_rules_gets_no_reply_and_harms_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm(listen=False) as app:
        peer = await app.dial(relay.swarm.addrs[0])
        for body in (b"", b"\xff", b"\x80", b"\x81\x01", bytes(1000)):
            with pytest.raises(UnreachableError):
                await app.request(peer, doors.EXIT, body, reply_max=99, timeout=9)
        assert await ask(app, relay, report(1)) == [Reason.OK]


async def test_a_record_and_a_catalog_are_learned_and_published_before_the_reports(
    autojump_clock: trio.testing.MockClock,
) -> None:
    record = listing(CATALOG)
    async with scene(book=CatalogBook({TOPIC})) as relay:
        assert await hand_in(relay, report(1)) == [Reason.UNKNOWN_CATALOG]
        assert await hand_in(relay, CATALOG.raw) == [Reason.UNLISTED]
        handed = await hand_in(relay, record, CATALOG.raw, report(1), record)
        assert handed == [Reason.OK, Reason.OK, Reason.OK, Reason.DUPLICATE]
        await trio.sleep(1)
        assert (relay.records, relay.collected) == ([record], [CATALOG.raw])
        await trio.sleep(31)
        assert relay.collected == [CATALOG.raw, report(1)]


async def test_a_catalog_is_published_once(autojump_clock: trio.testing.MockClock) -> None:
    async with scene() as relay:
        assert await hand_in(relay, CATALOG.raw, report(1)) == [Reason.OK, Reason.OK]
        await trio.sleep(86_400)
        assert relay.collected == [CATALOG.raw, report(1)]


async def test_a_notice_that_finds_no_peer_is_published_when_one_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene(collector=False) as relay:
        assert await hand_in(relay, CATALOG.raw) == [Reason.OK]
        await trio.sleep(100)
        async with relay.network.open_swarm() as late:
            await late.join(TOPIC, relay.collect)
            await late.dial(relay.swarm.addrs[0])
            await trio.sleep(31)
            assert relay.collected == [CATALOG.raw]
            assert relay.records == [listing(CATALOG)]


async def test_the_newest_record_is_published_every_hour(
    autojump_clock: trio.testing.MockClock,
) -> None:
    newer = listing(CATALOG, time=600)
    async with scene() as relay:
        await trio.sleep(6)
        assert relay.records == [listing(CATALOG)]
        assert await hand_in(relay, newer) == [Reason.OK]
        await trio.sleep(6 * 3600)
        assert set(relay.records[1:]) == {newer, listing(CATALOG)}, "they contradict each other"
        assert relay.records[1:].count(newer) in range(5, 9)


async def test_attack_an_equivocation_is_passed_on_with_its_proof(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two records that name the same one before prove that the namespace key was used twice."""
    first, second = listing(CATALOG, time=600), listing(time=1200)
    async with scene(book=CatalogBook({TOPIC})) as relay:
        assert await hand_in(relay, second, first) == [Reason.OK, Reason.OK]
        await trio.sleep(1)
        assert sorted(relay.records) == sorted([first, second])
        assert await records(relay, TOPIC) == (Reason.OK, (second, first))


async def records(relay: Scene, topic: str) -> tuple[Reason, tuple[bytes, ...]]:
    """What the exit says about the records of a topic."""
    async with relay.network.open_swarm(listen=False) as app:
        sealed = seal_box(KEY.config, inner.encode_question(inner.RECORDS, topic.encode()))
        (answer,) = (await exchange(app, relay, sealed.box)).answers
        found = inner.decode_answer(sealed.open(answer), box=False)
        return found.reason, found.items


async def test_a_relay_tells_the_records_of_the_topic_that_is_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay:
        assert await records(relay, TOPIC) == (Reason.OK, (listing(CATALOG),))
        assert await records(relay, STRANGE.topic) == (Reason.FOREIGN, ())


async def test_erasures_and_revocations_pass(autojump_clock: trio.testing.MockClock) -> None:
    erasure = seal(
        Kind.ERASURE,
        encode_erasure(Erasure(CATALOG.id, inner_hash(split(report(1))), TODAY // 86_400)),
        (1).to_bytes(32, "big"),
    )
    revoking = listing(CATALOG, time=600, revoked={"system": Revoked(TODAY, "no")})
    async with scene() as relay:
        assert await hand_in(relay, erasure, revoking) == [Reason.OK, Reason.OK]
        await trio.sleep(31)
        assert relay.collected == [erasure]
        assert revoking in relay.records
        gone = report(2, type="system", values={"os": "linux"})
        assert await hand_in(relay, gone) == [Reason.REVOKED]


def test_a_relay_carries_no_more_topics_than_its_descriptor_may_name() -> None:
    topics = tuple(f"topic {n}" for n in range(CARRIED_MAX + 1))
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

        async def slowly(topic: str, bundle: bytes) -> int:
            await trio.sleep(2)
            return await at_once(topic, bundle)

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
        monkeypatch.setattr(relay.relay.doors.exit, "_worker", slowly)
        nursery.start_soon(submit_one, relay)
        await trio.sleep(1)
        relay.stop.set()
        await trio.sleep(7)
        assert answers == [Reason.QUOTA]
        assert relay.relay.pooled == 0


async def test_what_another_relay_published_is_not_published_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm() as other:
        relay.swarm.keep(relay.collector.addrs[0])
        await hand_in(relay, report(1), report(2))
        await other.dial(relay.swarm.addrs[0])
        await other.publish(TOPIC, pack(CATALOG.id, [report(1)]))
        await trio.sleep(31)
        assert sorted(relay.collected) == sorted([report(1), report(2)])
        assert relay.relay.statistics.elsewhere == 1


@pytest.mark.shows("METH-12")
async def test_a_relay_forwards_what_is_right_and_stops_what_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene() as relay, relay.network.open_swarm() as other:
        await other.dial(relay.swarm.addrs[0])
        wrong = report(3, values={"os": "plan9"})
        await other.publish(TOPIC, pack(CATALOG.id, [report(1)]))
        await other.publish(TOPIC, pack(CATALOG.id, [report(2), wrong]))
        await other.publish(TOPIC, pack(CATALOG.id, [report(4, STRANGE)]))
        await other.publish(TOPIC, pack_notice(STRANGE.raw))
        await trio.sleep(5)
        assert relay.collected == [report(1)]
        assert relay.relay.statistics.gossip == {
            "ok": 1,
            "off-schema": 1,
            "malformed": 1,
            "foreign": 1,
        }


@pytest.mark.shows("MARS-2", "MARS-16", "DEB-9")
async def test_mars_2_nothing_of_the_submitter_stays_or_goes_on(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No log line, no statistic, no object of the relay and no byte of the second hop names it."""
    caplog.set_level(logging.DEBUG)
    async with scene() as relay:
        async with relay.network.open_swarm(listen=False, origin=b"a network") as app:
            name = app.peer_id
            await ask(app, relay, report(1), b"no item", report(2, STRANGE))
        await trio.sleep(31)
        assert relay.collected == [report(1)]
        assert set(relay.forwarders) == {relay.swarm.peer_id}
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
    assert set(opened) <= {(MEMORY,)}


async def test_a_relay_whose_clock_is_behind_says_so(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Two other relays publish reports of tomorrow, by the clock of this one."""
    caplog.set_level("WARNING")
    async with (
        scene() as relay,
        relay.network.open_swarm() as one,
        relay.network.open_swarm() as two,
    ):
        for first, other in ((0, one), (100, two)):
            await other.dial(relay.swarm.addrs[0])
            await other.wait_for_peers(TOPIC, 1)
            early = [report(first + n, time=TODAY + 86_400) for n in range(12)]
            await other.publish(TOPIC, pack(CATALOG.id, early))
        await trio.sleep(5)
        skew = relay.relay.statistics.skew
        assert skew is not None
        assert skew.behind
        assert abs(skew.seconds - (TODAY + 86_400 - BASE)) < 60
        assert caplog.text.count("this machine's clock is probably 16 h behind") == 1


async def test_attack_announcements_for_one_topic_do_not_block_the_records_of_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No peer has joined the topic of the attacker, so nothing of it can be published."""
    topics = (TOPIC, STRANGE.topic)
    async with scene(topics=topics, book=CatalogBook(topics)) as relay:
        for number in range(0, 320, 32):
            announcements = [
                Announcement(TODAY, TODAY + 86_400 + 600 * one)
                for one in range(number, number + 32)
            ]
            await hand_in(
                relay,
                *[
                    seal(Kind.ANNOUNCEMENT, encode_announcement(one), b"x" * 32)
                    for one in announcements
                ],
            )
        await trio.sleep(600)
        assert await hand_in(relay, listing(CATALOG), CATALOG.raw) == [Reason.OK] * 2
        await trio.sleep(1)
        assert relay.records == [listing(CATALOG)]
        assert relay.collected == [CATALOG.raw]

"""The exit: what it does with boxes, and that its answers tell an entry nothing."""

from __future__ import annotations

import random

import pytest
from tests.node.door_making import Station, question, read, stations, straight
from tests.node.relay_making import CATALOG, STRANGE, TODAY, TOPIC, report
from trio.testing import MockClock

from methrics.node.network.memory import MemorySwarm
from methrics.node.ohttp import inner
from methrics.node.ohttp.envelope import Sealed, seal
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.relay import doors
from methrics.schema.errors import UnreachableError
from methrics.schema.wire.codec import decode
from methrics.schema.wire.verdict import Reason


async def answers_of(app: MemorySwarm, exit_: Station, *sealed: Sealed) -> list[Reason]:
    reply = await straight(app, exit_, *(one.box for one in sealed))
    return [read(one, raw).reason for one, raw in zip(sealed, reply.answers, strict=True)]


async def test_a_report_in_a_box_is_published(autojump_clock: MockClock) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        one = lab.stations[0].seal(report(1))
        assert await answers_of(app, lab.stations[0], one) == [Reason.OK]
        await lab.wait_for(report(1))


async def test_each_box_has_its_own_answer_in_order(autojump_clock: MockClock) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        late = report(2, time=TODAY - 90 * 86_400)
        sealed = [
            exit_.seal(one)
            for one in (report(1), late, b"", report(1), b"\x01", report(3, STRANGE))
        ]
        assert await answers_of(app, exit_, *sealed) == [
            Reason.OK,
            Reason.LATE,
            Reason.OK,
            Reason.DUPLICATE,
            Reason.MALFORMED,
            Reason.UNKNOWN_CATALOG,
        ]
        assert exit_.relay.doors.exit is not None
        assert exit_.relay.doors.exit.opened == 6


async def test_all_answers_to_boxes_have_one_size(autojump_clock: MockClock) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        items = (report(1), report(1), b"", b"\x01", report(2, STRANGE), CATALOG.raw)
        reply = await straight(app, exit_, *(exit_.seal(one).box for one in items))
        assert {len(one) for one in reply.answers} == {doors.BOX_ANSWER_SIZE}


async def test_a_box_for_another_key_gets_an_empty_answer(autojump_clock: MockClock) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        gone = seal(ExitKey(200, b"g" * 32).config, question(report(1)))
        other = seal(ExitKey(exit_.box_key.key_id, b"o" * 32).config, question(report(2)))
        good = exit_.seal(report(3))
        reply = await straight(app, exit_, gone.box, good.box, other.box)
        assert [bool(one) for one in reply.answers] == [False, True, False]
        assert read(good, reply.answers[1]).reason is Reason.OK
        assert exit_.relay.doors.exit is not None
        assert (exit_.relay.doors.exit.opened, exit_.relay.doors.exit.unopened) == (1, 2)
        await lab.wait_for(report(3))
        assert lab.collected == [report(3)]


async def test_records_and_descriptors_are_told_in_a_box(autojump_clock: MockClock) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        asked = [
            exit_.seal(TOPIC.encode(), inner.RECORDS),
            exit_.seal(b"/methrics/1/other-aaaaaaaaaaaaaaaa/cbor", inner.RECORDS),
            exit_.seal(b"\xff", inner.RECORDS),
            exit_.seal(b"", inner.DESCRIPTORS),
        ]
        reply = await straight(app, exit_, *(one.box for one in asked))
        found = [read(one, raw) for one, raw in zip(asked, reply.answers, strict=True)]
        assert [one.reason for one in found] == ["ok", "foreign", "foreign", "ok"]
        assert len(found[0].items) == 1
        assert found[3].items == (b"descriptor",)
        assert {len(one) for one in reply.answers} == {4096 + 48}


async def test_what_does_not_fit_a_reply_is_to_be_asked_for_again(
    autojump_clock: MockClock,
) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        assert exit_.relay.doors.exit is not None
        exit_.relay.doors.exit._library.descriptors = lambda: [bytes(900_000)]  # type: ignore[method-assign]
        asked = [exit_.seal(b"", inner.DESCRIPTORS) for _ in range(64)]
        reply = await straight(app, exit_, *(one.box for one in asked))
        found = [read(one, raw) for one, raw in zip(asked, reply.answers, strict=True)]
        assert [one.reason for one in found] == [Reason.OK] + [Reason.QUOTA] * 63
        assert found[1].again == 1


async def test_a_stopping_relay_takes_no_box(autojump_clock: MockClock) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        exit_.relay.stop()
        reply = await straight(app, exit_, exit_.seal(report(1)).box)
        assert not reply.answers
        assert reply.again


async def test_a_relay_without_the_role_serves_no_exit(autojump_clock: MockClock) -> None:
    async with stations(1, roles=("entry",)) as lab, lab.network.open_swarm(listen=False) as app:
        with pytest.raises(UnreachableError):
            await straight(app, lab.stations[0], lab.stations[0].seal().box)


async def test_attack_a_replayed_box_is_answered_alike_and_kept_once(
    autojump_clock: MockClock,
) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        one = exit_.seal(report(1))
        first = (await straight(app, exit_, one.box)).answers[0]
        again = (await straight(app, exit_, one.box, one.box)).answers
        assert {len(raw) for raw in (first, *again)} == {len(first)}
        assert len({first, *again}) == 3
        await lab.wait_for(report(1))
        assert lab.collected == [report(1)]


async def test_attack_a_tagged_box_gives_nothing_away(autojump_clock: MockClock) -> None:
    """An entry that flips a bit, to recognise the box at the exit, learns only that it did not
    open, and the item is not published."""
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        box = exit_.seal(report(1)).box
        rng = random.Random(1)
        for at in {*range(7), *(rng.randrange(7, len(box)) for _ in range(20)), len(box) - 1}:
            tagged = box[:at] + bytes((box[at] ^ 1 << rng.randrange(8),)) + box[at + 1 :]
            assert (await straight(app, exit_, tagged)).answers == (b"",)
        assert not exit_.relay.pooled


async def test_attack_a_flood_of_boxes_that_do_not_open_is_bounded_for_one_network(
    autojump_clock: MockClock,
) -> None:
    async with stations(1, boxes_per_minute=128) as lab:
        exit_ = lab.stations[0]
        junk = bytes(1335)
        for _ in range(2):  # from as many peers as the attacker likes
            async with lab.network.open_swarm(listen=False, origin=b"attacker") as app:
                assert (await straight(app, exit_, *[junk] * 64)).answers == (b"",) * 64
        async with (
            lab.network.open_swarm(listen=False, origin=b"attacker") as app,
            lab.network.open_swarm(listen=False, origin=b"honest") as entry,
        ):
            refused = await straight(app, exit_, *[junk] * 64)
            assert refused.again is not None
            assert 1 <= refused.again <= 60
            good = exit_.seal(report(1))
            assert await answers_of(entry, exit_, good) == [Reason.OK]


async def test_attack_floods_do_not_keep_what_is_allowed_from_others_of_a_network(
    autojump_clock: MockClock,
) -> None:
    """Requests that are refused count nothing, so that the network is not starved."""
    async with (
        stations(1, boxes_per_minute=60) as lab,
        lab.network.open_swarm(listen=False, origin=b"one") as app,
    ):
        exit_ = lab.stations[0]
        for _ in range(100):
            assert (await straight(app, exit_, *[bytes(1335)] * 64)).again
        assert await answers_of(app, exit_, exit_.seal(report(1))) == [Reason.OK]


async def test_a_box_with_other_content_is_answered_like_a_report(
    autojump_clock: MockClock,
) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        odd = [seal(exit_.box_key.config, content) for content in (b"", b"x", bytes(1280))]
        reply = await straight(app, exit_, *(one.box for one in odd))
        assert [len(one) for one in reply.answers] == [doors.BOX_ANSWER_SIZE] * 3
        assert read(odd[0], reply.answers[0]).reason is Reason.MALFORMED


async def test_the_reply_is_what_the_doors_say(autojump_clock: MockClock) -> None:
    async with stations(1) as lab, lab.network.open_swarm(listen=False) as app:
        exit_ = lab.stations[0]
        peer = await app.dial(exit_.swarm.addrs[0])
        body = doors.encode_exit_request([exit_.seal().box])
        raw = await app.request(peer, doors.EXIT, body, reply_max=10_000, timeout=9)
        value = decode(raw, limit=10_000)
        assert isinstance(value, dict)
        assert value.keys() == {"answers"}

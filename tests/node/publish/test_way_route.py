"""The route over two hops: who sees what, and what a submitter concludes from answers or none."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
import trio
import trio.testing
from tests.node.publish.way_world import (
    BASE,
    CATALOG,
    RECORD,
    TOPIC,
    Memories,
    Memory,
    Relay,
    World,
    outgoing_of,
    report,
)

from methrics.node.network.peer_ids import peer_id_of
from methrics.node.ohttp import inner
from methrics.node.ohttp.key_config import ExitKey
from methrics.node.outbox.rows import HANDED_TIME
from methrics.node.publish.entries import KeptEntries, Offer
from methrics.node.publish.routes import Fate, Outcome
from methrics.node.publish.visit import NO_EXIT
from methrics.node.publish.way_route import NOT_CARRIED, WayRoute
from methrics.node.publish.ways import WORDS, Gap
from methrics.node.relay.visits import VISIT_BOXES
from methrics.schema.errors import ConfigError
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.limits import DAY, TIME_MAX
from methrics.schema.wire.record import sign_record
from methrics.schema.wire.verdict import Reason

ACKNOWLEDGED = Outcome(Fate.ACKNOWLEDGED, "ok")
HANDED = Outcome(Fate.HANDED, "handed")


def world(*says: Reason | str) -> World:
    return World(*(Relay(number, say) for number, say in enumerate(says)))


def entry_of(found: World) -> Relay:
    """The entry that was used last."""
    return next(one for one in found.relays if one.addr == found.opened[-1].address)


async def deliver(
    found: World, count: int = 1, seed: int = 1, *, app: Sequence[int] | None = None
) -> list[Outcome]:
    """Deliver so many reports, in as many visits as they need."""
    outcomes: dict[bytes, Outcome] = {}
    for first in range(0, count, VISIT_BOXES):
        outgoing = outgoing_of(min(VISIT_BOXES, count - first), first)
        outcomes |= await found.route(seed + first, app=app).deliver(outgoing)
    assert set(outcomes) == {report(number)[0] for number in range(count)}
    return list(outcomes.values())


@pytest.mark.shows("NEW-6")
async def test_no_exit_is_the_entry_and_every_report_goes_to_one_exit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(5):
        found = world(*[Reason.OK] * 5)
        assert await deliver(found, 40, seed) == [ACKNOWLEDGED] * 40
        assert entry_of(found).items == []
        assert entry_of(found).id not in entry_of(found).forwarded
        others = [one for one in found.relays if one is not entry_of(found)]
        assert sorted(raw for one in others for raw in one.items) == sorted(
            raw for _, raw in outgoing_of(40).items
        )
        assert all(one.items for one in others), "the exit is drawn for each box"
        assert all(one.visits == 0 for one in others), "only the entry sees this machine"


async def test_boxes_leave_in_another_order_than_they_were_made(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(Reason.OK, Reason.OK)
    await deliver(found, 40)
    (exit_,) = [one for one in found.relays if one.items]
    assert exit_.items != [raw for _, raw in outgoing_of(40).items]


async def test_the_entry_stays_the_same(autojump_clock: trio.testing.MockClock) -> None:
    found = world(*[Reason.OK] * 9)
    for seed in range(20):
        await deliver(found, seed=seed)
    assert len({one.address for one in found.opened}) == 1


async def test_one_relay_alone_is_both_and_words_say_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(Reason.OK)
    route = found.route()
    assert await route.deliver(outgoing_of(1)) == {report(0)[0]: ACKNOWLEDGED}
    assert route.findings.note == WORDS[Gap.RELAY]
    assert route.findings.sources == 1


async def test_two_relays_of_one_operator_are_used_and_words_say_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(Reason.OK, Reason.OK)
    for one in found.relays:
        one.operator = "ann"
    route = found.route(user=(0, 1))
    assert await route.deliver(outgoing_of(1)) == {report(0)[0]: ACKNOWLEDGED}
    assert route.findings.note == WORDS[Gap.OPERATOR]
    assert entry_of(found).items == []


async def test_no_words_are_needed_where_both_hops_are_apart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    route = world(*[Reason.OK] * 3).route(app=(0,))
    await route.deliver(outgoing_of(1))
    assert route.findings.note == ""


async def test_attack_a_malicious_app_that_names_both_hops(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(6):
        found = world(*[Reason.OK] * 4)
        assert set(await deliver(found, 30, seed, app=(0, 1))) == {ACKNOWLEDGED}
        assert entry_of(found) in found.relays[:2]
        assert found.relays[0].items == found.relays[1].items == []
        # Another app, which names other relays, keeps the entry: it must not meet its companion.
        await deliver(found, 30, seed, app=(2, 3))
        assert entry_of(found) in found.relays[:2]
        assert found.relays[0].items == found.relays[1].items == []


@pytest.mark.shows("DEB-8")
async def test_the_users_relays_replace_what_an_app_chose(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(*[Reason.OK] * 5)
    await found.route(app=(0, 1)).deliver(outgoing_of(1))
    before = [len(one.items) for one in found.relays]
    await found.route(user=(3, 4), app=(0, 1)).deliver(outgoing_of(12))
    assert entry_of(found) in found.relays[3:]
    assert [len(one.items) for one in found.relays[:3]] == before[:3], "the user's come first"


async def test_an_entry_that_never_answered_is_passed_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(8):
        found = world("silent", Reason.OK, Reason.OK)
        found.relays[0].roles = ("entry",)
        assert await deliver(found, seed=seed) == [ACKNOWLEDGED]


async def test_an_entry_that_dies_makes_reports_wait_and_nobody_else_sees_the_machine(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(*[Reason.OK] * 6)
    await deliver(found)
    entry = entry_of(found)
    entry.say = "silent"
    for seed in range(20):
        assert await deliver(found, seed=seed) == [Outcome(Fate.RETRY, "unreachable")]
    assert {one.address for one in found.opened} == {entry.addr}
    assert found.findings.unusable == {entry.addr: "the relay did not answer in time"}
    entry.say = Reason.OK
    assert await deliver(found) == [ACKNOWLEDGED]


async def test_an_entry_that_dies_within_a_pass_ends_the_pass(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(*[Reason.OK] * 4)
    route = found.route()
    await route.records(TOPIC, ())
    entry_of(found).say = "silent"
    began = trio.current_time()
    outcomes = await route.deliver(outgoing_of(16))
    assert set(outcomes.values()) == {Outcome(Fate.RETRY, "unreachable")}
    assert trio.current_time() - began < 90, "it is not waited for once for each report"


async def test_attack_blocked_entries_do_not_push_the_user_through_many(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(*["silent"] * 30)
    for seed in range(40):
        await deliver(found, seed=seed)
        await trio.sleep(DAY / 2)
    assert len({one.address for one in found.opened}) <= 3


async def test_attack_an_entry_that_lets_no_box_through_counts_as_silent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = World(Relay(0), Relay(1), Relay(2))
    hidden = Relay(9)
    found.relays[0].shows = [hidden.descriptor(), found.relays[0].descriptor()]
    outcomes = await found.route(app=(0,)).deliver(outgoing_of(1))
    assert set(outcomes.values()) == {Outcome(Fate.RETRY, "unreachable")}
    assert found.findings.unusable[found.relays[0].addr] == NO_EXIT
    assert found.memory.kept.drawn[0].silent == 1
    assert found.relays[0].items == [], "nor does the entry become the exit"


@pytest.mark.parametrize("says", ["silent", "deaf", "garbage", "closed", "full"])
async def test_another_exit_is_taken_if_one_gives_no_answer(
    autojump_clock: trio.testing.MockClock, says: str
) -> None:
    seen = set[Outcome]()
    for seed in range(6):
        found, boxes = world(Reason.OK, says, Reason.OK, Reason.OK), Memories()
        seen |= set(await found.visit(boxes, 10, seed, app=(0,)))
        later = await found.visit(boxes, 10, seed, now=BASE + HANDED_TIME, app=(0,))
        assert set(later) == {ACKNOWLEDGED}
        assert found.relays[1].items == []
    waiting = HANDED if says != "garbage" else Outcome(Fate.RETRY, "unreachable")
    assert seen == {ACKNOWLEDGED, waiting}


@pytest.mark.parametrize("says", ["silent", "deaf", "closed"])
async def test_no_exit_at_all_means_that_no_visit_is_made(
    autojump_clock: trio.testing.MockClock, says: str
) -> None:
    found = world(Reason.OK, says, says, says)
    outcomes = await found.route(app=(0,)).deliver(outgoing_of(2))
    assert set(outcomes.values()) == {Outcome(Fate.RETRY, "unreachable")}
    assert found.relays[0].requests == []


async def test_a_full_exit_is_replaced_and_says_when_to_come_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    again = Outcome(Fate.RETRY, "quota", 60)
    seen = set[Outcome]()
    for seed in range(6):
        found, boxes = world(Reason.OK, Reason.QUOTA, Reason.OK), Memories()
        found.relays[1].again = 60
        (first,) = await found.visit(boxes, seed=seed, app=(0,))
        seen.add(first)
        if first == again:
            assert await found.visit(boxes, seed=seed, app=(0,)) == [ACKNOWLEDGED]
    assert seen == {ACKNOWLEDGED, again}


async def test_attack_one_exit_cannot_refuse_a_report_for_good(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def outcomes(*says: Reason, visits: int = 3) -> list[Outcome]:
        found, boxes = world(Reason.OK, *says), Memories()
        return [
            one for seed in range(visits) for one in await found.visit(boxes, seed=seed, app=(0,))
        ]

    again, refused = Outcome(Fate.RETRY, "forged"), Outcome(Fate.REFUSED, "forged")
    assert await outcomes(Reason.FORGED, Reason.FORGED, visits=2) == [again, refused]
    assert await outcomes(Reason.FORGED, visits=5) == [again] * 5, "it stays one exit"
    assert (await outcomes(Reason.FORGED, Reason.OK))[-1] == ACKNOWLEDGED


@pytest.mark.parametrize("reason", [Reason.EARLY, Reason.LATE, Reason.EXPIRED])
async def test_an_exit_with_a_wrong_clock_is_replaced_by_another(
    autojump_clock: trio.testing.MockClock, reason: Reason
) -> None:
    for seed in range(6):
        found, boxes = world(Reason.OK, reason, Reason.OK), Memories()
        (first,) = await found.visit(boxes, seed=seed, app=(0,))
        assert first in (ACKNOWLEDGED, Outcome(Fate.RETRY, str(reason)))
        assert await found.visit(boxes, seed=seed, app=(0,)) == [ACKNOWLEDGED]


async def test_one_exit_at_a_visit_learns_what_is_in_a_box_that_none_takes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found, boxes = world(Reason.OK, *[Reason.LATE] * 8), Memories()
    for visit in range(8):
        await found.visit(boxes, seed=visit, app=(0,))
        assert sum(len(one.items) for one in found.relays) == visit + 1
    assert [len(one.items) for one in found.relays] == [0, *[1] * 8], "each time another one"


async def test_an_erased_report_is_done_with(autojump_clock: trio.testing.MockClock) -> None:
    found = world(Reason.ERASED, Reason.ERASED)
    assert await deliver(found) == [Outcome(Fate.ACKNOWLEDGED, "erased")]


async def test_an_unknown_catalog_is_sent_and_the_reports_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found, boxes = world(Reason.OK, Reason.OK), Memories()
    for one in found.relays:
        one.knows = False
    assert await found.visit(boxes, 5) == [ACKNOWLEDGED] * 5
    assert [len(one.boxes) for one in entry_of(found).requests] == [VISIT_BOXES] * 2


async def test_an_exit_that_lacks_the_record_is_handed_it_before_the_reports_come_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Unlisted(Relay):
        def take(self, raw: bytes) -> Reason:
            self.say = Reason.OK if self.records else Reason.UNLISTED
            return super().take(raw)

    found, handing = World(Unlisted(0), Unlisted(1)), Memories()
    for one in found.relays:
        one.records = []
    outgoing = replace(handing.outgoing(2), records=(RECORD.raw,))
    assert set((await found.route().deliver(outgoing)).values()) == {ACKNOWLEDGED}
    assert sorted(len(one.records) for one in found.relays) == [0, 1]


async def test_relays_tell_their_time(autojump_clock: trio.testing.MockClock) -> None:
    found, told = world(Reason.OK, Reason.OK, Reason.OK), list[int]()
    found.relays[1].time = found.relays[2].time = BASE - 7200
    await found.route(app=(0,)).deliver(replace(outgoing_of(20), told=told.append))
    assert sorted(told) == [BASE - 7200, BASE - 7200, BASE]


async def test_a_machine_whose_clock_is_months_wrong_is_told_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found, told = world(Reason.EARLY, Reason.EARLY), list[int]()
    for one in found.relays:
        one.time = BASE - 90 * DAY
    outcomes = await found.route().deliver(replace(outgoing_of(1), told=told.append))
    assert set(outcomes.values()) == {Outcome(Fate.RETRY, "early")}
    assert set(told) == {BASE - 90 * DAY}


async def test_consent_is_asked_when_the_boxes_leave_and_the_number_stays_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found, asked = world(Reason.OK, Reason.OK, Reason.OK), list[bytes]()

    async def leave(ids: Collection[bytes]) -> Collection[bytes]:
        asked.extend(ids)
        await trio.lowlevel.checkpoint()
        return asked[:7]

    outcomes = await found.route(app=(0,)).deliver(replace(outgoing_of(16), leave=leave))
    assert sum(len(one.items) for one in found.relays) == 7
    assert sum(one.empties for one in found.relays) == 9
    fates = [one.fate for one in outcomes.values()]
    assert (fates.count(Fate.ACKNOWLEDGED), fates.count(Fate.HELD)) == (7, 9)
    assert sorted(asked) == sorted(item_id for item_id, _ in outgoing_of(16).items)


async def test_withdrawal_in_the_middle_cuts_the_connection_and_nothing_more_leaves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(Reason.OK, Reason.OK, Reason.OK)
    route = found.route(app=(0,))
    await route.records(TOPIC, ())
    sent = len(found.relays[0].forwarded)
    async with trio.open_nursery() as nursery:

        def cut() -> None:
            if len(found.relays[0].forwarded) >= sent + 6:
                nursery.cancel_scope.cancel()

        found.before_forwarding = cut
        await route.deliver(outgoing_of(40))
        raise AssertionError("the delivery was cancelled")
    taken = sum(len(one.items) for one in found.relays)
    assert 0 < taken <= 7
    await trio.sleep(600)
    assert sum(len(one.items) for one in found.relays) == taken


async def test_relays_that_cannot_be_used_are_named_with_the_reason(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(Reason.OK, Reason.OK)
    for one in found.relays:
        one.topics = ("other",)
    outcomes = await found.route(user=(0,)).deliver(outgoing_of(1))
    assert set(outcomes.values()) == {Outcome(Fate.RETRY, "unreachable")}
    assert found.findings.unusable == {found.relays[0].addr: NOT_CARRIED}
    assert [one.items for one in found.relays] == [[], []]


def test_a_route_needs_a_relay() -> None:
    with pytest.raises(ConfigError):
        WayRoute(None, Offer(), Memory(), clock=None, rng=random.Random(1), worker=None)  # type: ignore[arg-type]


async def test_an_exit_that_does_not_carry_the_topic_gets_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(Reason.OK, Reason.OK, Reason.OK)
    found.relays[1].topics = ("other",)
    await found.route(app=(0,)).deliver(outgoing_of(10))
    assert [len(one.items) for one in found.relays] == [0, 0, 10]


async def test_attack_an_exit_with_a_key_for_each_client_is_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(6):
        found = world(*[Reason.OK] * 4)
        honest = [one.descriptor() for one in found.relays]
        mine = found.relays[1].descriptor(ExitKey(1, b"m" * 32))
        found.relays[0].shows = [honest[0], mine, *honest[2:]]
        outcomes = await found.route(seed, app=(0,)).deliver(outgoing_of(10))
        assert set(outcomes.values()) == {ACKNOWLEDGED}
        assert found.relays[1].items == []


async def test_attack_an_exit_that_only_the_entry_shows_gets_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(6):
        found = world(*[Reason.OK] * 4)
        honest = [one.descriptor() for one in found.relays]
        for one in found.relays[1:]:
            one.shows = honest[:1] + honest[2:]
        outcomes = await found.route(seed, app=(0,)).deliver(outgoing_of(10))
        assert set(outcomes.values()) == {ACKNOWLEDGED}
        assert found.relays[1].items == []


def isolated() -> tuple[World, list[Relay]]:
    """Twelve relays of which the first shows only itself, two honest ones, which are returned, and
    nine exits of its own, which say the same. The honest ones do not know those."""
    found = world(*[Reason.OK] * 12)
    bad, *honest = found.relays[:3]
    honest[0].addr = f"/ip4/10.1.0.2/tcp/1/p2p/{peer_id_of(honest[0].id)}"
    everything = [one.descriptor() for one in found.relays]
    for one in found.relays:
        one.shows = everything
    for one in honest:
        one.shows = [known.descriptor() for known in (bad, *honest)]
    return found, honest


async def test_attack_an_entry_gives_a_person_descriptors_of_its_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nine invented exits in networks of their own get nothing, because a relay on the person's
    list does not know them."""
    entries = set[str]()
    for seed in range(8):
        found, honest = isolated()
        outcomes = await found.route(seed, app=(0, 1)).deliver(outgoing_of(10))
        assert set(outcomes.values()) == {ACKNOWLEDGED}
        assert sum(len(one.items) for one in honest) == 10
        entries.add(entry_of(found).addr)
    assert found.relays[0].addr in entries


async def test_attack_an_entry_with_invented_exits_wins_if_the_list_names_no_other_relay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found, _ = isolated()
    outcomes = await found.route(app=(0,)).deliver(outgoing_of(10))
    assert set(outcomes.values()) == {ACKNOWLEDGED}
    assert sum(len(one.items) for one in found.relays[3:]) > 0


async def test_discovered_entries_are_remembered_for_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(*[Reason.OK] * 4)
    found.relays[3].roles = ("exit",)
    await found.route(app=(0,)).deliver(outgoing_of(1))
    assert set(found.memory.kept.found) == set(found.addrs((0, 1, 2)))


def newer_than(*before: Item, time: int = 1) -> Item:
    return sign_record(
        [CATALOG.id], b"s" * 32, time=time, expires=TIME_MAX, previous=[one.id for one in before]
    )


async def test_two_exits_are_asked_for_records_and_the_entry_does_not_learn_the_app(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(*[Reason.OK] * 5)
    route = found.route()
    assert await route.records(TOPIC, ()) == [(RECORD.raw,)] * 2
    asked = [one for one in found.relays if inner.RECORDS in one.questions]
    assert len(asked) == 2
    assert entry_of(found) not in asked
    assert route.findings.sources == 4


async def test_two_exits_of_one_operator_are_not_asked_if_there_is_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for seed in range(9):
        found = world(*[Reason.OK] * 5)
        for one in found.relays[1:4]:
            one.operator = "ann"
        await found.route(seed, app=(0,)).records(TOPIC, ())
        assert inner.RECORDS in found.relays[4].questions


async def test_attack_what_the_publisher_itself_hands_to_an_exit_does_not_count_as_agreement(
    autojump_clock: trio.testing.MockClock,
) -> None:
    newer, found = newer_than(RECORD), world(*[Reason.OK] * 3)
    found.relays[1].records = [newer.raw]
    route = found.route(app=(0,))
    assert sorted(await route.records(TOPIC, ())) == sorted([(newer.raw,), (RECORD.raw,)])
    assert found.relays[2].records == [newer.raw], "the one with the older was handed the newer"
    assert await route.records(TOPIC, ()) == [(newer.raw,)] * 2, "a later answer counts"


async def test_the_record_that_this_machine_kept_is_handed_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    newer, found = newer_than(RECORD), world(*[Reason.OK] * 3)
    heard = await found.route(app=(0,)).records(TOPIC, (newer.raw,))
    assert heard == [(RECORD.raw,)] * 2
    assert [one.records for one in found.relays[1:]] == [[newer.raw]] * 2


async def test_attack_the_only_exit_that_is_known_is_handed_no_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world(Reason.OK, Reason.OK)
    found.relays[1].records = []
    assert await found.route(app=(0,)).records(TOPIC, (RECORD.raw,)) == [()]
    assert found.relays[1].records == []


async def test_attack_an_exit_that_withholds_a_record_cannot_hide_that(
    autojump_clock: trio.testing.MockClock,
) -> None:
    newer, found = newer_than(RECORD), world(*[Reason.OK] * 3)
    found.relays[1].records, found.relays[2].takes_records = [newer.raw], False
    heard = await found.route(app=(0,)).records(TOPIC, ())
    assert sorted(heard) == sorted([(newer.raw,), (RECORD.raw,)])


async def test_no_entry_means_no_records_and_no_second_round_of_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = world("silent")
    route = found.route()
    assert await route.records(TOPIC, ()) == []
    began = trio.current_time()
    assert set((await route.deliver(outgoing_of(1))).values()) == {
        Outcome(Fate.RETRY, "unreachable")
    }
    assert trio.current_time() == began
    assert found.memory.kept.drawn[0].silent == 1
    assert found.memory.kept != KeptEntries()

"""Messages that wait whole for a catalog or a record: bounded, fair, and never lost silently."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mesh_making import Driver, message

from methrics.node.mesh.limits import MeshSettings
from methrics.node.mesh.outcome import Wait
from methrics.node.mesh.outputs import Judge
from methrics.node.mesh.rpc import Message
from methrics.node.mesh.waiting import Account, Waiter, WaitingRoom
from methrics.schema.wire.verdict import Decision

SETTINGS = MeshSettings(
    waiting_bytes=80_000, waiting_per_peer=8, waiting_bytes_per_peer=40_000, waiting_least=1000
)
"""Eighty messages of 1,000 bytes; a portion is 10."""


def waiter(
    text: str, peer: str, origin: bytes = b"", *, on: bytes = b"x", size: int = 1000
) -> Waiter:
    one = message(text, size=size)
    return Waiter(one.content, one, on, 0.0, Account(peer, origin), {peer: None})


def fill(room: WaitingRoom, origin: bytes, count: int) -> None:
    """Let `count` messages wait, each of a peer of its own in one network."""
    for at in range(count):
        room.put(waiter(f"{origin!r}{at}", f"{origin!r}peer{at}", origin))


def test_a_message_waits_until_what_it_needs_has_come_and_is_then_forwarded() -> None:
    driver = Driver()
    for name in driver.crowd(4):
        driver.graft(name)
    driver.deliver("in0", message(), Wait(b"catalog"))
    driver.deliver("in1", message())
    assert driver.mesh.waits() == [b"catalog"]
    assert driver.mesh.again(b"other", driver.now) == 0
    assert driver.mesh.again(b"catalog", driver.now) == 1
    assert driver.take() == [Judge(message().content, message(), "in0")]
    driver.mesh.verdict(message().content, Decision.ACCEPT, driver.now)
    driver.take()
    assert driver.receivers(message()) == {"in2", "in3"}
    counts = driver.mesh.statistics()
    assert (counts.received, counts.accepted, counts.duplicates, counts.waiting) == (2, 1, 1, 0)


def test_a_waiting_content_is_known_and_not_asked_for() -> None:
    driver = Driver()
    driver.crowd(2)
    driver.deliver("in0", message(), Wait(b"catalog"))
    assert driver.offer("in1", message().content) == set()
    assert driver.mesh.statistics().waiting == 1


def test_a_message_may_wait_again_for_something_else() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.deliver("in0", message(), Wait(b"catalog"))
    driver.mesh.again(b"catalog", driver.now)
    driver.mesh.verdict(message().content, Wait(b"record"), driver.now)
    assert driver.mesh.waits() == [b"record"]
    assert driver.mesh.again(b"record", driver.now) == 1


def test_after_reject_everyone_who_sent_it_is_blamed_also_who_sent_it_while_it_waited() -> None:
    driver = Driver()
    driver.crowd(4)
    driver.deliver("in0", message(), None)
    driver.deliver("in1", message(), None)
    driver.mesh.verdict(message().content, Wait(b"x"), driver.now)
    driver.deliver("in2", message())
    driver.mesh.again(b"x", driver.now)
    driver.take()
    driver.deliver("in3", message())
    driver.mesh.verdict(message().content, Decision.REJECT, driver.now)
    assert [driver.mesh.score(f"in{at}") for at in range(4)] == [-1.0] * 4


def test_what_waits_too_long_is_unseen_and_counted_however_often_it_is_judged() -> None:
    driver = Driver()
    driver.crowd(2)
    driver.deliver("in0", message(), Wait(b"x"))
    for _ in range(4):
        driver.beat(29)
        driver.mesh.again(b"x", driver.now)
        driver.mesh.verdict(message().content, Wait(b"x"), driver.now)
    driver.beat(4)
    assert driver.mesh.waits() == []
    assert driver.mesh.statistics().waiting_dropped == 1
    assert driver.deliver("in1", message(), None) != []


def test_what_one_peer_lets_wait_is_bounded_in_number_and_bytes() -> None:
    room = WaitingRoom(SETTINGS)
    assert [len(room.put(waiter(f"m{at}", "a"))) for at in range(10)] == [0] * 8 + [1] * 2
    room = WaitingRoom(SETTINGS)
    assert [len(room.put(waiter(f"m{at}", "a", size=15_000))) for at in range(3)] == [0, 0, 1]


def test_small_messages_count_as_larger_ones() -> None:
    room = WaitingRoom(SETTINGS)
    room.put(waiter("m", "a", size=1))
    assert room.size == 1000


def test_the_network_that_holds_most_makes_room() -> None:
    room = WaitingRoom(SETTINGS)
    fill(room, b"crowd", 80)
    assert len(room.put(waiter("honest", "h", b"home"))) == 1
    assert waiter("honest", "h").content in room
    assert room.bytes_of(b"crowd") == 79_000
    assert waiter(f"{b'crowd'!r}0", "").content not in room  # the oldest


def test_a_network_that_fills_the_room_displaces_nobody() -> None:
    room = WaitingRoom(SETTINGS)
    fill(room, b"home", 9)
    fill(room, b"crowd", 200)
    assert room.bytes_of(b"home") == 9000
    assert room.bytes_of(b"crowd") == 71_000
    assert len(room.put(waiter("late", "h", b"late"))) == 1
    assert room.bytes_of(b"late") == 1000


def test_networks_that_hold_their_portion_are_left_alone() -> None:
    room = WaitingRoom(SETTINGS)
    for at in range(8):
        fill(room, b"net%d" % at, 10)
    assert len(room.put(waiter("late", "h", b"late"))) == 1
    assert waiter("late", "h").content not in room


def test_peers_of_unknown_networks_are_networks_of_their_own() -> None:
    room = WaitingRoom(SETTINGS)
    for at in range(100):
        room.put(waiter(f"m{at}", f"peer{at}"))
    assert room.size == 80_000
    assert len(room.put(waiter("more", "peer0"))) == 1


def test_messages_of_direct_peers_make_no_room_and_get_some() -> None:
    room = WaitingRoom(SETTINGS)
    fill(room, b"crowd", 80)
    for at in range(40):
        friend = waiter(f"m{at}", f"friend{at % 5}")
        friend.account = Account(friend.account.peer, b"", direct=True)
        assert len(room.put(friend)) == 1
    fill(room, b"others", 100)
    assert room.size <= 80_000
    assert all(waiter(f"m{at}", "").content in room for at in range(40))


def test_direct_peers_alone_fill_the_room_at_most() -> None:
    room = WaitingRoom(SETTINGS)
    for at in range(100):
        friend = waiter(f"m{at}", f"friend{at}")
        friend.account = Account(f"friend{at}", b"", direct=True)
        room.put(friend)
    assert room.size == 80_000


def test_attack_a_stranger_who_sends_a_message_first_does_not_take_it_away_with_them() -> None:
    room = WaitingRoom(SETTINGS)
    stolen = waiter("honest", "thief", b"crowd")
    room.put(stolen)
    stolen.others.append(Account("honest", b"home"))
    fill(room, b"crowd", 79)
    for at in range(20):
        room.put(waiter(f"m{at}", f"p{at % 7}", b"net%d" % (at % 2)))
    assert stolen.content in room
    assert room.bytes_of(b"home") == 1000


def test_attack_a_thief_whose_account_is_full_does_not_hide_a_message_of_others() -> None:
    driver = Driver(SETTINGS)
    driver.crowd(2)
    for at in range(8):
        driver.deliver("in0", message(f"junk{at}"), Wait(b"never"))
    one = message("honest")
    driver.deliver("in0", one, None)
    driver.deliver("in1", one, None)
    driver.mesh.verdict(one.content, Wait(b"catalog"), driver.now)
    assert driver.mesh.again(b"catalog", driver.now) == 1


def test_attack_what_a_crowd_lets_wait_for_invented_catalogs_displaces_no_honest_message() -> None:
    driver = Driver(SETTINGS)
    driver.connect("honest", origin=b"home")
    for at in range(5):
        driver.deliver("honest", message(f"m{at}"), Wait(b"catalog"))
    for at in range(60):
        driver.connect(f"sybil{at}", origin=b"crowd")
        for number in range(10):
            driver.deliver(f"sybil{at}", message(f"junk{at}-{number}"), Wait(b"%d" % number))
    for at in range(5, 8):
        driver.deliver("honest", message(f"m{at}"), Wait(b"catalog"))
    assert driver.mesh.again(b"catalog", driver.now) == 8
    counts = driver.mesh.statistics()
    assert counts.waiting_dropped + counts.waiting + 8 == 608


def test_attack_peers_that_leave_before_the_verdict_are_still_one_network() -> None:
    driver = Driver(SETTINGS)
    driver.connect("honest", origin=b"home")
    for at in range(5):
        driver.deliver("honest", message(f"m{at}"), Wait(b"catalog"))
    for at in range(60):
        driver.connect(f"sybil{at}", origin=b"crowd")
        junk = [message(f"junk{at}-{number}") for number in range(8)]
        for one in junk:
            driver.deliver(f"sybil{at}", one, None)
        driver.mesh.disconnected(f"sybil{at}", driver.now)
        for one in junk:
            driver.mesh.verdict(one.content, Wait(b"record"), driver.now)
            driver.mesh.again(b"record", driver.now)
            driver.mesh.verdict(one.content, Wait(b"never"), driver.now)
    for at in range(5, 8):
        driver.deliver("honest", message(f"m{at}"), Wait(b"catalog"))
    assert driver.mesh._delivery.room.bytes_of(b"crowd") == 72_000
    assert driver.mesh.again(b"catalog", driver.now) == 8


def test_more_waiters_than_can_be_judged_at_once_are_judged_later() -> None:
    driver = Driver(MeshSettings(judging_waited=5))
    driver.crowd(1)
    for at in range(12):
        driver.deliver("in0", message(f"m{at}"), Wait(b"x"))
    judged = 0
    driver.mesh.again(b"x", driver.now)
    driver.take()
    while driver.judged():
        for judge in driver.judged():
            judged += 1
            driver.mesh.verdict(judge.content, Decision.ACCEPT, driver.now)
        driver.take()
        driver.beat()
    assert judged == 12


def test_a_message_of_a_peer_that_has_disconnected_waits_too() -> None:
    driver = Driver()
    driver.crowd(1)
    driver.deliver("in0", message(), None)
    driver.mesh.disconnected("in0", driver.now)
    driver.mesh.verdict(message().content, Wait(b"x"), driver.now)
    assert driver.mesh.again(b"x", driver.now) == 1


waiters = st.builds(
    lambda number, peer, origin, on, size, direct: Waiter(
        b"%d" % number,
        Message(b"", bytes(size), b"", "t"),
        b"%d" % on,
        0.0,
        Account(f"p{peer}", b"o%d" % origin if origin else b"", direct),
        {f"p{peer}": None},
    ),
    st.integers(0, 200),
    st.integers(0, 12),
    st.integers(0, 4),
    st.integers(0, 3),
    st.integers(1, 20_000),
    st.booleans(),
)


@given(st.lists(st.tuples(waiters, st.integers(0, 12)), max_size=120))
def test_any_use_keeps_the_bounds_and_counts_every_drop(
    steps: list[tuple[Waiter, int]],
) -> None:
    room, put, dropped = WaitingRoom(SETTINGS), 0, 0
    for waiter, other in steps:
        known = room.get(waiter.content)
        if known is not None:
            known.others.append(Account(f"p{other}", b"o1"))
            continue
        put += 1
        dropped += len(room.put(waiter))
        assert len(room) == put - dropped
        assert room.size <= SETTINGS.waiting_bytes
    taken = sum(len(room.take(on, 1000)) for on in room.waits())
    assert taken == put - dropped
    assert (room.size, len(room), room.waits()) == (0, 0, [])
    assert room._by_peer == room._by_origin == {}

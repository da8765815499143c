"""Any two sets end equal, whatever a stranger has put into them, and a hostile peer is noticed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reconcile_making import (
    CATALOG,
    KEY,
    TODAY,
    MemorySet,
    Peer,
    answerer,
    ask_of,
    erasures,
    pull,
    raws_of,
    reports,
)

from methrics.aggregate.reconcile import answer
from methrics.aggregate.reconcile.answer import IDLE_MAX, LIFE_MAX, Answerer, Asker, OpenedSet
from methrics.aggregate.reconcile.fingerprint import IdIndex, fingerprint, siphash
from methrics.aggregate.reconcile.item_set import set_digest
from methrics.aggregate.reconcile.tree import Ask, Claim, Pull, _items_of, check_ids
from methrics.aggregate.reconcile.wire import (
    DaySum,
    Ids,
    Items,
    Node,
    Open,
    Opened,
    Part,
    PeerFault,
    SessionEnded,
    Which,
    decode_request,
    encode_items,
    encode_request,
    read_ids,
    read_opened,
)
from methrics.schema.errors import RefusedError
from methrics.schema.wire.bundle import pack, pack_notice, unpack
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.envelope import split
from methrics.schema.wire.shard import WHOLE
from methrics.schema.wire.verdict import Reason

POOL = reports(300, days=3)
ERASED = erasures(POOL[:20])
OPEN = Open(KEY, TODAY, b"", bytes(32), bytes(32))


def both_ways(one: MemorySet, other: MemorySet) -> None:
    """Each side takes what it lacks."""
    for own, theirs in ((one, other), (other, one)):
        for raw in pull(own, ask_of(theirs)).taken:
            own.add(raw)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000),
    st.tuples(*[st.sampled_from([0.0, 0.02, 0.4, 0.9, 1.0])] * 2),
    st.tuples(*[st.sets(st.integers(0, len(POOL) - 1), max_size=3)] * 2),
)
def test_any_two_sets_end_equal(
    seed: int, shares: tuple[float, float], flipped: tuple[set[int], set[int]]
) -> None:
    pool, random = POOL + ERASED, Random(seed)
    sets = [
        MemorySet(
            raw for i, raw in enumerate(pool) if (random.random() < share) is not (i in others)
        )
        for share, others in zip(shares, flipped, strict=True)
    ]
    union = sets[0].raws() | sets[1].raws()
    both_ways(*sets)
    assert sets[0].raws() == sets[1].raws() == union
    assert pull(sets[0], ask_of(sets[1])).same


def test_what_is_known_is_not_fetched() -> None:
    own, theirs = MemorySet(POOL[5:]), MemorySet(POOL[:250])
    outcome = pull(own, ask_of(theirs))
    assert set(outcome.taken) == set(POOL[:5])
    assert outcome.bytes < 20_000


def test_erasures_come_before_reports() -> None:
    outcome = pull(MemorySet(POOL[:50]), ask_of(MemorySet(POOL + ERASED)))
    assert set(outcome.taken[: len(ERASED)]) == set(ERASED)


def test_a_late_joiner_gets_whole_days_in_pages() -> None:
    outcome = pull(MemorySet(), ask_of(MemorySet(POOL)))
    assert set(outcome.taken) == set(POOL)
    assert outcome.requests == 4


def test_a_session_stops_at_its_limit_and_the_next_one_goes_on() -> None:
    own, theirs = MemorySet(), MemorySet(POOL)
    sessions = 0
    while own.raws() != theirs.raws():
        for raw in pull(own, ask_of(theirs), most_items=100).taken:
            own.add(raw)
        sessions += 1
    assert sessions == 3


# Crafted ids.


def dependent(rows: list[int], width: int) -> list[int]:
    """Indices of rows whose XOR is zero."""
    basis: dict[int, tuple[int, int]] = {}
    for i, value in enumerate(rows):
        used = 1 << i
        while value:
            top = value.bit_length()
            if top not in basis:
                basis[top] = value, used
                break
            value ^= basis[top][0]
            used ^= basis[top][1]
        if not value:
            return [j for j in range(len(rows)) if used >> j & 1]
    raise AssertionError(f"{width} bits and {len(rows)} rows")


@pytest.mark.parametrize("hashed", [False, True], ids=["plain ids", "hashes without a salt"])
def test_attack_crafted_ids_whose_xor_cancels_are_found(hashed: bool) -> None:
    pool = reports(300, first=1000)
    ids = [split(raw).id for raw in pool]
    values = [fingerprint([one], bytes(16)) if hashed else int.from_bytes(one) for one in ids]
    width = 64 if hashed else 256
    # One more bit in each row makes the number of rows even, so that the counts are equal, too.
    chosen = dependent([value << 1 | 1 for value in values], width + 1)
    half = len(chosen) // 2
    base = [raw for i, raw in enumerate(pool) if i not in chosen]
    one = MemorySet([*base, *(pool[i] for i in chosen[:half])])
    other = MemorySet([*base, *(pool[i] for i in chosen[half:])])
    plain = [0, 0]
    for side, members in enumerate((chosen[:half], chosen[half:])):
        for i in members:
            plain[side] ^= values[i]
    assert plain[0] == plain[1]  # a bare XOR would call both sets the same
    both_ways(one, other)
    assert one.raws() == other.raws() == set(pool)


def test_siphash_is_that_of_the_reference() -> None:
    words = np.frombuffer(bytes(range(32)), "<u8").reshape(1, 4)
    assert int(siphash(words, bytes(range(16)))[0]) == 0x7127512F72F27CCE


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=32, max_size=32), unique=True, max_size=40),
    st.integers(0, 31),
    st.booleans(),
)
def test_parts_are_those_of_a_plain_count(ids: list[bytes], shared: int, shift: bool) -> None:
    """`shared` bytes at the front are the same in all ids, as nobody can make them."""
    ids = list({b"\xff" * shared + one[shared:] if shift else one for one in ids})
    index = IdIndex(b"".join(ids))
    salt = bytes(range(16))
    assert index.ids() == sorted(ids)
    for prefix in {"", "f", *(one.hex()[: 2 * shared + 1] for one in ids)}:
        for digit, part in zip("0123456789abcdef", index.parts(prefix, salt), strict=True):
            below = [one for one in ids if one.hex().startswith(prefix + digit)]
            assert part == Part(len(below), fingerprint(below, salt))
        assert index.count(prefix) == sum(one.hex().startswith(prefix) for one in ids)
    others = [os.urandom(32)]
    assert index.lacks([*ids, *others]) == others


# Hostile replies. The peer below answers honestly, but for one change.


Change = Callable[[list[Any]], bytes]
"""Takes the decoded reply, returns other bytes."""


def tampered(name: str, change: Change) -> Peer:
    other = ask_of(MemorySet(POOL))

    def ask(body: bytes) -> bytes:
        reply = other(body)
        asked, said = decode(body, limit=1 << 20), decode(reply, limit=1 << 22)
        assert isinstance(asked, list)
        assert isinstance(said, list)
        return change(said) if asked[0] == name else reply

    return ask


def parts_changed(said: list[Any]) -> bytes:
    first = bytearray(said[1][0])
    first[3] ^= 1
    return encode([said[0], [bytes(first), *said[1][1:]]])


def ids_changed(said: list[Any]) -> bytes:
    return encode([said[0], [one[:-32] + b"\xff" * 32 if one else one for one in said[1]]])


def last_dropped(said: list[Any]) -> bytes:
    about, items = unpack(said[1][0])
    kept = items[1:] or reports(1, first=9000)
    return encode([said[0], [pack(about, kept), *said[1][1:]], 0])


def foreign_item(said: list[Any]) -> bytes:
    about, _ = unpack(said[1][0])
    return encode_items(Items((pack(about, reports(1, first=9000)),)))


def not_an_item(_: list[Any]) -> bytes:
    return encode_items(Items((b"\x82\x40\x41\x00",)))


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("open", lambda _: b"\xff", "malformed"),
        ("open", lambda _: encode(["opened", b"", b"", b"", b""]), "malformed"),
        ("split", parts_changed, "wrong-counts"),
        ("split", lambda _: encode(["parts", []]), "malformed"),
        ("list", ids_changed, "not-in-range"),
        ("list", lambda _: encode(["ids", [b"x"]]), "malformed"),
        ("fetch", last_dropped, "withheld"),
        ("fetch", foreign_item, "not-asked"),
        ("fetch", not_an_item, "malformed-item"),
        ("fetch", lambda _: encode(["items", 5, 0]), "malformed"),
    ],
)
def test_attack_a_reply_that_is_not_true_ends_the_session(
    name: str, change: Change, reason: str
) -> None:
    own = MemorySet(POOL[10:])
    with pytest.raises(PeerFault) as caught:
        pull(own, tampered(name, change))
    assert caught.value.reason in (reason, "not-asked", "wrong-counts")


@pytest.mark.parametrize("which", Which)
def test_attack_items_of_another_kind_are_none_that_were_asked_for(which: Which) -> None:
    other = ERASED if which is Which.REPORTS else POOL
    steps = _items_of(which, [pack(CATALOG.id, other[:2])], WHOLE)
    with pytest.raises(PeerFault) as caught:
        list(steps)
    assert caught.value.reason == "not-asked"
    notice = _items_of(which, [pack_notice(CATALOG.raw)], WHOLE)
    with pytest.raises(PeerFault) as caught:
        list(notice)
    assert caught.value.reason == "not-asked"


def test_attack_listed_ids_are_those_that_were_claimed() -> None:
    one, salt = split(POOL[0]).id, bytes(range(16))
    near = one[:1] + bytes([one[1] ^ 1]) + one[2:]
    far = bytes([one[0] ^ 0x80]) + one[1:]
    claim = Claim(Node(TODAY, one.hex()[:1]), 1, fingerprint([one], salt))
    check_ids(claim, [one], salt)
    for listed, reason in (
        ([far], "not-in-range"),
        ([near], "wrong-counts"),
        ([], "wrong-counts"),
        ([one, near], "wrong-counts"),
    ):
        with pytest.raises(PeerFault) as caught:
            check_ids(claim, listed, salt)
        assert caught.value.reason == reason


def endless(claimed: int, entropy: Random) -> int:
    """The number of requests that a peer gets which claims `claimed` ids of a day, and always
    splits a node into parts of plausible counts."""
    day = DaySum(TODAY - 2, claimed, bytes(32))
    own = MemorySet(POOL)
    steps = Pull(own, Opened(bytes(16), b"", (), (day,)), bytes(16)).steps()
    asked, counts, prints = 0, {"": claimed}, {"": 0}
    step = next(steps)
    while True:
        assert isinstance(step, Ask)
        asked += 1
        request = decode_request(encode_request(step.request))
        replies = []
        for node in getattr(request, "nodes", ()):
            count, left = counts[node.prefix], prints[node.prefix]
            sizes = [count // 16] * 15 + [count - count // 16 * 15]
            values = [entropy.getrandbits(64) for _ in range(15)]
            for value in values:
                left ^= value
            values.append(left)
            if not node.prefix:
                values[-1] = entropy.getrandbits(64)
            for i, (size, value) in enumerate(zip(sizes, values, strict=True)):
                child = node.child(i)
                counts[child.prefix], prints[child.prefix] = size, value
            replies.append(
                b"".join(
                    a.to_bytes(4, "big") + b.to_bytes(8, "big")
                    for a, b in zip(sizes, values, strict=True)
                )
            )
        step = steps.send(encode(["parts", replies]) if replies else encode(["items", [], 0]))


@pytest.mark.parametrize("claimed", [600, 4_000_000_000])
def test_attack_gigantic_claims_end_soon(claimed: int) -> None:
    with pytest.raises(PeerFault):
        endless(claimed, Random(1))


def test_attack_a_node_that_never_gets_smaller_ends_at_an_id() -> None:
    """A peer that puts all ids below one child each time is asked once for each digit at most."""
    own = MemorySet(POOL)
    day = DaySum(TODAY - 2, 100, bytes(32))
    steps = Pull(own, Opened(bytes(16), b"", (), (day,)), bytes(16)).steps()
    step, asked = next(steps), 0
    with pytest.raises(PeerFault):
        while True:
            asked += 1
            assert asked <= 65
            assert isinstance(step, Ask)
            one = (100).to_bytes(4, "big") + b"\0\0\0\0\0\0\0\1"
            step = steps.send(encode(["parts", [one + bytes(180)]]))


def test_a_busy_peer_names_the_wait() -> None:
    with pytest.raises(SessionEnded) as caught:
        pull(MemorySet(), lambda _: encode(["busy", 7]))
    assert caught.value.seconds == 7


def test_sessions_are_few_and_end_when_idle() -> None:
    answering = answerer(MemorySet(POOL))
    request = decode_request(encode_request(OPEN))
    replies = [
        decode(answering.answer(Asker(f"p{i}"), request, 0.0)[0], limit=1 << 20) for i in range(7)
    ]
    assert [isinstance(one, list) and one[0] for one in replies] == ["opened"] * 6 + ["busy"]
    assert len(answering) == 6
    answering.expire(59.0)
    assert len(answering) == 6
    answering.expire(60.0)
    assert len(answering) == 0


def test_attack_a_session_ends_however_often_it_is_used() -> None:
    """It keeps a snapshot of the file, which is not rewritten meanwhile."""
    answering = answerer(MemorySet(POOL))
    opened = read_opened(answering.answer(Asker("p"), OPEN, 0.0)[0])
    assert opened is not None
    asked = Ids(opened.session, Which.REPORTS, (Node(TODAY - 2, "00"),))
    for now in range(0, int(LIFE_MAX), int(IDLE_MAX) - 10):
        assert read_ids(answering.answer(Asker("p"), asked, now)[0], 1)
    with pytest.raises(SessionEnded):
        read_ids(answering.answer(Asker("p"), asked, LIFE_MAX)[0], 1)
    assert len(answering) == 0


def test_attack_a_request_for_more_ids_than_a_reply_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "LISTED_MAX", 150)
    answering = answerer(MemorySet(POOL))
    opened = read_opened(answering.answer(Asker("p"), OPEN, 0.0)[0])
    assert opened is not None
    day = Node(TODAY - 2, "")
    assert opened.days(Which.REPORTS)[-1].count == 100
    answering.answer(Asker("p"), Ids(opened.session, Which.REPORTS, (day,)), 0.0)
    with pytest.raises(RefusedError, match="more than 150 ids"):
        answering.answer(Asker("p"), Ids(opened.session, Which.REPORTS, (day, day)), 0.0)


def test_equal_sets_with_another_record_are_not_the_same() -> None:
    """The record may revoke an event type, so the asker has to hear of it."""
    items = MemorySet(POOL)
    opened = OpenedSet(items, b"r" * 32, lambda: None)
    sums = [set_digest(KEY, which, items.days(which)) for which in Which]
    answering = Answerer(lambda *_: opened, lambda: TODAY, os.urandom)
    for own, same in ((b"r" * 32, True), (b"s" * 32, False), (b"", False)):
        found = read_opened(answering.answer(Asker("p"), Open(KEY, TODAY, own, *sums), 0.0)[0])
        assert (found is None) is same
        assert found is None or found.record == b"r" * 32


def test_sets_are_compared_as_of_a_day_that_both_clocks_show() -> None:
    for ahead in (-1, 0, 1):
        request = replace(OPEN, as_of=TODAY + ahead)
        answerer(MemorySet(POOL)).answer(Asker("p"), request, 0.0)
    for ahead in (-2, 2, 1000):
        answering = answerer(MemorySet(POOL))
        with pytest.raises(RefusedError) as caught:
            answering.answer(Asker("p"), replace(OPEN, as_of=TODAY + ahead), 0.0)
        assert caught.value.code == Reason.EARLY.value
        assert len(answering) == 0


def test_attack_one_network_gets_one_session() -> None:
    answering = answerer(MemorySet(POOL))
    askers = [Asker(f"p{i}", b"a network") for i in range(5)]
    replies = [decode(answering.answer(one, OPEN, 0.0)[0], limit=1 << 20) for one in askers]
    assert [isinstance(one, list) and one[0] for one in replies] == ["opened", *["busy"] * 4]
    named = Asker("named", b"a network", listed=True)
    assert read_opened(answering.answer(named, OPEN, 0.0)[0]) is not None
    assert len(answering) == 2


def test_a_peer_that_begins_anew_ends_its_session() -> None:
    """It was cut off, and would wait for its own session otherwise."""
    answering = answerer(MemorySet(POOL))
    for _ in range(3):
        assert read_opened(answering.answer(Asker("p"), OPEN, 0.0)[0]) is not None
        assert len(answering) == 1


def test_a_session_is_for_the_peer_that_opened_it() -> None:
    answering = answerer(MemorySet(POOL))
    opened = read_opened(answering.answer(Asker("p"), OPEN, 0.0)[0])
    assert opened is not None
    stolen = Ids(opened.session, Which.REPORTS, (Node(TODAY - 2, ""),))
    with pytest.raises(SessionEnded):
        read_ids(answering.answer(Asker("q"), stolen, 0.0)[0], 1)
    assert read_ids(answering.answer(Asker("p"), stolen, 0.0)[0], 1)


def test_take_steps_carry_bundles_of_what_was_asked() -> None:
    own, theirs = MemorySet(), answerer(MemorySet(POOL[:3]))
    opened_reply, _ = theirs.answer(Asker("p"), OPEN, 0.0)
    opened = read_opened(opened_reply)
    assert opened is not None
    assert not opened.days(Which.ERASURES)
    steps = Pull(own, opened, bytes(16)).steps()
    step, found = next(steps), []
    while True:
        if isinstance(step, Ask):
            step = steps.send(theirs.answer(Asker("p"), step.request, 0.0)[0])
            continue
        found += raws_of(step)
        try:
            step = next(steps)
        except StopIteration:
            break
    assert set(found) == set(POOL[:3])

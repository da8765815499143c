"""The directory of relays: what it keeps, whom it drops, and what a flood cannot do to it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.network.peer_ids import peer_id_of
from methrics.node.relay.directory import Directory, network_of
from methrics.schema.wire.descriptor import Descriptor, SignedDescriptor, sign_descriptor
from methrics.schema.wire.envelope import public_key
from methrics.schema.wire.limits import DAY, EARLY_MAX
from methrics.schema.wire.verdict import Reason

TODAY = 20_000
NOW = TODAY * DAY + 3600


def seed(number: int) -> bytes:
    return number.to_bytes(32, "big")


def ip(number: int) -> str:
    """An address of a network of its own, of 65,536."""
    return f"{number // 256 % 256}.{number % 256}.0.1"


def said(
    number: int,
    day: int = TODAY,
    *,
    key: bytes = b"k" * 41,
    host: str = "",
    peer: int | None = None,
) -> SignedDescriptor:
    """What relay `number` says of a day; `peer` is the relay whose address it names."""
    of = peer_id_of(public_key(seed(number if peer is None else peer)))
    address = f"/ip4/{host or ip(number)}/tcp/4001/p2p/{of}"
    return sign_descriptor(Descriptor(day, ("entry", "exit"), (address,), (key,)), seed(number))


def relay(number: int) -> bytes:
    return public_key(seed(number))


def test_a_descriptor_is_kept_once() -> None:
    directory, one = Directory(), said(1)
    assert directory.add(one.item.raw, NOW) is Reason.OK
    assert directory.add(one.item.raw, NOW) is Reason.DUPLICATE
    assert directory.of(relay(1), TODAY) == one
    assert directory.addresses(relay(1), NOW) == one.descriptor.addresses
    assert directory.addresses(relay(2), NOW) is None
    assert directory.descriptors(NOW) == [one]
    assert directory.raws(NOW) == [one.item.raw]


def test_what_a_relay_says_now_is_that_of_today_or_else_of_yesterday() -> None:
    directory = Directory()
    yesterday, today, tomorrow = (said(1, day) for day in (TODAY - 1, TODAY, TODAY + 1))
    for one in (tomorrow, yesterday):
        assert directory.add(one.item.raw, NOW) is Reason.OK
    assert directory.current(relay(1), NOW) == yesterday
    directory.add(today.item.raw, NOW)
    assert directory.current(relay(1), NOW) == today
    assert directory.current(relay(1), NOW + DAY) == tomorrow
    assert directory.raws(NOW) == [today.item.raw, tomorrow.item.raw]


def test_what_has_expired_goes() -> None:
    directory = Directory()
    directory.add(said(1).item.raw, NOW)
    end = (TODAY + 2) * DAY
    directory.expire(end - 1)
    assert len(directory) == 1
    directory.expire(end)
    assert len(directory) == 0
    assert directory.descriptors(end) == []


def test_attack_an_exit_with_a_key_per_client() -> None:
    """It shows each client a key of its own, to tell their boxes apart. Two clients, or two relays,
    that compare what they were shown have the proof."""
    directory = Directory([relay(1)])
    one, other = said(1), said(1, key=b"l" * 41)
    directory.add(one.item.raw, NOW)
    directory.add(said(1, TODAY + 1).item.raw, NOW)
    directory.add(said(2).item.raw, NOW)
    assert directory.add(other.item.raw, NOW) is Reason.OK, "others must have the proof, too"
    assert directory.addresses(relay(1), NOW) is None
    assert directory.current(relay(1), NOW + DAY) is None
    assert directory.descriptors(NOW) == [said(2)]
    assert directory.proofs(NOW) == [(one, other)]
    assert directory.raws(NOW)[:2] == [one.item.raw, other.item.raw]
    for more in (one, said(1, key=b"m" * 41), said(1, TODAY + 1)):
        assert directory.add(more.item.raw, NOW) is Reason.DUPLICATE
    assert directory.current(relay(1), NOW) is None
    # Another node learns it from what this one serves, in any order.
    for raws in (directory.raws(NOW), directory.raws(NOW)[::-1]):
        told = Directory()
        for raw in raws:
            assert told.add(raw, NOW) is Reason.OK
        assert told.descriptors(NOW) == [said(2)]
    assert directory.proofs((TODAY + 2) * DAY) == []


def test_attack_a_flood_of_invented_relays_displaces_none_that_has_a_place() -> None:
    directory = Directory([relay(1), relay(2)], most=8)
    for number in (1, 3, 4):
        assert directory.add(said(number).item.raw, NOW) is Reason.OK
    for number in range(1000, 1200):  # each of a network of its own
        directory.add(said(number).item.raw, NOW)
    assert len(directory) == 8 + 1
    assert {relay(1), relay(3), relay(4)} <= {one.relay for one in directory.descriptors(NOW)}
    assert directory.add(said(2).item.raw, NOW) is Reason.OK, "the operator has named it"
    assert directory.add(said(3, TODAY + 1).item.raw, NOW) is Reason.OK, "it has its place already"
    assert directory.add(said(5).item.raw, NOW) is Reason.QUOTA


def test_attack_a_flood_from_one_network_leaves_room_for_others() -> None:
    directory = Directory(most=8)
    flood = range(1000, 1100)
    for number in flood:
        directory.add(said(number, host=f"192.0.2.{number % 250}").item.raw, NOW)
    assert len(directory) == 8
    for number in range(1, 8):
        assert directory.add(said(number).item.raw, NOW) is Reason.OK
    assert directory.add(said(8).item.raw, NOW) is Reason.QUOTA
    kept = {one.relay for one in directory.descriptors(NOW)}
    assert kept == {relay(number) for number in (1000, *range(1, 8))}, "its first one stays"


def test_attack_a_flood_displaces_no_relay_that_was_met() -> None:
    directory = Directory(most=4)
    neighbours = (1, 2, 3)
    for number in neighbours:
        directory.add(said(number, host="198.51.100.1").item.raw, NOW)
        directory.met(relay(number))
    directory.met(relay(99))
    for number in range(1000, 1100):
        directory.add(said(number).item.raw, NOW)
    assert [one.relay for one in directory.descriptors(NOW)][:3] == [relay(1), relay(2), relay(3)]


def test_attack_replayed_old_descriptors_are_refused() -> None:
    directory = Directory()
    old = said(1, TODAY - 2)
    assert directory.add(old.item.raw, NOW) is Reason.EXPIRED
    directory.add(said(1).item.raw, NOW)
    yesterday = said(1, TODAY - 1, key=b"o" * 41)
    assert directory.add(yesterday.item.raw, NOW) is Reason.OK
    assert directory.current(relay(1), NOW) == said(1), "an older one takes no newer one's place"
    ahead = said(1, TODAY + 2)
    assert directory.add(ahead.item.raw, NOW) is Reason.EARLY
    assert directory.add(ahead.item.raw, (TODAY + 1) * DAY - EARLY_MAX) is Reason.OK


def test_attack_a_descriptor_with_the_addresses_of_another_relay() -> None:
    directory = Directory()
    assert directory.add(said(1, peer=2).item.raw, NOW) is Reason.FOREIGN
    own, other = (peer_id_of(relay(number)) for number in (1, 2))
    for address in (
        f"/ip4/192.0.2.1/tcp/4001/p2p/{other}/p2p-circuit/p2p/{own}",
        f"/ip4/192.0.2.1/tcp/4001/p2p/{own}/",
        "/ip4/192.0.2.1/tcp/4001",
    ):
        told = Descriptor(TODAY, ("entry",), ("https://example.org", address))
        raw = sign_descriptor(told, seed(1)).item.raw
        assert directory.add(raw, NOW) is Reason.FOREIGN
    assert len(directory) == 0


def test_attack_a_clock_that_was_set_back_brings_no_old_descriptor_back() -> None:
    directory = Directory()
    directory.add(said(1).item.raw, NOW)
    assert directory.add(said(2, TODAY - 9).item.raw, NOW) is Reason.EXPIRED
    assert directory.add(said(3, TODAY).item.raw, NOW - 9 * DAY) is Reason.EARLY
    assert directory.current(relay(1), NOW) == said(1)


def test_a_forged_descriptor_is_refused_with_its_reason() -> None:
    raw = said(1).item.raw
    assert Directory().add(raw[:-1] + bytes([raw[-1] ^ 1]), NOW) is Reason.FORGED
    assert Directory().add(b"", NOW) is Reason.MALFORMED


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(-3, 3), st.booleans(), st.integers(0, 3))))
def test_the_directory_keeps_its_bounds_whatever_comes(
    given: list[tuple[int, int, bool, int]],
) -> None:
    directory, now = Directory([relay(1)], most=3), NOW
    liars: set[bytes] = set()
    for number, ahead, lies, hours in given:
        now += 3600 * hours
        directory.add(said(number, TODAY + ahead, key=b"l" if lies else b"k").item.raw, now)
        assert len(directory) <= 4
        liars = {one.relay for one, _ in directory.proofs(now)}
        for one in directory.descriptors(now):
            assert one.relay not in liars
            assert one.descriptor.day in (now // DAY, now // DAY - 1)
        assert len(set(directory.raws(now))) == len(directory.raws(now))


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("/ip4/192.0.2.1/tcp/4001", "192.0.0.0/16"),
        ("/ip6/2001:db8:1::1/tcp/4001", "2001:db8::/32"),
        ("/dns4/a.relay.example.org/tcp/1", "example.org"),
        ("https://A.example.org:8443/x", "example.org"),
        ("https://[2001:db8::1]:8443", "2001:db8::/32"),
        ("https://192.0.2.1", "192.0.0.0/16"),
        ("/", "/"),
        ("https://", ""),
    ],
)
def test_the_network_of_an_address(address: str, network: str) -> None:
    assert network_of([address]) == network


@given(st.text(max_size=40))
def test_any_address_has_a_network(text: str) -> None:
    assert isinstance(network_of([f"/{text}"]), str)
    assert isinstance(network_of([f"https://{text}"]), str)


def test_the_order_of_what_came_does_not_make_a_lie_true() -> None:
    rng = random.Random(3)
    raws = [said(1, key=bytes([key]) * 41).item.raw for key in range(5)]
    for _ in range(20):
        directory = Directory()
        rng.shuffle(raws)
        for raw in raws:
            directory.add(raw, NOW)
        assert directory.descriptors(NOW) == []

"""The choice of exits: no operator sees sender and content if there is any other way."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.publish.ways import (
    AGREEING,
    WORDS,
    Gap,
    KnownRelay,
    Named,
    agreed,
    draw_exit,
    exits,
    find,
    gap_between,
    name_of,
    place_of,
    witnesses,
)

TOPIC = "/methrics/1/example-abc/cbor"
BOTH = frozenset({"entry", "exit"})


def relay(
    number: int, *, net: int | None = None, operator: str = "", **fields: object
) -> KnownRelay:
    place = number if net is None else net
    address = f"/ip4/10.{place}.0.{number + 1}/tcp/1/p2p/peer{number}"
    known = {"roles": BOTH, "topics": frozenset({TOPIC}), "key": b"k"} | fields
    return KnownRelay(bytes([number]) * 32, (address,), operator=operator, **known)  # type: ignore[arg-type]


def address(number: int, net: int | None = None) -> str:
    return relay(number, net=net).addresses[0]


RELAYS = st.lists(
    st.builds(
        lambda number, net, operator, carries, role: (number, net, operator, carries, role),
        st.integers(0, 11),
        st.integers(0, 3),
        st.sampled_from(["", "ann", "bob"]),
        st.booleans(),
        st.sampled_from([BOTH, frozenset({"entry"}), frozenset({"exit"})]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one[0],
).map(
    lambda rows: [
        relay(
            number,
            net=net,
            operator=operator,
            roles=role,
            topics=frozenset({TOPIC} if carries else set()),
        )
        for number, net, operator, carries, role in rows
    ]
)


@given(RELAYS, st.data())
def test_an_exit_is_as_far_from_the_entry_as_any(
    known: list[KnownRelay], data: st.DataObject
) -> None:
    entry = data.draw(st.sampled_from(known))
    lists = st.lists(st.sampled_from(known), max_size=4).map(
        lambda some: tuple(one.addresses[0] for one in some)
    )
    named = Named(data.draw(lists), (data.draw(lists), data.draw(lists)))
    found = exits(entry.addresses[0], TOPIC, known, named)
    able = [one for one in known if "exit" in one.roles and TOPIC in one.topics]
    assert bool(found.relays) == bool(able)
    for one in found.relays:
        assert one in able
        assert gap_between(entry, one, named) is found.gap
    if able:
        assert found.gap is min(gap_between(entry, one, named) for one in able)
    if found.gap is not Gap.RELAY:
        assert entry not in found.relays
    if found.relays and found.gap < Gap.OPERATOR:
        assert all(not one.operator or one.operator != entry.operator for one in found.relays)
    if found.relays and found.gap < Gap.APP:
        for one in found.relays:
            by_app = any({entry.addresses[0], one.addresses[0]} <= set(app) for app in named.apps)
            by_user = {entry.addresses[0], one.addresses[0]} <= set(named.user)
            assert not by_app or by_user


@pytest.mark.parametrize(
    ("one", "gap"),
    [
        (relay(0), Gap.RELAY),
        (relay(1, operator="ann"), Gap.OPERATOR),
        (relay(1, net=0), Gap.NEAR),
        (relay(1), Gap.APART),
        (relay(1, operator="bob"), Gap.APART),
    ],
)
def test_how_far_two_relays_are_apart(one: KnownRelay, gap: Gap) -> None:
    assert gap_between(relay(0, operator="ann"), one, Named()) is gap
    assert bool(WORDS[gap]) == (gap is not Gap.APART)


def test_attack_a_malicious_app_that_names_both_hops() -> None:
    known = [relay(number) for number in range(4)]
    app = Named(apps=((address(0), address(1)),))
    rng = random.Random(1)
    drawn = {draw_exit(exits(address(0), TOPIC, known, app).relays, rng) for _ in range(200)}
    assert drawn == {known[2], known[3]}
    only = exits(address(0), TOPIC, known[:2], app)
    assert only == ((known[1],), Gap.APP), "reports still leave, and words say what it means"
    assert "app" in WORDS[only.gap]


def test_the_users_own_two_relays_may_be_in_one_network_and_come_first() -> None:
    known = [relay(0, net=5), relay(1, net=5), relay(2)]
    user = Named(user=(address(0, 5), address(1, 5)))
    assert exits(address(0, 5), TOPIC, known, user) == ((known[1],), Gap.APART)
    assert exits(address(0, 5), TOPIC, known, Named()) == ((known[2],), Gap.APART)


def test_an_app_that_names_the_users_relays_takes_nothing_from_the_user() -> None:
    known = [relay(0), relay(1), relay(2)]
    both = (address(0), address(1))
    assert exits(address(0), TOPIC, known, Named(both, (both,))) == ((known[1],), Gap.APART)


def test_one_relay_is_both_hops_if_there_is_no_other() -> None:
    assert exits(address(0), TOPIC, [relay(0)], Named()) == ((relay(0),), Gap.RELAY)
    assert exits(address(0), TOPIC, [], Named()) == ((), Gap.APART)


def test_an_entry_that_no_descriptor_describes_counts_by_its_address() -> None:
    known = [relay(1, net=0), relay(2)]
    assert exits(address(0), TOPIC, known, Named()) == ((relay(2),), Gap.APART)
    assert exits(address(0), TOPIC, known[:1], Named()).gap is Gap.NEAR


def test_attack_an_exit_that_is_an_entry_by_a_url_that_it_does_not_tell() -> None:
    url = "https://relay.example/"
    app = Named(apps=((url, address(1)),))
    known = [relay(1), relay(2)]
    assert exits(url, TOPIC, known, app) == ((relay(2),), Gap.UNKNOWN)
    assert exits(url, TOPIC, known[:1], app) == ((relay(1),), Gap.UNKNOWN)
    told = replace(relay(3), addresses=(address(3), url))
    assert exits(url, TOPIC, [*known, told], app) == ((relay(2),), Gap.APART)


def test_a_full_exit_is_used_only_if_there_is_no_other() -> None:
    full, free = relay(1, load=100), relay(2, load=99)
    assert exits(address(0), TOPIC, [full, free], Named()).relays == (free,)
    assert exits(address(0), TOPIC, [full], Named()).relays == (full,)


def test_attack_many_exits_in_one_network_get_no_more_boxes_than_one() -> None:
    many = [relay(number, net=7) for number in range(1, 100)]
    rng = random.Random(3)
    places = Counter(
        min(one.places)
        for _ in range(1000)
        if (one := draw_exit([*many, relay(100), relay(101)], rng)) is not None
    )
    assert len(places) == 3
    assert all(250 < n < 420 for n in places.values())


@given(RELAYS, st.integers(0, 99), st.data())
def test_a_drawn_exit_is_none_of_those_left_out(
    known: list[KnownRelay], seed: int, data: st.DataObject
) -> None:
    without = data.draw(st.sets(st.sampled_from([one.id for one in known])))
    one = draw_exit(known, random.Random(seed), without)
    if one is None:
        assert without >= {other.id for other in known}
    else:
        assert one in known
        assert one.id not in without


ANSWERS = st.lists(
    st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([b"1", b"2"]), max_size=3),
    max_size=4,
)


@given(ANSWERS)
def test_only_what_several_show_and_nobody_contradicts_counts(
    answers: list[dict[bytes, bytes]],
) -> None:
    found = agreed(answers)
    for name in (b"a", b"b", b"c"):
        shown = [answer[name] for answer in answers if name in answer]
        enough = len(shown) >= min(AGREEING, len(answers)) and bool(shown)
        assert (name in found) == (enough and len(set(shown)) == 1)


def test_attack_an_exit_with_a_key_for_each_client_is_dropped() -> None:
    assert agreed([{b"x": b"mine"}, {b"x": b"theirs"}, {b"x": b"theirs"}]) == set()


def test_those_asked_are_of_different_operators_first() -> None:
    known = [relay(0), *(relay(n, operator="ann") for n in (1, 2, 3)), relay(4, operator="bob")]
    for seed in range(20):
        order = witnesses(address(0), known, Named(), random.Random(seed))
        assert known[4] in order[:2]
        assert known[0] not in order
        assert len(order) == 4


def test_the_entry_is_asked_itself_only_if_there_is_no_other() -> None:
    assert witnesses(address(0), [relay(0)], Named(), random.Random(1)) == [relay(0)]


def test_attack_the_apps_own_exits_are_asked_last() -> None:
    known = [relay(number) for number in range(5)]
    app = Named(apps=(tuple(address(number) for number in range(3)),))
    for seed in range(20):
        order = witnesses(address(0), known, app, random.Random(seed))
        assert set(order[:2]) == {known[3], known[4]}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/ip4/192.0.2.7/tcp/4001/p2p/x", "ip4 c000"),
        ("/ip6/2001:db8::1/tcp/4001/p2p/x", "ip6 20010db8"),
        ("/ip6/::ffff:192.0.2.7/tcp/4001/p2p/x", "ip4 c000"),
        ("/dns4/One.Example.org/tcp/4001/p2p/x", "example.org"),
        ("https://two.example.org/", "example.org"),
        ("https://[2001:db8::1]:8443/", "ip6 20010db8"),
        ("/memory/a/p2p/a", "a"),
    ],
)
def test_the_network_of_an_address(text: str, place: str) -> None:
    assert place_of(text) == place


@given(st.text(max_size=40))
def test_any_text_has_a_name_and_a_network(text: str) -> None:
    assert name_of(text) == name_of(text)
    assert isinstance(place_of(text), str)


def test_one_relay_has_one_name_at_several_addresses() -> None:
    assert name_of("/ip4/192.0.2.7/tcp/1/p2p/x") == name_of("/dns4/a.b/tcp/2/p2p/x") == "x"
    assert name_of("https://A.example/") == name_of("https://a.example:443") == "https://a.example"
    both = relay(0, roles=BOTH)
    assert find("https://a.example", [both]) is None

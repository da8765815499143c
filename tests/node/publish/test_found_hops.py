"""What a visit tells about who runs the relays, and how it comes to the words of consent."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner
from publish_making import BASE, CATALOG, LONG, NAMESPACE, TOPIC, Person
from tests.node.publish.way_world import Gate, Relay, World
from trio.testing import MockClock

from methrics.node.base import consent as base_consent
from methrics.node.cli.consent import consent
from methrics.node.consent.asking import Asking
from methrics.node.consent.known_hops import load_hops
from methrics.node.consent.ledger import grant
from methrics.node.consent.route_words import APP, NETWORK, NOT_KNOWN, ONE_RELAY, UNNAMED, Hops
from methrics.node.process.worker import inline
from methrics.node.publish import publisher
from methrics.node.publish.entries import KeptEntry
from methrics.node.publish.entry import Entry
from methrics.node.publish.found_hops import hops_of
from methrics.node.publish.publisher import PublisherSettings, run_publisher
from methrics.node.publish.ways import KnownRelay, Named, exits

BOTH = frozenset({"entry", "exit"})


def relay(number: int, operator: str, *, net: int | None = None) -> KnownRelay:
    address = f"/ip4/10.{number if net is None else net}.0.{number}/tcp/1/p2p/relay{number}"
    topics = frozenset({TOPIC})
    return KnownRelay(bytes([number]) * 32, (address,), BOTH, topics, operator, b"key")


ANN, BOB, CAROL, NEAR_ANN = (
    relay(1, "Ann"),
    relay(2, "Bob"),
    relay(3, ""),
    relay(4, "Dan", net=1),
)
ANN_TOO = relay(5, "Ann")


@pytest.mark.shows("NEW-6")
@pytest.mark.parametrize(
    ("others", "named", "expected"),
    [
        ((), Named(), Hops("Ann", ("Ann",), ONE_RELAY)),
        ((ANN_TOO,), Named(), Hops("Ann", ("Ann",))),
        ((BOB,), Named(), Hops("Ann", ("Bob",))),
        ((BOB, CAROL, ANN_TOO), Named(), Hops("Ann", ("", "Bob"))),
        ((NEAR_ANN,), Named(), Hops("Ann", ("Dan",), NETWORK)),
        ((BOB,), Named(apps=((*ANN.addresses, *BOB.addresses),)), Hops("Ann", ("Bob",), APP)),
    ],
    ids=["one relay", "one operator", "two", "several", "one network", "named by the app"],
)
def test_the_operators_and_the_doubt_are_those_of_the_relays_used(
    others: tuple[KnownRelay, ...], named: Named, expected: Hops
) -> None:
    known = (ANN, *others)
    (address,) = ANN.addresses
    assert hops_of(address, known, exits(address, TOPIC, known, named)) == expected


@pytest.mark.parametrize(
    ("address", "doubt"), [("/ip4/10.9.0.1/tcp/1/p2p/relay9", ""), ("https://b.example/", UNNAMED)]
)
def test_an_entry_that_no_descriptor_names_may_be_the_exit_unless_its_address_tells_them_apart(
    address: str, doubt: str
) -> None:
    found = exits(address, TOPIC, [BOB], Named())
    assert hops_of(address, [BOB], found) == Hops(None, ("Bob",), doubt)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    found = Person(tmp_path / "home")
    grant(found.paths, NAMESPACE, ("heartbeat",), now=BASE)
    return found


async def publish(person: Person, operators: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the whole publisher once, whose doors lead to relays of these operators."""
    world = World(*(Relay(number) for number in range(len(operators))))
    for number, one in enumerate(world.relays):
        one.addr = f"https://relay.place{number}.example/"
        one.operator = f"operator {operators[number]}"
        one.time = person.clock.now()

    @asynccontextmanager
    async def doors(**_: object) -> AsyncIterator[Callable[[KeptEntry], Gate]]:
        await trio.lowlevel.checkpoint()
        yield world.open_door

    monkeypatch.setattr(publisher, "open_doors", doors)
    relays = tuple(one.addr for one in world.relays)
    await run_publisher(
        person.paths,
        NAMESPACE,
        PublisherSettings(entry=Entry(relays=relays), once=True),
        clock=person.clock,
        rng=random.Random(1),
        worker=inline,
    )


@pytest.mark.shows("NEW-6")
@pytest.mark.parametrize(
    ("operators", "first", "details"),
    [
        (
            "AA",
            'All relays are run by "operator A", who could join your network address and report.',
            'both hops are run by "operator A", who could join address and report',
        ),
        ("A", 'The only relay ("operator A") sees your network address', "It sees the report and"),
        ("AB", "the report, as they say.", "The names are what operators say of themselves"),
    ],
)
async def test_consent_says_who_runs_the_relays_once_a_publisher_has_met_them(
    autojump_clock: MockClock,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    operators: str,
    first: str,
    details: str,
) -> None:
    person.record()
    assert load_hops(person.paths, NAMESPACE) == NOT_KNOWN
    await trio.sleep(LONG)
    await publish(person, operators, monkeypatch)
    asking = Asking([CATALOG], person.paths, clock=person.clock)
    asked = asking.questions(everything=True)
    assert first in dict(asking.first_screen(asked).facts)["Who sees it"]
    assert details in dict(asking.sheet(asked[0]).facts)["Who sees it"]
    home = person.paths.home or ""
    shown = CliRunner().invoke(consent, ["--home", home]).output
    base_consent.show(home, (), ())
    for text in (shown, capsys.readouterr().out):
        (line,) = [one for one in text.splitlines() if "  who sees it: " in one]
        assert first in line


async def test_without_consent_nothing_is_learned(
    autojump_clock: MockClock, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.record()
    person.refuse("heartbeat")
    await trio.sleep(LONG)
    await publish(person, "AB", monkeypatch)
    assert load_hops(person.paths, NAMESPACE) == NOT_KNOWN

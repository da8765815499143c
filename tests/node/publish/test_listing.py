"""Reports leave only under a catalog that relays agree is listed; others wait, and that is said."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from publish_making import (
    BASE,
    CATALOG,
    EXAMPLE,
    LONG,
    NAMESPACE,
    RECORD,
    RELAY,
    Person,
    Wire,
)
from trio.testing import MockClock

from methrics.node.consent.asking import Asking
from methrics.node.consent.ledger import grant
from methrics.node.outbox.records import ONE_RELAY, Records
from methrics.node.outbox.rows import ACKNOWLEDGED, DUE, STRUCK
from methrics.node.publish.entry import Entry
from methrics.node.publish.listing import PAUSES
from methrics.node.publish.pass_words import finding
from methrics.node.publish.publisher import NETWORK, OK, PublisherSettings
from methrics.node.publish.results import PassResult
from methrics.node.publish.routes import Fate
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.limits import LISTED_MAX, TIME_MAX
from methrics.schema.wire.record import Listing, Revoked, sign_record

SEED = b"s" * 32
TWO = PublisherSettings(
    entry=Entry(relays=("/ip4/192.0.2.7/tcp/1/p2p/one", "/ip4/192.0.2.8/tcp/1/p2p/two")), once=True
)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    found = Person(tmp_path)
    grant(found.paths, NAMESPACE, ("heartbeat", "system", "module"), now=BASE)
    return found


def signed(
    *listed: bytes | Listing,
    time: int = 1,
    expires: int = TIME_MAX,
    previous: Item = RECORD,
    revoked: dict[str, Revoked] | None = None,
) -> Item:
    before = [previous.id]
    return sign_record(listed, SEED, time=time, expires=expires, previous=before, revoked=revoked)


def told(*relays: Item | None) -> Wire:
    """Relays that each have a record, or none."""
    wire = Wire()
    wire.relays = [() if one is None else (one.raw,) for one in relays]
    return wire


async def due(person: Person) -> None:
    assert person.record()
    await trio.sleep(LONG)


async def test_without_a_record_nothing_leaves_and_the_status_says_why(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    wire = told(None)
    assert await person.publish(wire) == NETWORK
    assert wire.sent == []
    done = person.passes[-1]
    assert done.waiting == {"no-record": 1}
    assert str(finding(done)).startswith("no-record: 1 report waits: no relay has a record")
    assert person.states() == {DUE: 1}


async def test_a_report_that_waits_is_tried_again_later_and_leaves_when_its_catalog_is_listed(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    unlisted = told(signed())
    assert await person.publish(unlisted) == NETWORK
    assert person.passes[-1].waiting == {"unlisted": 1}
    listed = told(signed(CATALOG.id, time=2, previous=signed()))
    assert await person.publish(listed, replace(RELAY, once=False, idle=0)) == OK
    assert listed.opened == 0, "not due again yet"
    await trio.sleep(PAUSES.least)
    assert await person.publish(listed) == OK
    assert len(listed.sent) == 1


async def test_who_publishes_once_is_told_at_once_that_the_record_was_mended(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    unlisted = told(signed())
    for _ in range(2):
        assert await person.publish(unlisted) == NETWORK
        assert person.passes[-1].waiting == {"unlisted": 1}
    listed = told(signed(CATALOG.id, time=2, previous=signed()))
    assert await person.publish(listed) == OK
    assert person.passes[-1].waiting == {}
    assert listed.sent == [], "it leaves at the time that was drawn"
    assert await person.publish(listed) == OK
    assert (listed.opened, listed.sent) == (2, []), "nothing waits for a record any more"


async def test_the_pause_doubles_while_reports_wait(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    wire = told(None)
    for _ in range(12):
        await trio.sleep(PAUSES.most)
        await person.publish(wire)
    assert Records(person.journal).count_wait() == 12
    due_at = person.journal.receipts()[0].due
    assert due_at - person.clock.now() >= PAUSES.most / 2


async def test_what_two_relays_agreed_on_is_kept_over_restarts(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    assert await person.publish(told(RECORD, RECORD), TWO) == OK
    assert person.passes[-1].note == ""
    await due(person)
    alone = told(None)
    assert await person.publish(alone, TWO) == OK
    assert alone.asked == [(RECORD.raw,)]
    assert len(alone.sent) == 1


async def test_one_of_two_relays_is_not_enough(autojump_clock: MockClock, person: Person) -> None:
    await due(person)
    wire = told(RECORD, None)
    assert await person.publish(wire, TWO) == NETWORK
    assert (wire.sent, person.passes[-1].waiting) == ([], {"unchecked": 1})


async def test_the_only_relay_that_is_known_is_enough_and_that_is_said(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    assert await person.publish(told(RECORD)) == OK
    assert person.passes[-1].note == ONE_RELAY
    asking = Asking([CATALOG], person.paths, clock=person.clock)
    facts = dict(asking.sheet(asking.questions(everything=True)[0]).facts)
    assert ONE_RELAY in facts["Its catalog"]


async def test_attack_the_only_relay_is_not_handed_the_record_that_it_told(
    autojump_clock: MockClock, person: Person
) -> None:
    """It could have made that record for this person, and would see who brings it back."""
    for relays in (RECORD,), (None,):
        await due(person)
        wire = told(*relays)
        assert await person.publish(wire) == OK
        assert len(wire.sent) == 1, "the record counts for judging"
        assert wire.asked == [()]
        assert [one.records for one in wire.outgoing] == [()]


async def test_attack_one_of_two_relays_plants_a_record(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    planted = signed(CATALOG.id, time=5)
    await person.publish(told(planted, None), TWO)
    assert Records(person.journal).load().raws == ()
    await trio.sleep(PAUSES.most)
    wire = told(RECORD, RECORD)
    assert await person.publish(wire, TWO) == OK
    assert wire.asked == [()]
    assert [one.records for one in wire.outgoing] == [(RECORD.raw,)], "two relays agree on it"


async def test_a_second_relay_that_is_known_later_has_to_agree(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    await person.publish(told(RECORD))
    await due(person)
    wire = told(RECORD, None)
    assert await person.publish(wire, TWO) == NETWORK
    assert wire.sent == []


async def test_an_expired_record_lets_reports_wait(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    old = signed(CATALOG.id, expires=person.clock.now())
    assert await person.publish(told(old, old), TWO) == NETWORK
    assert "has expired" in str(finding(person.passes[-1]))


async def test_of_two_records_that_contradict_each_other_both_have_to_list_the_catalog(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    one, other = signed(CATALOG.id), signed(time=2)
    wire = Wire()
    wire.relays = [(one.raw, other.raw)] * 2
    assert await person.publish(wire, TWO) == NETWORK
    assert person.passes[-1].waiting == {"equivocation": 1}
    healed = sign_record([CATALOG.id], SEED, time=3, expires=TIME_MAX, previous=[one.id, other.id])
    await trio.sleep(PAUSES.most)
    assert await person.publish(told(healed, healed), TWO) == OK


async def test_a_revoked_type_is_not_sent_and_not_asked_about(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    record = signed(CATALOG.id, revoked={"heartbeat": Revoked(0, "It was wrong.")})
    wire = told(record, record)
    assert await person.publish(wire, TWO) == OK
    assert (wire.sent, person.states()) == ([], {STRUCK: 1})
    assert person.journal.dropped() == {"revoked": 1}
    done = person.passes[-1]
    assert (done.made, done.struck, done.dropped) == (1, {"revoked": 1}, {})
    assert str(finding(done)).startswith("revoked: ")
    asking = Asking([CATALOG], person.paths, clock=person.clock)
    assert "heartbeat" not in {one.event_type.name for one in asking.questions(everything=True)}


async def test_relays_that_do_not_answer_are_no_reason_to_blame_the_owner(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    assert await person.publish(told()) == NETWORK
    done = person.passes[-1]
    assert (done.waiting, done.postponed) == ({}, {"unreachable": 1})
    assert str(finding(done)).startswith("postponed")


def test_what_is_tried_again_is_told_before_what_was_given_up() -> None:
    done = PassResult(struck=Counter(revoked=1), postponed=Counter(quota=2))
    assert str(finding(done)).startswith("postponed: no relay or peer accepted the reports")
    done.postponed.clear()
    assert str(finding(done)).startswith("revoked: ")


async def test_a_full_relay_decides_how_long_to_wait_but_no_more_than_a_day(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    for again, wait in ((30_000, 30_000), (10**9, 86_400)):
        wire = Wire(Fate.RETRY)
        wire.again = again
        await person.publish(wire)
        assert person.journal.receipts()[0].due == person.clock.now() + wait
        await trio.sleep(wait)
    assert await person.publish(Wire()) == OK
    assert person.states() == {ACKNOWLEDGED: 1}


def for_install(number: int) -> Catalog:
    """The example's catalog as one install gets it: with another contact."""
    text = EXAMPLE.read_text("utf-8").replace(
        "https://example.org/methrics", f"https://example.org/{number}", 1
    )
    return load(sign(parse_source(text), SEED))


@pytest.mark.parametrize("liar", [False, True], ids=["honest", "one-relay-lies"])
async def test_attack_a_catalog_for_each_install(
    autojump_clock: MockClock, tmp_path: Path, liar: bool
) -> None:
    """The owner lists all that fit, and one of two relays may show each install another list."""
    catalogs = [for_install(number) for number in range(40)]
    assert len({one.id for one in catalogs}) == 40
    public = signed(*(one.id for one in catalogs[:LISTED_MAX]))
    sent = 0
    for number, catalog in enumerate(catalogs):
        person = Person(tmp_path / str(number), catalog)
        person.clock.shift = -int(trio.current_time())
        person.agree("heartbeat")
        await due(person)
        shown = signed(catalog.id, time=2, previous=public) if liar else public
        wire = told(shown, public)
        await person.publish(wire, TWO, seed=random.Random(number).randrange(9))
        listed = number < LISTED_MAX
        assert bool(wire.sent) <= (listed and not liar)
        sent += bool(wire.sent)
    assert sent == (0 if liar else LISTED_MAX)


async def test_attack_a_relay_cannot_take_back_what_was_agreed_on(
    autojump_clock: MockClock, person: Person
) -> None:
    await due(person)
    await person.publish(told(RECORD, RECORD), TWO)
    await due(person)
    newer = signed(time=5)
    wire = told(newer, RECORD)
    assert await person.publish(wire, TWO) == OK, "two relays have to agree on the newer one"
    assert len(wire.sent) == 1

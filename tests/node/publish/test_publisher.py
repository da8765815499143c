"""The publisher over a network of memory: durable first, consent at every step, nothing twice."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from publish_making import BASE, CATALOG, LONG, NAMESPACE, RECORD, RELAY, TOPIC, Person, Wire
from tests.listing import listed_book
from tests.node.publish.way_world import route_over
from tests.relay_serving import SEED, serve_relay
from trio.testing import MockClock

import methrics.node
from methrics.node.consent.ledger import grant
from methrics.node.network.memory import MemoryNetwork
from methrics.node.network.swarm import PeerId
from methrics.node.outbox.journal import Journal
from methrics.node.outbox.periods import DAY
from methrics.node.outbox.rows import ACKNOWLEDGED, STRUCK
from methrics.node.process.lock import FileLock
from methrics.node.process.worker import inline
from methrics.node.publish import own_relays
from methrics.node.publish.direct_route import DirectRoute
from methrics.node.publish.entry import Entry
from methrics.node.publish.launch import main
from methrics.node.publish.publisher import (
    LOCAL,
    NETWORK,
    OK,
    PublisherSettings,
    keep_publishing,
    start_thread,
    with_entry,
)
from methrics.node.publish.retries import BACKOFF, backoff
from methrics.node.publish.routes import Fate, Outcome, Outgoing, Route
from methrics.node.relay.mixer import MixLimits
from methrics.node.relay.relay import RelaySettings
from methrics.schema.errors import ConfigError, StoreError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.judge import Accepted, judge
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Kind, public_key, split
from methrics.schema.wire.items import Report
from methrics.schema.wire.record import decode_record
from methrics.schema.wire.verdict import Decision


@pytest.fixture
def person(tmp_path: Path) -> Person:
    found = Person(tmp_path)
    grant(found.paths, NAMESPACE, ("heartbeat", "system", "module"), now=BASE)
    return found


def report_of(raw: bytes, now: int) -> Report:
    verdict = judge(raw, listed_book(CATALOG, seed=b"s" * 32), now)
    assert isinstance(verdict, Accepted), verdict.reason
    assert isinstance(verdict.body, Report)
    return verdict.body


async def test_what_is_due_leaves_once(autojump_clock: MockClock, person: Person) -> None:
    wire = Wire()
    assert person.record()
    assert await person.publish(wire) == OK
    assert (wire.opened, wire.sent) == (1, []), "a visit is made, but nothing is due yet"
    await trio.sleep(LONG)
    assert await person.publish(wire) == OK
    assert await person.publish(wire) == OK
    assert len(wire.sent) == 1
    report = report_of(wire.sent[0], person.clock.now())
    assert report.values["monthly"] is True
    assert person.states() == {ACKNOWLEDGED: 1}
    assert wire.opened == 3


@pytest.mark.shows("MIM-4")
async def test_the_journal_holds_the_bytes_before_they_are_sent(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire()
    person.record()
    await trio.sleep(LONG)
    held: list[bytes] = []
    wire.before = lambda: held.extend(one.raw for one in person.journal.receipts())
    await person.publish(wire)
    assert held == wire.sent != []


@pytest.mark.shows("MIM-4")
async def test_what_nobody_took_is_tried_again_later_byte_for_byte(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire(Fate.RETRY, Fate.RETRY)
    person.record()
    await trio.sleep(LONG)
    assert await person.publish(wire) == NETWORK
    assert await person.publish(wire) == OK, "not due again yet"
    assert len(wire.sent) == 1
    await trio.sleep(BACKOFF.least)
    assert await person.publish(wire) == NETWORK
    await trio.sleep(BACKOFF.least * 2)
    assert await person.publish(wire) == OK
    assert len(wire.sent) == 3
    assert len(set(wire.sent)) == 1
    assert person.states() == {ACKNOWLEDGED: 1}


async def test_what_is_refused_is_not_sent_again(autojump_clock: MockClock, person: Person) -> None:
    wire = Wire(Fate.REFUSED, reason="revoked")
    person.record()
    await trio.sleep(LONG)
    await person.publish(wire)
    await trio.sleep(DAY)
    await person.publish(wire)
    assert len(wire.sent) == 1
    assert person.states() == {STRUCK: 1}
    assert person.journal.dropped() == {"revoked": 1}


@pytest.mark.shows("KPI-7")
async def test_a_report_nobody_took_in_time_is_struck(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire(*[Fate.RETRY] * 99)
    person.record()
    await trio.sleep(LONG)
    await person.publish(wire)
    await trio.sleep(LONG)
    assert await person.publish(wire) == OK
    assert len(wire.sent) == 1
    assert person.states() == {STRUCK: 1}


@pytest.mark.shows("METH-15")
async def test_meth_15_off_is_instant_even_for_what_was_journaled(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire(Fate.RETRY)
    person.record()
    await trio.sleep(LONG)
    await person.publish(wire)
    person.refuse("heartbeat")
    await trio.sleep(DAY)
    await person.publish(wire)
    assert len(wire.sent) == 1
    assert person.states() == {STRUCK: 1}


async def test_what_waits_is_forgotten_when_consent_goes(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire()
    person.record()
    person.refuse("heartbeat")
    await person.publish(wire)
    person.agree("heartbeat")
    await trio.sleep(LONG)
    await person.publish(wire)
    assert wire.sent == []


@pytest.mark.shows("MIM-9")
@pytest.mark.parametrize("name", ["DO_NOT_TRACK", "CI"])
async def test_a_switch_of_the_environment_holds_everything_back_and_forgets_nothing(
    autojump_clock: MockClock, person: Person, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    wire = Wire()
    person.record()
    await trio.sleep(LONG)
    monkeypatch.setenv(name, "1")
    assert await person.publish(wire) == OK
    assert wire.opened == 0
    monkeypatch.delenv(name)
    await person.publish(wire)
    assert len(wire.sent) == 1


@pytest.mark.shows("MARS-6")
async def test_mars_6_a_type_leaves_only_by_the_route_agreed_to(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire()
    direct = PublisherSettings(route="direct", entry=Entry(peers=("/p2p/1",)), once=True)
    person.record()
    await trio.sleep(LONG)
    await person.publish(wire, direct)
    assert wire.sent == []
    person.agree("heartbeat", routes=("relay", "direct"))
    await person.publish(wire, direct)
    assert len(wire.sent) == 1


async def test_fields_withdrawn_after_recording_do_not_leave(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire()
    person.record("system", os="linux", arch="aarch64")
    person.agree("system", fields=["arch"])
    await trio.sleep(LONG)
    await person.publish(wire)
    assert report_of(wire.sent[0], person.clock.now()).values == {"arch": "aarch64"}


async def test_counts_are_summed_into_one_report(autojump_clock: MockClock, person: Person) -> None:
    wire = Wire()
    for _ in range(5):
        person.record("module", module="muc")
    await trio.sleep(LONG)
    await person.publish(wire)
    assert [report_of(raw, person.clock.now()).count for raw in wire.sent] == [5]


async def test_a_loop_waits_for_what_comes_and_ends_when_idle(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire(Fate.RETRY)
    patient = PublisherSettings(entry=RELAY.entry, idle=LONG)
    person.record()
    with trio.move_on_after(2 * DAY):
        await person.publish(wire, patient)
    assert len(wire.sent) == 2, "once refused for the moment, once taken"
    hasty = PublisherSettings(entry=RELAY.entry, idle=1)
    person.record("system", os="linux")
    before = trio.current_time()
    assert await person.publish(wire, hasty) == OK
    assert trio.current_time() == before


async def test_what_may_not_leave_keeps_nobody_awake(
    autojump_clock: MockClock, person: Person
) -> None:
    person.record()
    person.agree("heartbeat", routes=("direct",))
    await trio.sleep(LONG)
    wire = Wire()
    assert await person.publish(wire, PublisherSettings(entry=RELAY.entry, idle=60)) == OK
    assert (wire.sent, len(person.passes)) == ([], 1)


async def test_one_publisher_per_outbox(autojump_clock: MockClock, person: Person) -> None:
    wire = Wire()
    person.record()
    await trio.sleep(LONG)
    with FileLock(person.paths.publisher_lock(NAMESPACE)):
        assert await person.publish(wire) == OK
        assert wire.sent == []
    await person.publish(wire)
    assert len(wire.sent) == 1


async def test_who_only_looks_whether_one_runs_does_not_keep_one_from_running(
    autojump_clock: MockClock, person: Person
) -> None:
    person.agree("heartbeat")
    person.record()
    await trio.sleep(DAY)
    wire, looking = Wire(), FileLock(person.paths.publisher_lock(NAMESPACE))
    assert looking.try_acquire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(person.publish, wire)
        await trio.sleep(0.07)
        looking.release()
    assert len(wire.sent) == 1


async def test_no_outbox_means_no_file_and_no_socket(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    wire, person = Wire(), Person(tmp_path / "new")
    assert await person.publish(wire) == OK
    assert wire.opened == 0
    assert not (tmp_path / "new").exists()


async def test_a_full_disk_ends_it_cleanly(
    autojump_clock: MockClock,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wire = Wire()
    person.record()
    await trio.sleep(LONG)

    def full(*_: object, **__: object) -> None:
        raise StoreError("outbox-full", "cannot use the outbox: disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "journal", full)
        assert await person.publish(wire, PublisherSettings(entry=RELAY.entry)) == LOCAL
    assert wire.sent == []
    assert caplog.text.count("disk is full") == 1
    assert await person.publish(wire) == OK
    assert len(wire.sent) == 1


async def test_a_disk_that_fills_up_after_sending_doubles_nothing(
    autojump_clock: MockClock, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire()
    person.record()
    await trio.sleep(LONG)

    def full(*_: object, **__: object) -> None:
        raise StoreError("outbox-full", "cannot use the outbox: disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "mark", full)
        assert await person.publish(wire) == LOCAL
    assert await person.publish(wire) == OK
    assert len(wire.sent) == 2
    assert len(set(wire.sent)) == 1


async def test_a_damaged_outbox_ends_it_cleanly(autojump_clock: MockClock, person: Person) -> None:
    person.record()
    await trio.sleep(LONG)
    Path(person.paths.outbox(NAMESPACE)).write_bytes(b"not a database" * 1000)
    assert await person.publish(Wire()) in (OK, LOCAL)


async def test_rows_that_change_under_a_pass_are_read_again(
    autojump_clock: MockClock, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, calls = Wire(), [0]
    person.record("module", module="muc")
    await trio.sleep(LONG)
    stock = Journal.journal

    def racing(journal: Journal, *arguments: object, token: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise StoreError("journal-conflict", "a waiting module has gone")
        stock(journal, *arguments, token=token)  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "journal", racing)
    assert await person.publish(wire) == OK
    assert len(wire.sent) == 1


@pytest.mark.parametrize("shift", [-400 * DAY, 400 * DAY])
async def test_a_skewed_clock_is_survived(
    autojump_clock: MockClock, person: Person, shift: int
) -> None:
    wire = Wire()
    person.record()
    await trio.sleep(LONG)
    person.clock.shift = shift
    assert await person.publish(wire) == OK
    person.clock.shift = 0
    assert await person.publish(wire) == OK
    assert len(wire.sent) <= 1


async def test_cancelled_in_the_middle_it_goes_on_where_it_stopped(
    autojump_clock: MockClock, person: Person
) -> None:
    class Stuck(Wire):
        async def deliver(self, outgoing: Outgoing) -> dict[bytes, Outcome]:
            await outgoing.leave([item_id for item_id, _ in outgoing.items])
            self.outgoing.append(outgoing)
            await trio.sleep_forever()
            raise AssertionError

    stuck, wire = Stuck(), Wire()
    person.record()
    await trio.sleep(LONG)
    with trio.move_on_after(5):
        await person.publish(stuck)
    assert await person.publish(wire) == OK
    assert stuck.sent == wire.sent != []


def test_backoff_grows_and_stays_within_bounds() -> None:
    rng = random.Random(1).random
    waits = [backoff(attempts, rng) for attempts in range(40)]
    assert waits[0] >= BACKOFF.least / 2
    assert all(wait <= BACKOFF.most for wait in waits)
    assert min(waits[20:]) >= BACKOFF.most // 2


@pytest.mark.parametrize(
    "settings",
    [
        PublisherSettings(),
        PublisherSettings(route="direct"),
        PublisherSettings(route="pigeon", entry=RELAY.entry),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: PublisherSettings) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.check()
    assert caught.value.hint


def test_the_process_says_in_one_line_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--app", NAMESPACE]) == LOCAL
    said = capsys.readouterr().err
    assert said.startswith("methrics: no relay is known")
    assert said.count("\n") == 1


def test_a_thread_of_the_app_does_the_same(tmp_path: Path) -> None:
    person = Person(tmp_path)
    thread = start_thread(person.paths, NAMESPACE, RELAY)
    thread.join(60)
    assert not thread.is_alive()
    assert thread.daemon
    assert threading.current_thread() is not thread


def test_a_publisher_in_the_app_uses_the_relays_of_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = Person(tmp_path)
    address, other = RELAY.entry.relays[0], "/ip4/192.0.2.9/tcp/1/p2p/12D3KooX"
    monkeypatch.setattr(own_relays, "_relays", {})
    unset = PublisherSettings(once=True)
    with pytest.raises(ConfigError, match="no relay is known"):
        start_thread(person.paths, NAMESPACE, unset)
    methrics.node.open(CATALOG.raw, home=tmp_path, publisher="none", relays=[address]).close()
    assert with_entry(person.paths, NAMESPACE, None).entry.relays == (address,)
    assert with_entry(person.paths, NAMESPACE, None, [other]).entry.relays == (other,)
    assert with_entry(person.paths, NAMESPACE, RELAY) is RELAY
    start_thread(person.paths, NAMESPACE, unset).join(60)
    monkeypatch.setenv("METHRICS_RELAYS", other)
    assert with_entry(person.paths, NAMESPACE, unset).entry.relays == (other,), "the user's first"


async def test_a_task_of_the_app_goes_on_from_before_the_first_event_to_its_end(
    autojump_clock: MockClock, person: Person
) -> None:
    person.agree("heartbeat")
    wire = Wire()
    settings = PublisherSettings(entry=RELAY.entry, poll=3600)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: keep_publishing(
                person.paths,
                NAMESPACE,
                settings,
                clock=person.clock,
                open_route=wire.open,
                worker=inline,
            )
        )
        await trio.sleep(DAY)
        assert not Path(person.paths.data).joinpath(NAMESPACE).exists()
        for days in (1, 2):
            person.record()
            await trio.sleep(2 * DAY)
            assert len(wire.sent) == days
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("wrong", ["no-relay", "bad-address", "outbox-read-only", "bug"])
async def test_a_task_of_the_app_never_raises_into_it(
    autojump_clock: MockClock,
    person: Person,
    wrong: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person.agree("heartbeat")
    person.record()
    if wrong == "bad-address":
        monkeypatch.setenv("METHRICS_RELAYS", "somewhere")
    if wrong == "outbox-read-only":
        Path(person.paths.publisher_lock(NAMESPACE)).mkdir()
    if wrong == "bug":
        monkeypatch.setattr("methrics.node.publish.publisher.Delivery", None)
    settings = RELAY if wrong in ("outbox-read-only", "bug") else None
    with trio.move_on_after(3600) as scope:
        await keep_publishing(person.paths, NAMESPACE, settings, clock=person.clock, worker=inline)
    assert scope.cancelled_caught
    assert caplog.text.count("nothing is published") == 1, "said once, not each minute"
    assert capsys.readouterr().err == "", "an app that has no handler for it sees nothing"


async def collect(found: list[bytes], _peer: PeerId, message: bytes) -> Decision:
    found += unpack(message).items
    return Decision.ACCEPT


@pytest.mark.shows("METH-1")
@pytest.mark.parametrize("way", ["relay", "direct"])
async def test_from_record_to_the_topic(
    autojump_clock: MockClock, person: Person, way: str
) -> None:
    """The whole path in memory, over links that lose and double what they carry."""
    network = MemoryNetwork(rng=random.Random(3), latency=(0.01, 0.3), duplication=0.3)
    found: list[bytes] = []
    person.agree("heartbeat", "system", routes=("relay", "direct"))
    async with (
        network.open_swarm(key=public_key(SEED)) as relay,
        network.open_swarm() as peer,
        trio.open_nursery() as nursery,
    ):
        settings = RelaySettings(topics=(TOPIC,), mix=MixLimits(batch_window=30, rest=0), spread=0)
        book = CatalogBook({TOPIC})
        book.records.add(RECORD, decode_record(RECORD.payload))
        await serve_relay(nursery, relay, book, settings, clock=person.clock, worker=inline)
        await peer.join(TOPIC, partial(collect, found))
        await peer.dial(relay.addrs[0])

        @asynccontextmanager
        async def open_route() -> AsyncIterator[Route]:
            async with network.open_swarm(listen=False) as app:
                if way == "direct":
                    yield DirectRoute(app, relay.addrs)
                else:
                    yield route_over(app, relay.addrs, clock=person.clock)

        wire = Wire()
        wire.open = open_route  # type: ignore[method-assign]
        person.record()
        person.record("system", os="linux")
        await trio.sleep(LONG)
        entry = Entry(relays=("/p2p/1",), peers=("/p2p/1",))
        code = await person.publish(wire, PublisherSettings(route=way, entry=entry, once=True))
        await trio.sleep(40)
        assert code == OK
        reports = [raw for raw in found if split(raw).kind is Kind.REPORT]
        kinds = [report_of(raw, person.clock.now()).type for raw in reports]
        assert sorted(kinds) == ["heartbeat", "system"]
        assert found.count(CATALOG.raw) == 1
        nursery.cancel_scope.cancel()


@pytest.mark.shows("MARS-8")
async def test_mars_8_the_next_time_outlasts_a_restart(
    autojump_clock: MockClock, person: Person
) -> None:
    wire = Wire()
    person.record("system", os="linux")
    await trio.sleep(LONG)
    await person.publish(wire, seed=1)
    drawn = person.journal.paces()["system"].next
    wait = drawn - person.clock.now()
    assert wait >= 3 * 3600
    person.record("system", os="linux")
    await trio.sleep(wait - 60)
    await person.publish(wire, seed=2)
    assert (len(wire.sent), person.journal.paces()["system"].next) == (1, drawn)
    await trio.sleep(60)
    await person.publish(wire, seed=3)
    assert len(wire.sent) == 2
    assert person.journal.paces()["system"].next > drawn

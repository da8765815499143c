"""The install in memory and a real one: the same acts give the same bytes at the same times.

That is why a simulated data set can stand for a real one. On the real side only the clock is
controlled: recorder, consent ledger, SQLite, journal, delivery and the relay's judge are real.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import astuple, replace
from pathlib import Path
from typing import NamedTuple

import pytest
from simulate_real import RealInstall, spawning
from tests.listing import listed_book

from methrics.aggregate.simulate.days import App, make_install, tool_of
from methrics.aggregate.simulate.install import Departure, Fields, Install, Relay
from methrics.aggregate.simulate.population import Profile, invent, visits
from methrics.aggregate.simulate.settings import START, Settings
from methrics.aggregate.simulate.transport import answer
from methrics.node.outbox.rows import DUE, Pending, Receipt
from methrics.schema.catalog.event_type import EventType
from methrics.schema.example import example_catalog, example_seed
from methrics.schema.judging.judge import judge
from methrics.schema.wire.verdict import Reason

CATALOG = example_catalog()
HOUR, DAY = 3600, 86_400
ALL: Fields = dict.fromkeys(CATALOG.types)


class Twins(NamedTuple):
    memory: Install
    real: RealInstall


def judged(receipt: Receipt, _event_type: EventType, now: int) -> Reason:
    """The verdict of a relay's judge on the bytes."""
    book = listed_book(CATALOG, seed=example_seed())
    return judge(receipt.raw, book, now).reason


def twins(
    home: Path,
    *,
    consent: Fields = ALL,
    skew: int = 0,
    one_in: int = 1,
    relays: tuple[Relay, Relay] = (answer, judged),
) -> Twins:
    sampling = {"signin": one_in}
    memory = Install(
        CATALOG,
        seed=b"s" * 32,
        rng=random.Random(7),
        consent=consent,
        time=START,
        skew=skew,
        sampling=sampling,
        relay=relays[0],
    )
    real = RealInstall(
        home,
        CATALOG,
        seed=b"s" * 32,
        rng=random.Random(7),
        consent=consent,
        time=START,
        skew=skew,
        sampling=sampling,
        relay=relays[1],
    )
    return Twins(memory, real)


def as_made(departure: Departure) -> tuple[int, Receipt]:
    return departure.time, replace(departure.receipt, state=DUE, attempts=0)


def unnumbered(rows: Iterable[Pending]) -> list[tuple[object, ...]]:
    """The rows in a fixed order, without the row numbers of their store."""
    return sorted(astuple(replace(row, n=0)) for row in rows)


def in_order(receipts: Iterable[Receipt]) -> list[Receipt]:
    made = [replace(one, state=DUE, attempts=0) for one in receipts]
    return sorted(made, key=lambda one: one.key_index)


def same(pair: Twins) -> int:
    """Asserts that both are equal in every respect; returns the number of reports that left."""
    memory, real = pair
    assert [one.receipt.raw for one in memory.sent] == [one.receipt.raw for one in real.sent]
    assert [as_made(one) for one in memory.sent] == [as_made(one) for one in real.sent]
    assert [(one.time, one.receipt.id, one.reason) for one in memory.refused] == [
        (one.time, one.receipt.id, one.reason) for one in real.refused
    ]
    store = memory.memory
    if not real.disk.exists():
        assert not memory.sent
        assert not store.waiting()
        return 0
    shot = real.disk.snapshot()
    assert unnumbered(store.waiting()) == unnumbered(shot.waiting)
    assert in_order(store.untaken()) == in_order(shot.due)
    assert store.paces() == shot.paces
    assert store.next_due() == real.disk.next_due()
    assert memory.dropped == real.dropped
    assert memory.rng.getstate() == real.rng.getstate()
    return len(memory.sent)


def act(install: Install, seed: int, acts: int) -> None:
    """Random calls of an app and random silences, the same for the same seed."""
    rng = random.Random(f"acts/{seed}")
    time = START
    for _ in range(acts):
        time += rng.choice((20, 400, 4 * HOUR, DAY, 2 * DAY, 9 * DAY)) + rng.randrange(600)
        install.to(time)
        app = install.open(f"1.{rng.randrange(3, 6)}")
        for _ in range(rng.randrange(1, 5)):
            what = rng.randrange(6)
            if what == 0:
                app.record("heartbeat", os=rng.choice(("linux", "beos")), country="DE")
            elif what == 1:
                app.record("retention", os="macos")
                app.record("heartbeat", os="macos")
            elif what == 2:
                app.count("module", rng.randrange(1, 150), module=rng.choice(("muc", "x")))
            elif what == 3:
                app.record("system", os="linux", cores=rng.randrange(40), uptime=3.5)
            elif what == 4:
                with app.sequence("signin", variant=rng.choice("ab")) as signin:
                    signin.step("shown")
                    time += rng.randrange(400)
                    install.to(time)
                    signin.step("signed_in")
                    signin.set(new_account=True)
            elif "assistive" in CATALOG.types:
                field = CATALOG.types["assistive"].field("tool")
                assert field is not None
                app.record("assistive", tool=rng.choice(field.listed()))
            time += rng.choice((0, 30, 90, 400, HOUR))
            install.to(time)
        install.close()
        if rng.random() < 0.7:
            time += rng.choice((0, 200, 500, 5 * HOUR))
            install.off(time)


def both(pair: Twins, seed: int, acts: int) -> int:
    act(pair.memory, seed, acts)
    with spawning(pair.real):
        act(pair.real, seed, acts)
    count = same(pair)
    pair.real.end()
    return count


@pytest.mark.parametrize("seed", range(4))
def test_random_acts_give_the_same_bytes(seed: int, tmp_path: Path) -> None:
    assert both(twins(tmp_path), seed, 25) > 20


@pytest.mark.parametrize("skew", [-30 * DAY, -DAY - 7, -301, 299, 601, 11 * HOUR, 100 * DAY])
def test_clocks_that_are_wrong(skew: int, tmp_path: Path) -> None:
    pair = twins(tmp_path, skew=skew)
    both(pair, 5, 14)
    assert not pair.memory.refused, "either clock may be wrong, so no report is struck for its time"
    if skew in (-30 * DAY, 100 * DAY):
        assert not pair.memory.sent
        assert pair.memory.memory.untaken(), "what is too late or early is tried again and again"
    else:
        assert pair.memory.sent


def test_a_sample_of_sequences(tmp_path: Path) -> None:
    pair = twins(tmp_path, one_in=5)
    both(pair, 6, 40)
    assert pair.memory.dropped["not-sampled"] > 2


def test_one_field_and_two_types(tmp_path: Path) -> None:
    consent = {"heartbeat": frozenset({"os", "daily"}), "module": None}
    assert both(twins(tmp_path, consent=consent), 8, 20) > 5


def test_nobody_agreed(tmp_path: Path) -> None:
    pair = twins(tmp_path, consent={})
    assert both(pair, 1, 5) == 0
    assert not Path(pair.real.disk.path).exists()


def test_relays_that_are_full_at_random(tmp_path: Path) -> None:
    def moody(seed: int) -> Relay:
        rng = random.Random(seed)
        return lambda *_: rng.choice((Reason.OK, Reason.QUOTA, Reason.EARLY, Reason.FORGED))

    pair = twins(tmp_path, relays=(moody(1), moody(1)))
    both(pair, 9, 25)
    assert len(pair.memory.refused) > 3
    assert len(pair.memory.sent) > 3


def test_three_weeks_without_a_publisher(tmp_path: Path) -> None:
    pair = twins(tmp_path)
    for install in pair:
        with spawning(pair.real):
            install.to(START + HOUR)
            for day in range(3):
                install.to(START + HOUR + day * DAY)
                app = install.open("1.2")
                app.record("heartbeat", os="linux")
                app.count("module", module="muc")
                with app.sequence("signin") as signin:
                    signin.step("shown")
                # Nothing is due yet when the machine goes off.
                install.off(install.time + 60)
            install.to(START + 24 * DAY)
            install.open("1.3").record("heartbeat", os="linux")
            install.off(install.time + 5 * HOUR)
    same(pair)
    pair.real.end()
    assert len(pair.memory.memory.too_old) == 3


def chosen() -> list[Profile]:
    """A server, a person who signs in, one with a wrong clock, one who does not share a field."""
    found = invent(Settings(installs=300, days=12, seed=2, opt_in=1.0, skew=0.5, churn=0.0))
    kinds = (
        lambda one: one.kind == "server",
        lambda one: one.kind == "desktop" and not one.skew,
        lambda one: one.kind == "phone" and abs(one.skew) > HOUR,
        lambda one: one.consent["heartbeat"] is not None,
    )
    early = [one for one in found if one.first_day * DAY < START + 3 * DAY]
    return [next(one for one in early if kind(one)) for kind in kinds]


@pytest.mark.slow
def test_invented_lives(tmp_path: Path) -> None:
    """Ordinary installs, as the command simulates them."""
    settings = Settings(installs=300, days=12, seed=2, opt_in=1.0, skew=0.5, churn=0.0)
    sent = 0
    for number, profile in enumerate(chosen()):
        memory = make_install(profile, settings, CATALOG)
        rng = random.Random(f"{settings.seed}/node/{profile.n}")
        real = RealInstall(
            tmp_path / str(number),
            CATALOG,
            seed=rng.randbytes(32),
            rng=rng,
            consent=profile.consent,
            time=settings.start,
            skew=profile.skew,
            sampling={"signin": 1},
            relay=judged,
        )
        pair = Twins(memory, real)
        with spawning(real):
            for install in pair:
                app = App(install, profile, tool_of(profile, CATALOG))
                for visit in visits(profile, settings):
                    app.use(visit)
        sent += same(pair)
        real.end()
    assert sent > 60

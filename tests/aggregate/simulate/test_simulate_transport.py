"""The simplified rules of the way to the topic, compared with the real ones; zones; people."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aggregate_making as making
import pytest

from methrics.aggregate.simulate.population import invent, visits
from methrics.aggregate.simulate.settings import START, Settings
from methrics.aggregate.simulate.transport import LIMITS, Resting, answer, bundles, closes
from methrics.aggregate.simulate.zones import ZONES
from methrics.node.outbox.rows import Receipt
from methrics.node.relay.mixer import Mixer, MixLimits, draw_rest
from methrics.schema.errors import ConfigError
from methrics.schema.example import example_catalog
from methrics.schema.judging.judge import judge
from methrics.schema.wire.bundle import unpack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.items import Report, encode_report
from methrics.schema.wire.limits import EARLY_MAX
from methrics.schema.wire.verdict import Reason

CATALOG = example_catalog()
DAY = 86_400
MODULE = CATALOG.types["module"]


def receipt(time: int) -> Receipt:
    values: dict[str, object] = {"module": "muc", "backend": "redis"}
    report = Report(CATALOG.id, "module", time, values, count=3)
    raw = seal(Kind.REPORT, encode_report(report), b"k" * 32)
    return Receipt(
        key_index=0,
        salt=bytes(16),
        id=split(raw).id,
        raw=raw,
        catalog=0,
        type="module",
        time=time,
        made=time,
        due=time,
        route="relay",
    )


@pytest.mark.parametrize(
    ("ahead", "reason"),
    [
        (-MODULE.lateness - 1, Reason.LATE),
        (-MODULE.lateness, Reason.OK),
        (0, Reason.OK),
        (EARLY_MAX, Reason.OK),
        (EARLY_MAX + 1, Reason.EARLY),
        (90 * DAY, Reason.EARLY),
    ],
)
def test_a_relay_answers_as_the_judge_does(ahead: int, reason: Reason) -> None:
    book = making.book(CATALOG)
    made = receipt(START)
    now = START - ahead
    assert judge(made.raw, book, now).reason is reason
    assert answer(made, MODULE, now) is reason


def test_a_relay_answers_as_the_judge_does_when_a_type_has_expired() -> None:
    book = making.book(CATALOG, expires=MODULE.expires + DAY)
    for time, reason in ((MODULE.expires - 600, Reason.OK), (MODULE.expires, Reason.EXPIRED)):
        made = receipt(time)
        assert judge(made.raw, book, MODULE.expires).reason is reason
        assert answer(made, MODULE, MODULE.expires) is reason


def test_bundles_are_those_of_a_relay() -> None:
    """The times from a relay's real mixer for the same items."""
    rng = random.Random(3)
    draws = [(START + rng.randrange(3 * DAY), rng.random()) for _ in range(400)]
    mixer = Mixer(MixLimits())
    resting = []
    for number, (handed, drawn) in enumerate(draws):
        raw = number.to_bytes(4, "big") * 60
        ours = closes(handed, _Fixed(iter((drawn,))))
        resting.append(Resting(closes=ours, id=raw[:32], raw=raw))
        left = draw_rest(handed, LIMITS.rest, _Fixed(iter((drawn,))))
        mixer.add(CATALOG.topic, CATALOG.id, raw[:32], raw, handed, rest=left)
    theirs = []
    mixing = random.Random(5)
    while (due := mixer.next_due(0.0)) is not None:
        theirs += [(int(due), mixed.bundle) for mixed in mixer.take(due, mixing)]
    ours_too = [(one.time, one.bundle) for one in bundles(CATALOG, resting, random.Random(5))]
    assert ours_too == theirs
    assert len(ours_too) > 300
    for time, bundle in ours_too:
        assert time % LIMITS.batch_window == 0
        for raw in unpack(bundle).items:
            handed = draws[int.from_bytes(raw[:4], "big")][0]
            assert time // DAY == handed // DAY + 1 or time % DAY == 0, "the next day, UTC"


class _Fixed(random.Random):
    """Draws the given numbers."""

    def __init__(self, draws: object) -> None:
        super().__init__()
        self._draws = draws

    def random(self) -> float:
        return next(self._draws)  # type: ignore[call-overload,no-any-return]


def test_without_mixing_a_report_leaves_in_the_next_window() -> None:
    for handed in (START, START + 1, START + 29, START + 30):
        found = closes(handed, random.Random(1), mix=False)
        assert handed < found <= handed + 30


@pytest.mark.parametrize(
    ("place", "name"),
    [("DE", "Europe/Berlin"), ("AU", "Australia/Sydney"), ("IN", "Asia/Kolkata")],
)
def test_local_time_is_that_of_the_country(place: str, name: str) -> None:
    try:
        real = ZoneInfo(name)
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zone files")
    zone = next(zone for zone in ZONES if zone.country == place)
    _compare(zone.ahead, real)


@pytest.mark.parametrize(("hours", "name"), [(-5, "America/New_York"), (-8, "America/Los_Angeles")])
def test_clocks_change_as_in_america(hours: int, name: str) -> None:
    try:
        real = ZoneInfo(name)
    except ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zone files")
    zone = next(zone for zone in ZONES if zone.hours == hours)
    _compare(zone.ahead, real)


def _compare(ahead: object, real: ZoneInfo) -> None:
    offsets = set()
    for time in range(START - 30 * DAY, START + 365 * DAY, 1800):
        expected = datetime.fromtimestamp(time, UTC).astimezone(real).utcoffset()
        assert expected is not None
        assert ahead(time) == expected.total_seconds()  # type: ignore[operator]
        offsets.add(expected)
    assert len(offsets) == (1 if real.key == "Asia/Kolkata" else 2)


def test_habits_follow_local_time_over_a_change_of_clocks() -> None:
    zone = next(zone for zone in ZONES if zone.country == "DE")
    march = 20_906  # 2027-03-29, the Monday after the change
    before, after = zone.utc(march - 3, 8 * 3600), zone.utc(march, 8 * 3600)
    assert after - before == 3 * DAY - 3600


def test_people_are_as_the_options_say() -> None:
    people = invent(Settings(installs=4000, days=60, opt_in=0.5, devices=1.6, skew=0.1, churn=0.4))
    share = sum(bool(one.consent) for one in people) / len(people)
    assert 0.42 < share < 0.58
    assert 1.5 < len(people) / len({one.person for one in people}) < 1.7
    assert 0.08 < sum(bool(one.skew) for one in people) / len(people) < 0.12
    gone = sum(one.last_day - one.first_day < 30 for one in people) / len(people)
    assert 0.36 < gone < 0.44
    willing = Counter(one.os for one in people if one.consent)
    everyone = Counter(one.os for one in people)
    assert willing["windows"] / everyone["windows"] > willing["linux"] / everyone["linux"] + 0.1


def test_everybody_agrees_and_nobody_does() -> None:
    for opt_in in (0.0, 1.0):
        people = invent(Settings(installs=300, opt_in=opt_in))
        assert {bool(one.consent) for one in people} == {opt_in == 1.0}


def test_visits_stand_in_order_within_the_days() -> None:
    settings = Settings(installs=200, days=20, seed=4)
    end = settings.start + settings.days * DAY
    for one in invent(settings):
        found = list(visits(one, settings))
        assert all(before.off <= after.start for before, after in pairwise(found))
        assert all(settings.start <= one.start <= one.end < end for one in found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"installs": 0},
        {"days": 541},
        {"opt_in": 1.1},
        {"churn": 1.0},
        {"devices": 0.5},
        {"loss": -0.1},
        {"forgers": -1},
        {"start": START + 1},
        {"one_in": 3},
    ],
)
def test_what_cannot_be_simulated_is_said(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).replace("_", "-")):
        Settings(**wrong).check()  # type: ignore[arg-type]

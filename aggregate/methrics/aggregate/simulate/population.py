"""Invents the population: who uses the app, from when to when, and how. Pure.

Each install depends only on the seed and its own number, so any number of processes gives the same
result.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from methrics.aggregate.simulate.settings import DAY, Settings
from methrics.aggregate.simulate.story import Script, scripts
from methrics.aggregate.simulate.zones import ZONES, Zone

HOUR, MINUTE = 3600, 60

SERVERS = 0.05
"""Share of installs that are servers: always on, without sign-ins."""

RELEASE_EVERY = 14
"""Days between two versions of the app."""

SYSTEMS = {
    "desktop": (("windows", 50), ("macos", 22), ("linux", 25), ("freebsd", 3)),
    "phone": (("android", 65), ("ios", 35)),
    "server": (("linux", 90), ("freebsd", 10)),
}
WILLING = {"windows": 1.3, "macos": 0.9, "linux": 0.7, "freebsd": 0.6, "android": 1.2, "ios": 0.8}
"""How willing users of a system are to share: `opt_in ** (1 / willing)` of them agree. So consent
correlates with the system, as it does for real people."""

BROWSERS = ("chrome", "chrome", "edge", "firefox", "safari")
WIDTHS = (390, 820, 1366, 1920, 2560)
MODULES = ("archive", "bookmarks", "carbons", "disco", "muc", "presence", "push", "roster")
BACKENDS = ("sqlite", "postgresql", "mysql", "memory", "redis")

ALLOWED = {
    "heartbeat": 1.0,
    "retention": 1.0,
    "signin": 0.85,
    "module": 0.9,
    "system": 1.0,
    "assistive": 0.6,
}
"""Share of the agreeing people that allow each event type."""

HOLDS_BACK = 0.12
"""Share of the agreeing people that do not share their country."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One install and its person. Days count from 1970-01-01 and are local. `last_day` is the last
    day of use, which may be after the end of the simulation. `consent` (see `install.Fields`) is
    empty if the person does not agree."""

    n: int
    person: int
    kind: str
    zone: Zone
    os: str
    first_day: int
    last_day: int
    hour: float
    active: float
    length: float
    lag: int
    variant: str
    language: str
    browser: str
    screen: int
    modules: tuple[str, ...]
    backend: str
    tool: int
    federated: bool
    skew: int
    consent: dict[str, frozenset[str] | None]


@dataclass(frozen=True, slots=True)
class Visit:
    """One use of the app, from `start` to `end`, on a machine that is on until `off` (true Unix
    seconds). `uses` are the modules used and how often, `signin` are the steps of a sign-in with
    the seconds before each, and `age` is the age of the install in days."""

    start: int
    end: int
    off: int
    version: str
    uses: tuple[tuple[str, int], ...]
    signin: Script
    age: int


def invent(settings: Settings) -> list[Profile]:
    """Invent the population. A smaller population is not the beginning of a larger one."""
    profiles: list[Profile] = []
    person = 0
    rng = random.Random(f"{settings.seed}/people")
    while len(profiles) < settings.installs:
        person += 1
        zone = rng.choices(ZONES, [zone.weight for zone in ZONES])[0]
        habits = random.Random(f"{settings.seed}/person/{person}")
        regular = habits.random() ** 0.5
        hour = habits.choice((7.5, 9.0, 12.5, 18.0, 20.0, 21.5)) + habits.random()
        while True:
            n = len(profiles) + 1
            profiles.append(_profile(settings, n, person, zone, regular, hour))
            if len(profiles) == settings.installs or rng.random() >= 1 - 1 / settings.devices:
                break
    return profiles


def _profile(
    settings: Settings, n: int, person: int, zone: Zone, regular: float, hour: float
) -> Profile:
    rng = random.Random(f"{settings.seed}/install/{n}")
    kind = "server" if rng.random() < SERVERS else rng.choice(("desktop", "desktop", "phone"))
    names, weights = zip(*SYSTEMS[kind], strict=True)
    os = rng.choices(names, weights)[0]
    first, last = _life(settings, rng)
    willing = rng.random() < settings.opt_in ** (1 / WILLING[os])
    return Profile(
        n=n,
        person=person,
        kind=kind,
        zone=zone,
        os=os,
        first_day=first,
        last_day=last,
        hour=hour,
        active=1.0 if kind == "server" else 0.15 + 0.8 * regular,
        length=rng.uniform(10, 100) * MINUTE,
        lag=int(rng.choice((0, 1, 1, 2, 4, 9, 30, 400)) * rng.uniform(0.5, 1.5)),
        variant=rng.choice("ab"),
        language=zone.language if rng.random() < 0.85 else "en",
        browser=rng.choice(BROWSERS),
        screen=rng.choice(WIDTHS),
        modules=tuple(rng.sample(MODULES, 3)),
        backend=rng.choices(BACKENDS, (50, 25, 12, 8, 5))[0],
        tool=0 if rng.random() < 0.85 else rng.randrange(1, 1 << 16),
        federated=rng.random() < 0.2,
        skew=_skew(settings, rng),
        consent=_consent(rng, kind) if willing else {},
    )


def _life(settings: Settings, rng: random.Random) -> tuple[int, int]:
    """Draw the first and last day. A quarter of the installs begin in the first week, and most of
    those that end do so early."""
    begin = settings.start // DAY
    days = settings.days
    first = begin + rng.randrange(min(7, days) if rng.random() < 0.25 else days)
    stays = rng.random()
    if not settings.churn:
        return first, begin + 10 * days
    # Weibull with shape 0.6, scaled to lose the share `churn` in 30 days.
    scale = 30 / (-math.log(1 - settings.churn)) ** (1 / 0.6)
    return first, first + int(min(scale * (-math.log(1 - stays)) ** (1 / 0.6), 10 * days))


def _skew(settings: Settings, rng: random.Random) -> int:
    """Draw the seconds by which a clock is ahead: minutes, whole hours, or days for one in ten."""
    wrong, how, sign = rng.random() < settings.skew, rng.random(), rng.choice((-1, 1))
    if not wrong:
        return 0
    if how < 0.7:
        return sign * rng.randrange(1 * MINUTE, 20 * MINUTE)
    if how < 0.9:
        return sign * rng.randrange(1, 13) * HOUR
    return sign * rng.randrange(1, 400) * DAY


def _consent(rng: random.Random, kind: str) -> dict[str, frozenset[str] | None]:
    given: dict[str, frozenset[str] | None] = {
        name: None for name, share in ALLOWED.items() if rng.random() < share
    }
    if rng.random() < HOLDS_BACK:
        given["heartbeat"] = frozenset({"version", "os", "daily", "weekly", "monthly", "age"})
    for name in ("signin", "retention", "assistive") if kind == "server" else ("system",):
        given.pop(name, None)
    return given


def visits(profile: Profile, settings: Settings) -> Iterator[Visit]:
    """Yield every use of an install, in order of time, up to the end of the simulation."""
    rng = random.Random(f"{settings.seed}/life/{profile.n}")
    begin = settings.start // DAY
    stop = begin + settings.days
    end = stop * DAY
    free = 0
    for day in range(profile.first_day, min(profile.last_day + 1, stop)):
        # 1970-01-01 was a Thursday; most people use the app less on weekends.
        active = profile.active * (0.75 if (day + 3) % 7 >= 5 and profile.kind == "desktop" else 1)
        if rng.random() >= active and day != profile.first_day:
            continue
        for visit in _day(profile, rng, day, begin):
            # Uses follow each other; a use that midnight cuts off is left out.
            if free <= visit.start and settings.start <= visit.start and visit.end < end:
                yield visit
                free = visit.off
    return


def _day(profile: Profile, rng: random.Random, day: int, begin: int) -> Iterator[Visit]:
    age = day - profile.first_day
    version = (
        f"1.{2 + max(profile.first_day - begin, day - profile.lag - begin, 0) // RELEASE_EVERY}"
    )
    if profile.kind == "server":
        for quarter in range(4):
            start = day * DAY + quarter * 6 * HOUR + (profile.n * 7919) % (5 * HOUR)
            uses = tuple((module, rng.randint(1, 3)) for module in profile.modules)
            yield Visit(start, start + 2 * MINUTE, start + 5 * HOUR // 2, version, uses, (), age)
        return
    starts = [profile.hour * HOUR + rng.gauss(0, 30 * MINUTE)]
    if rng.random() < 0.35:
        starts.append(starts[0] + rng.uniform(3, 9) * HOUR)
    for number, seconds in enumerate(starts):
        start = profile.zone.utc(day, max(0, int(seconds)))
        length = int(profile.length * rng.uniform(0.4, 1.6))
        after = int(rng.uniform(0, 40) * MINUTE) + (4 * HOUR if profile.kind == "phone" else 0)
        uses = tuple(
            (module, rng.randint(1, 5)) for module in profile.modules if rng.random() < 0.5
        )
        signing = (age == 0 and number == 0) or rng.random() < 0.3
        script = tuple(
            (step, int(pause * rng.uniform(0.5, 1.7)))
            for step, pause in (rng.choice(scripts(profile.variant)) if signing else ())
        )
        length = max(length, 5 * MINUTE + sum(pause for _, pause in script))
        end = start + length
        yield Visit(start, end, end + after, version, uses, script, age)

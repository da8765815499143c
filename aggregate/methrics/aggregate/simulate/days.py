"""Runs the days of installs one after another, and notes reports and the truth about them.

The result of an install depends only on the settings and its profile, so installs can be
distributed over processes in any way.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

from methrics.aggregate.simulate import truth
from methrics.aggregate.simulate.install import Install
from methrics.aggregate.simulate.population import Profile, Visit, visits
from methrics.aggregate.simulate.settings import DAY, Settings
from methrics.aggregate.simulate.transport import answer, closes
from methrics.node.outbox.periods import week_number
from methrics.node.record.plan import TypePlan
from methrics.node.record.recorder import Recorder
from methrics.schema.catalog.catalog import Catalog

SharedPlans = dict[str, dict[str, TypePlan]]

"""Screens of phones, in pixels."""


def live(profiles: Iterable[Profile], settings: Settings, catalog: Catalog) -> truth.Rows:
    """Run some installs; return the rows of the truth tables, and the reports with their bytes."""
    rows = truth.Rows()
    plans: SharedPlans = {}
    for profile in profiles:
        _live(profile, settings, catalog, plans, rows)
    return rows


def make_install(
    profile: Profile, settings: Settings, catalog: Catalog, plans: SharedPlans | None = None
) -> Install:
    """Make the install of a profile, before its first day."""
    rng = random.Random(f"{settings.seed}/node/{profile.n}")
    return Install(
        catalog,
        seed=rng.randbytes(32),
        rng=rng,
        consent={name: fields for name, fields in profile.consent.items() if name in catalog.types},
        time=settings.start,
        skew=profile.skew,
        sampling={"signin": settings.one_in},
        relay=answer,
        plans=plans,
    )


def _live(
    profile: Profile,
    settings: Settings,
    catalog: Catalog,
    plans: SharedPlans,
    rows: truth.Rows,
) -> None:
    rows.install(profile, settings)
    install = make_install(profile, settings, catalog, plans) if profile.consent else None
    rng = random.Random(f"{settings.seed}/acts/{profile.n}")
    tool = tool_of(profile, catalog)
    if tool is not None:
        rows.answer.add(profile.n, "assistive", "tool", tool)
    app = App(install, profile, tool) if install is not None else None
    active: dict[int, tuple[str, int]] = {}
    for visit in visits(profile, settings):
        for day in {visit.start // DAY, visit.end // DAY}:
            active[day] = (visit.version, active.get(day, ("", 0))[1] + (day == visit.start // DAY))
        if app is not None:
            app.use(visit)
        _note(profile, visit, rng, rows)
    for day, (version, sessions) in active.items():
        rows.active.add(profile.n, day, version, sessions)
    if install is not None:
        _collect(install, profile, settings, rows)


class App:
    """The app on one machine. Between two starts it remembers when it recorded which state."""

    def __init__(self, install: Install, profile: Profile, tool: str | None) -> None:
        self._install = install
        self._profile = profile
        self._tool = tool
        self._day = self._week = 0

    def use(self, visit: Visit) -> None:
        """Record one visit, with ordinary calls of the recorder."""
        install, profile = self._install, self._profile
        install.to(visit.start)
        app = install.open(visit.version)
        self._sign_of_life(app)
        if profile.kind == "server":
            _serve(app, profile, visit)
        elif visit.signin:
            _sign_in(install, app, profile, visit)
        for module, n in visit.uses:
            app.count("module", n, module=module, backend=profile.backend)
        install.to(visit.end)
        self._sign_of_life(app)
        install.close()
        install.off(visit.off)

    def _sign_of_life(self, app: Recorder) -> None:
        """Record the states once a day, by the machine's clock."""
        profile, day = self._profile, self._install.clock.now() // DAY
        if day == self._day:
            return
        self._day = day
        app.record("heartbeat", os=profile.os, country=profile.zone.country)
        if profile.kind == "server":
            return
        app.record("retention", os=profile.os)
        if self._tool is not None and week_number(day * DAY) != self._week:
            self._week = week_number(day * DAY)
            app.record("assistive", tool=self._tool)


def _serve(app: Recorder, profile: Profile, visit: Visit) -> None:
    app.record(
        "system",
        os=profile.os,
        arch="x86_64" if profile.n % 4 else "aarch64",
        cores=1 << profile.n % 6,
        uptime=24 * visit.age + 1,
        cluster=1 if profile.n % 3 else 3,
        backend=profile.backend,
        transport="tls",
    )


def _sign_in(install: Install, app: Recorder, profile: Profile, visit: Visit) -> None:
    at = visit.start
    with app.sequence(
        "signin",
        variant=profile.variant,
        email_type=email_type(profile, visit),
        new_account=visit.age == 0 and visit.signin[-1][0] == "signed_in",
    ) as signin:
        for step, pause in visit.signin:
            at += pause
            install.to(at)
            signin.step(step)


def email_type(profile: Profile, visit: Visit) -> str:
    """Choose the kind of e-mail address of a sign-in."""
    if profile.federated:
        return "federated"
    return "first_time" if visit.age == 0 else "known"


def tool_of(profile: Profile, catalog: Catalog) -> str | None:
    """Return the person's true answer to the question about assistive technology."""
    declared = catalog.types.get("assistive")
    field = declared.field("tool") if declared is not None else None
    if field is None or profile.kind == "server":
        return None
    words = [word for word in field.listed() if isinstance(word, str)]
    # The first value is the answer of people who use none.
    return words[0] if profile.tool == 0 else words[1 + profile.tool % (len(words) - 1)]


def _note(profile: Profile, visit: Visit, rng: random.Random, rows: truth.Rows) -> None:
    """Note the truth of one visit, with or without consent."""
    day = visit.start // DAY
    if visit.signin and profile.kind != "server":
        rows.session.add(
            profile.n,
            day,
            visit.start,
            visit.version,
            profile.variant,
            email_type(profile, visit),
            visit.age == 0 and visit.signin[-1][0] == "signed_in",
            [step for step, _ in visit.signin],
            _since_first([pause for _, pause in visit.signin]),
        )
    for module, n in visit.uses:
        rows.event.add(profile.n, day, "module", module, profile.backend, n)


def _since_first(pauses: list[int]) -> list[int]:
    """Return the seconds from the first step to each step."""
    found, at = [], 0
    for pause in pauses[1:]:
        at += pause
        found.append(at)
    return [0, *found]


def _collect(install: Install, profile: Profile, settings: Settings, rows: truth.Rows) -> None:
    """Note the reports that were sent, that relays refused, and that were never sent."""
    way = random.Random(f"{settings.seed}/way/{profile.n}")
    for departure in install.sent:
        sent, receipt = departure.time, departure.receipt
        arrives = closes(sent, way, mix=settings.mix)
        rows.report.add(
            receipt.id,
            profile.n,
            receipt.type,
            receipt.time,
            receipt.made - install.skew,
            sent,
            arrives,
            receipt.raw,
        )
    store = install.memory
    unsent: Counter[tuple[str, int, str]] = Counter()
    for one in install.refused:
        unsent[one.receipt.type, one.receipt.time // DAY, one.reason] += 1
    for receipt in store.untaken():
        unsent[receipt.type, receipt.time // DAY, "untaken"] += 1
    days = {(one.receipt.type, one.receipt.time // DAY) for one in install.sent}
    for why, left in (
        ("waiting", store.waiting()),
        ("too-old", store.too_old),
        ("dropped", store.unmade),
    ):
        for row in left:
            declared = install.catalog.types[row.type]
            # A day that is already reported, or that is no milestone, gives no report.
            quiet = declared.milestones or (declared.daily and (row.type, row.time // DAY) in days)
            if not quiet or why == "waiting":
                unsent[row.type, row.time // DAY, why] += 1
    for (type_name, day, why), n in unsent.items():
        rows.unsent.add(profile.n, type_name, day, why, n)

"""Months of many installs on the way over two hops: what each observer sees of them.

Recorder, outbox, pacing and signing are the real ones (`methrics.aggregate.simulate.install`).
Visits, the spreading entry and the resting exit are functions here, with the numbers of the real
code. Visits are made while the app runs. Nothing is lost, and no relay is down.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from methrics.aggregate.simulate.days import App, tool_of
from methrics.aggregate.simulate.install import Install
from methrics.aggregate.simulate.population import Profile, invent, visits
from methrics.aggregate.simulate.settings import Settings
from methrics.aggregate.simulate.transport import answer
from methrics.node.outbox.rows import ACKNOWLEDGED, Receipt
from methrics.node.publish.results import PassResult
from methrics.node.publish.schedule import GAP
from methrics.node.record.plan import TypePlan
from methrics.node.record.recorder import Recorder
from methrics.node.relay.mixer import MixLimits, draw_rest
from methrics.node.relay.spreader import TICK, SpreadLimits
from methrics.node.relay.visits import VISIT_BOXES
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.example import example_catalog
from methrics.schema.wire.envelope import split
from methrics.schema.wire.items import Report, decode_report
from methrics.schema.wire.verdict import Reason

EXITS = 5
"""Exits among which each box draws one, as in tools/ways.py."""


WINDOW = MixLimits().batch_window


@dataclass(frozen=True, slots=True)
class Way:
    """The numbers of the way, in seconds. The defaults are those of the real code; others switch
    a protection off."""

    gap: tuple[float, float] = GAP
    """Least and most time from one visit to the next."""
    spread: float = SpreadLimits().spread
    """Time over which the entry spreads the boxes of a visit."""
    rest: float = MixLimits().rest
    """The period of an exit's rest."""
    boxes: int = VISIT_BOXES
    """Most boxes of a visit."""
    full: bool = True
    """Whether empty boxes fill each visit up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One report, and where and when it was. `visit`: the number of its visit. `forwarded`: when
    it came to its exit; `seen`: when it was published (Unix seconds, by true clocks)."""

    install: int
    report: Report
    visit: int
    exit: int
    forwarded: int
    seen: int


@dataclass(frozen=True, slots=True)
class Call:
    """One visit: when, and the exit and moment of each box, empty ones too. `held`: how many boxes
    held a report."""

    install: int
    time: int
    boxes: tuple[tuple[int, int], ...]
    held: int


@dataclass(slots=True)
class Crowd:
    """The result of a run. `installs`: those that share something."""

    installs: list[int] = field(default_factory=list)
    reports: list[Seen] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


class Visitor(Install):
    """An install that publishes by visits, at times that do not depend on what is due."""

    number: int
    way: Way
    way_rng: random.Random
    crowd: Crowd
    next: int | None = None
    """When the next visit is (the machine's clock), None before anything was recorded."""
    taken: list[Receipt]
    """The reports that take a place in the visit that is being made."""

    def nudge(self) -> None:
        """Wait for the time of the next visit; the first one is when the first record is due."""
        if self.next is None:
            self.next = self.journal.next_due()
        if self.next is not None:
            self._wake = max(self.next - self.skew, self.time)

    def open(self, app_version: str | None = None) -> Recorder:
        """Start the app, and the publisher at the time of the next visit."""
        app = super().open(app_version)
        self.nudge()
        return app

    def _pass(self) -> None:
        self.taken = []
        self.publish(PassResult())
        self.next = self.clock.now() + int(self.way_rng.uniform(*self.way.gap))
        self._wake = self.next - self.skew
        if self.way.full or self.taken:
            self._visit()

    def hand_over(self, receipt: Receipt, event_type: EventType, done: PassResult) -> None:
        """Let a report take a place in this visit, if one is left."""
        if len(self.taken) < self.way.boxes:
            self.taken.append(receipt)
            self.journal.mark((receipt.key_index,), ACKNOWLEDGED, "relay")
            done.acknowledged += 1

    def _visit(self) -> None:
        way, rng, now = self.way, self.way_rng, self.time
        contents: list[Receipt | None] = [*self.taken]
        if way.full:
            contents += [None] * (way.boxes - len(contents))
        rng.shuffle(contents)
        boxes: list[tuple[int, int]] = []
        for one in contents:
            moment = now + int(rng.random() * way.spread)
            box = rng.randrange(EXITS), int((moment // TICK + 1) * TICK) if way.spread else now
            boxes.append(box)
            if one is not None:
                self._arrive(one, *box)
        self.crowd.calls.append(Call(self.number, now, tuple(boxes), len(self.taken)))

    def _arrive(self, receipt: Receipt, exit_: int, forwarded: int) -> None:
        event_type = self.catalog.types[receipt.type]
        if answer(receipt, event_type, forwarded) is not Reason.OK:
            return
        rested = forwarded + draw_rest(forwarded, self.way.rest, self.way_rng)
        self.crowd.reports.append(
            Seen(
                install=self.number,
                report=decode_report(split(receipt.raw).payload),
                visit=len(self.crowd.calls),
                exit=exit_,
                forwarded=forwarded,
                seen=int((rested // WINDOW + 1) * WINDOW),
            )
        )


def simulate(settings: Settings, way: Way | None = None) -> Crowd:
    """Run the days of all installs; the same arguments give the same result."""
    crowd, way = Crowd(), way or Way()
    plans: dict[str, dict[str, TypePlan]] = {}
    catalog = example_catalog()
    for profile in invent(settings):
        if not profile.consent:
            continue
        crowd.installs.append(profile.n)
        install = _visitor(profile, settings, catalog, plans)
        install.number, install.way, install.crowd = profile.n, way, crowd
        install.way_rng = random.Random(f"{settings.seed}/visits/{profile.n}")
        app = App(install, profile, tool_of(profile, catalog))
        for use in visits(profile, settings):
            app.use(use)
    return crowd


def _visitor(
    profile: Profile, settings: Settings, catalog: Catalog, plans: dict[str, dict[str, TypePlan]]
) -> Visitor:
    rng = random.Random(f"{settings.seed}/node/{profile.n}")
    return Visitor(
        catalog,
        seed=rng.randbytes(32),
        rng=rng,
        consent=profile.consent,
        time=settings.start,
        skew=profile.skew,
        plans=plans,
    )

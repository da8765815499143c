"""One install of an app under a virtual clock: the real recorder and publisher, without a disk.

Recorder, sequences, writer, pacing, flags, keys and signing are the real ones. Three things differ:
the outbox is in memory (`memory`), the caller decides on consent, and the publisher sends to a
relay that is a function. A test runs the same acts through the real outbox, journal and delivery,
and compares the bytes. The caller controls the time:

    install.to(time); recorder = install.open("1.4"); recorder.record("heartbeat")
    install.to(later); install.close(); install.off(later + 600)

The publisher runs when a real one would. While the app records, and when it ends, the install
checks at most once a minute whether to start it; it continues while something is due soon. A
machine that is switched off publishes nothing: waiting reports leave the next time, late, or never.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from methrics.aggregate.simulate.memory import MemoryJournal
from methrics.node.clock import ManualClock
from methrics.node.consent.answer import Effective
from methrics.node.consent.decide import off
from methrics.node.consent.switch import ConsentSwitch
from methrics.node.outbox.interfaces import PublisherJournal
from methrics.node.outbox.rows import ACKNOWLEDGED, STRUCK, PendingRows, Receipt
from methrics.node.paths import user_paths
from methrics.node.publish.due_reports import ALL
from methrics.node.publish.publisher import PublisherSettings
from methrics.node.publish.results import PassResult
from methrics.node.publish.retries import backoff
from methrics.node.publish.routes import Fate, outcome_of
from methrics.node.publish.spawn import PAUSE
from methrics.node.publish.turns import pause
from methrics.node.record.plan import TypePlan
from methrics.node.record.recorder import NUDGE_EVERY, Recorder
from methrics.node.record.settings import RecorderSettings
from methrics.node.relay.visits import VISIT_BOXES
from methrics.node.report.prepare import prepare
from methrics.node.spool.interface import AppSpool
from methrics.node.spool.records import catalog_number
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.catalog.event_type import EventType
from methrics.schema.wire.verdict import Reason

Fields = Mapping[str, frozenset[str] | None]
"""Event types that the person allows and, for each, the fields (None: all)."""

Relay = Callable[[Receipt, EventType, int], Reason]
"""The answer of a relay to a report at a true time (unix seconds)."""

_NOWHERE = user_paths("/nonexistent")
_ROUTE = "relay"
# A real idle publisher checks every minute; this one finds a report as soon as it is due.
_PUBLISHER = PublisherSettings(poll=PublisherSettings().idle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """A report that a relay took or refused for `reason`, at the true `time` (Unix seconds)."""

    time: int
    receipt: Receipt
    reason: Reason = Reason.OK


def taking_all(_receipt: Receipt, _event_type: EventType, _now: int) -> Reason:
    """A relay that accepts everything."""
    return Reason.OK


class Install:
    """One install. `seed`: 32 bytes, of which its keys are made. `rng` draws what recorder and
    publisher draw. `time`: true unix seconds at which it begins; `skew`: seconds by which the
    machine's clock is ahead of it. `plans` may be shared by installs of one catalog."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        seed: bytes,
        rng: random.Random,
        consent: Fields,
        time: int,
        skew: int = 0,
        sampling: Mapping[str, int] | None = None,
        relay: Relay = taking_all,
        plans: dict[str, dict[str, TypePlan]] | None = None,
    ) -> None:
        self.catalog = catalog
        self.clock = ManualClock(time + skew)
        self.skew = skew
        self.consent = consent
        self.sampling = dict(sampling or {})
        self.rng = rng
        self.sent: list[Departure] = []
        self.refused: list[Departure] = []
        """Reports that relays will never take."""
        self._relay = relay
        self._plans = {} if plans is None else plans
        self._app: Recorder | None = None
        self._idle: _App | None = None
        self._dropped: Counter[str] = Counter()
        self._wake: int | None = None
        self._started = -PAUSE
        self._catalogs = {catalog_number(catalog.id): catalog}
        self.memory = MemoryJournal(seed, clock=self.clock, rng=self.rng.random)
        self.journal: PublisherJournal = self.memory

    @property
    def time(self) -> int:
        """The true time, unix seconds."""
        return self.clock.now() - self.skew

    @property
    def dropped(self) -> Counter[str]:
        """Calls of the app without a stored row, by reason."""
        last = self._app or self._idle
        return self._dropped + Counter(last.statistics().dropped if last is not None else {})

    def open(self, app_version: str | None = None) -> Recorder:
        """Start the app; returns a recorder like that of `methrics.node.open`."""
        self.close()
        settings = RecorderSettings(app_version, sampling=self.sampling, strict=True)
        self._app = self._start(settings)
        return self._app

    def to(self, time: int) -> None:
        """Let time pass until the true `time`; the publisher works meanwhile."""
        while self._wake is not None and self._wake <= time:
            self._move(self._wake)
            self._pass()
        self._move(time)

    def close(self) -> None:
        """End the app; a publisher that it started continues."""
        if self._app is None:
            return
        self._stop(self._app)
        self._app = None
        self.to(self.time)

    def off(self, time: int) -> None:
        """Switch off the machine at the true `time`, which ends the app and the publisher."""
        self.to(time)
        self.close()
        self._wake = None

    def nudge(self) -> None:
        """Start the publisher if something is due (`spawn.nudge`)."""
        now, steady = self.clock.now(), self.clock.monotonic()
        if self._wake is not None or steady - self._started < PAUSE:
            return
        due = self.journal.next_due()
        if due is not None and due <= now:
            self._started = steady
            self._wake = self.time

    # -- what a test replaces by the real thing ---------------------------------------------------

    def _start(self, settings: RecorderSettings) -> Recorder:
        idle, self._idle = self._idle, None
        if idle is not None and idle.settings == settings:
            idle.begin()
            return idle
        if idle is not None:
            self.retire(idle)
        return _App(self, settings)

    def _stop(self, app: Recorder) -> None:
        assert isinstance(app, _App)
        app.end()
        self._idle = app

    def retire(self, app: Recorder) -> None:
        """End the app for good."""
        self._dropped.update(app.statistics().dropped)

    # -- behind -----------------------------------------------------------------------------------

    def _move(self, time: int) -> None:
        if time > self.time:
            self.clock.advance(time - self.time)

    def _pass(self) -> None:
        done = PassResult()
        self.publish(done)
        wait = pause(done, self.journal.next_due(), self.clock.now(), _PUBLISHER)
        self._wake = None if wait is None else self.time + int(wait)

    def publish(self, done: PassResult) -> None:
        """One pass over the journal, as `methrics.node.publish.delivery.Delivery` makes it."""
        now = self.clock.now()
        pending = self.journal.pending(now, ALL)
        if pending.rows:
            self._make(pending, now, done)
        places = VISIT_BOXES
        for receipt in self.journal.due(now, ALL):
            index, event_type = receipt.key_index, self.catalog.types[receipt.type]
            if now - receipt.time > event_type.lateness or now >= event_type.expires:
                self.journal.mark((index,), STRUCK)
                self.journal.drop("late")
                self.refused.append(Departure(time=self.time, receipt=receipt, reason=Reason.LATE))
                continue
            if places:
                places -= 1
                self.hand_over(receipt, event_type, done)

    def _make(self, pending: PendingRows, now: int, done: PassResult) -> None:
        journal = self.journal
        made = prepare(
            pending.rows,
            catalogs=self._catalogs,
            allowed=self.consent,
            identity=journal.identity(min(now, *(row.time for row in pending.rows))),
            paces=journal.paces(),
            route=_ROUTE,
            now=now,
            rng=self.rng.random,
            entropy=bytes,  # zeros: the install's seed alone makes its keys, the same in each run
        )
        journal.journal(made.made, made.consumed, made.paces.values(), token=pending.token)
        for reason, n in made.dropped.items():
            journal.drop(reason, n)
        done.made += len(made.made)

    def hand_over(self, receipt: Receipt, event_type: EventType, done: PassResult) -> None:
        """Send one report to the relay, and note the answer."""
        journal, index, now = self.journal, receipt.key_index, self.time
        reason = self._relay(receipt, event_type, now)
        fate = Fate.ACKNOWLEDGED if reason is Reason.OK else outcome_of(reason).fate
        if fate is Fate.ACKNOWLEDGED:
            journal.mark((index,), ACKNOWLEDGED, _ROUTE)
            self.sent.append(Departure(time=now, receipt=receipt))
            done.acknowledged += 1
        elif fate is Fate.REFUSED:
            journal.mark((index,), STRUCK, _ROUTE)
            journal.drop(reason)
            self.refused.append(Departure(time=now, receipt=receipt, reason=reason))
            done.struck[reason] += 1
        else:
            due = self.clock.now() + backoff(receipt.attempts, self.rng.random)
            journal.attempt((index,))
            journal.postpone((index,), due)
            done.postponed[reason] += 1


class _App(Recorder):
    """A recorder that writes to the memory of an install, with its consent. One object is reused
    for all starts of the app: to make a new one takes a third as long as its few records."""

    def __init__(self, install: Install, settings: RecorderSettings) -> None:
        super().__init__(
            install.catalog, _NOWHERE, settings, clock=install.clock, rng=install.rng.random
        )
        self.settings = settings
        self._install = install
        self._switch = _Said(install.consent)
        self._on_types = self._switch.on_types
        consent = [(name, sorted(fields or ())) for name, fields in sorted(install.consent.items())]
        key = f"{settings.app_version}/{sorted(settings.sampling.items())}/{consent}"
        self._plans = install._plans.setdefault(key, {})
        self.begin()

    def begin(self) -> None:
        """Begin another start of the app."""
        self._spool = None

    def end(self) -> None:
        """Like `close`, but the recorder can be started again."""
        for sequence in list(self._sequences):
            sequence.finish()
        if self._spool is not None:
            self._install.memory.leave()
            self._nudge()

    def _open_spool(self) -> AppSpool:
        self._spool = self._install.memory
        self._install.memory.keep_catalog(
            catalog_number(self._install.catalog.id), self._install.catalog.raw
        )
        self._install.memory.look_at = self._nudge_at = -1.0
        return self._spool

    def _nudge(self, monotonic: float | None = None) -> bool:
        if monotonic is None or monotonic >= self._nudge_at:
            self._nudge_at = (monotonic or 0.0) + NUDGE_EVERY
            self._install.nudge()
        return True


class _Said(ConsentSwitch):
    """Consent that never changes."""

    def __init__(self, consent: Fields) -> None:
        routes = frozenset({_ROUTE})
        self.deadline = float("inf")
        self.rule = None
        self.types = {}
        self.on_types = {
            name: Effective(True, "answer", fields, routes) for name, fields in consent.items()
        }

    def refresh(self) -> None:
        """Nothing to read: consent never changes."""

    def answer_time(self, type_name: str) -> str:
        """See `ConsentSwitch.answer_time`."""
        return ""

    def effective(self, type_name: str, monotonic: float | None = None) -> Effective:
        """See `ConsentSwitch.effective`."""
        return self.on_types.get(type_name) or off("default")

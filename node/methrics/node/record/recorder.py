"""The recorder, which apps call. It raises no error into the app and never waits for a network.

    recorder = methrics.node.open(CATALOG, app_version="1.4")
    recorder.record("heartbeat", os="linux")

Without consent (the default), a call returns False within a microsecond and makes no row, id, file,
thread or socket. With consent, True means that the event is in the outbox and survives a kill -9 of
the app. In all other cases a call returns False, and `statistics()` counts the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from methrics.node.clock import Clock, Rng, system_rng
from methrics.node.consent.switch import ConsentSwitch
from methrics.node.paths import Paths, namespace_of
from methrics.node.process.exits import at_exit, forget, warn_once
from methrics.node.process.foreign import is_of_the_app
from methrics.node.process.tally import Tally
from methrics.node.record.interface import RecorderInside, Statistics
from methrics.node.record.lazy import (
    ask_here,
    asking_class,
    find_problem,
    find_questions,
    loads,
    look_up_facts,
    mine_class,
)
from methrics.node.record.nudging import Nudge
from methrics.node.record.plan import TypePlan, misuse
from methrics.node.record.sequences import Sequence, SequenceOwner
from methrics.node.record.settings import RecorderSettings
from methrics.node.spool.records import catalog_number
from methrics.schema.catalog.catalog import load
from methrics.schema.errors import MethricsError

if TYPE_CHECKING:
    from methrics.node.consent.asking import Asking
    from methrics.node.consent.questions import Question
    from methrics.node.mine.mine import Mine
    from methrics.node.spool.interface import AppSpool
    from methrics.schema.catalog.catalog import Catalog, EventType

NUDGE_EVERY = 60.0
"""Seconds between two checks whether a publisher should be started."""

SEQUENCES_MAX = 1000
"""Most open sequences of one recorder: an app that never ends them must not run out of memory."""


class Recorder:
    """Records what an app does. Safe to share between threads, tasks and forked children."""

    def __init__(
        self,
        catalog: Catalog | None,
        paths: Paths,
        settings: RecorderSettings,
        *,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> None:
        self._catalog = catalog
        self._paths = paths
        self._settings = settings
        self._strict = settings.strict
        self._clock = clock or Clock()
        self._monotonic = self._clock.monotonic
        self._rng = rng
        self._types: Mapping[str, EventType] = catalog.types if catalog else {}
        self.namespace = namespace_of(catalog.label, catalog.short_key) if catalog else ""
        self._switch = ConsentSwitch(
            paths, self.namespace, settings.environment, self._clock, self._types
        )
        self._on_types: object = self._switch.on_types
        self._plans: dict[str, TypePlan] = {}
        self._silent: set[str] = set()  # types without consent, whose first call was checked
        self._spool: AppSpool | None = None
        self._nudge_at = 0.0
        self._publisher = Nudge(paths, self.namespace, self._clock, settings.relays)
        self._sequences: set[Sequence] = set()
        self._recorded = 0
        self._dropped = Tally()
        self._closed = False

    def record(self, type_name: str, /, **values: object) -> bool:
        """Records one event, adds one to a count, or sets the latest state.

        Values may be exact (a raw number for a bucket, any text for an enum). They are coerced to
        the declared wire values here, and only those are stored. True: stored durably.
        """
        try:
            switch, monotonic = self._switch, self._monotonic()
            if monotonic < switch.deadline and switch.on_types is self._on_types:
                if type_name in self._silent:
                    return False
                plan = self._plans.get(type_name)
                if plan is not None:
                    return self._keep(plan, values, None, monotonic)
            return self._begin(type_name, values, None, monotonic)
        except Exception as error:
            if not self._failed(error):
                raise
            return False

    def count(self, type_name: str, n: int = 1, /, **values: object) -> bool:
        """Adds `n` to a count. This machine sums counts per combination of field values and per
        time window. Returns True once the sum is stored durably."""
        try:
            switch, monotonic = self._switch, self._monotonic()
            if monotonic < switch.deadline and switch.on_types is self._on_types:
                if type_name in self._silent:
                    return False
                plan = self._plans.get(type_name)
                if plan is not None:
                    return self._keep(plan, values, n, monotonic)
            return self._begin(type_name, values, n, monotonic)
        except Exception as error:
            if not self._failed(error):
                raise
            return False

    def sequence(self, type_name: str, /, **values: object) -> Sequence:
        """Begins one interaction: `with r.sequence("signin") as s: s.step("start")`.

        Steps stay in memory. One row is written at the end, or when the app exits. Without consent
        the sequence does nothing.
        """
        own = self._guard, self._monotonic, self._coerce, self._drop, self._end_sequence
        sequence = Sequence(SequenceOwner(*own))
        if self._guard(self._begin_sequence, sequence, type_name) and values:
            sequence.set(**values)
        return sequence

    def facts(self, type_name: str, /, *, address: str = "", geoip: str = "") -> dict[str, object]:
        """Returns facts of this machine for `record`: for the fields that have well-known names and
        that the person shares (report/facts.py). With `address`, the country is that of the address
        in the GeoIP file `geoip`. Without consent nothing is looked up."""
        found: dict[str, object] = {}

        def work() -> bool:
            event_type = self._types.get(type_name)
            effective = self._switch.effective(type_name, self._monotonic())
            if event_type is None or not effective.on:
                return False
            shared = effective.fields
            found.update(look_up_facts(event_type, shared, address, geoip, self._failed))
            return True

        self._guard(work)
        return found

    def ask(
        self,
        *,
        starts: int,
        used_seconds: float,
        examples: Mapping[str, Mapping[str, object]] | None = None,
    ) -> bool:
        """Asks the person at the terminal, if it is time to ask; returns True if it asked.

        Call it once, at a quiet moment; it waits for the person. `starts` and `used_seconds`: the
        app's own count of its starts, and the time for which it was used. Methrics does not count
        them, because it writes nothing before a yes. `examples`: event type -> values that the app
        would record. Raises only KeyboardInterrupt.
        """

        def work() -> bool:
            asking = self.asking(examples=examples, surface="terminal")
            return ask_here(asking, starts, used_seconds)

        return self._guard(work)

    def asking(
        self,
        *,
        examples: Mapping[str, Mapping[str, object]] | None = None,
        surface: str = "app",
    ) -> Asking:
        """Returns the questions, the texts to show and the means to answer, for an app that asks
        in its own user interface.

        `examples` as for `ask`; `surface` names the interface in the ledger's history. Unlike a
        recorder, this method and the returned object raise LocalError.
        """
        return asking_class()(
            (self._catalog,) if self._catalog is not None else (),
            self._paths,
            environment=self._settings.environment,
            app_version=self._settings.app_version,
            examples=examples,
            surface=surface,
            clock=self._clock,
            file=self._settings.catalog_file,
        )

    def mine(self) -> Mine:
        """Returns the person's own reports of this app, to list, preview, export, withdraw, erase
        and reset. Unlike a recorder, this method and the returned object raise LocalError."""
        mine = mine_class()(
            self._paths, [self.namespace], self._types, clock=self._clock, rng=self._rng
        )
        mine.relays = self._settings.relays
        return mine

    def questions(
        self, *, starts: int | None = None, used_seconds: float | None = None
    ) -> list[Question]:
        """Returns the open questions to the person, for an app with its own user interface. With
        `starts` and `used_seconds` (as for `ask`), the list is empty until it is time to ask. Never
        raises: if the ledger cannot be read, the list is empty."""
        found: list[Question] = []

        def work() -> bool:
            found.extend(find_questions(self.asking(), starts, used_seconds))
            return True

        self._guard(work)
        return found

    def fail(self, error: MethricsError) -> None:
        """Counts `error`, because of which this recorder cannot record anything."""
        self._drop(error.code, error)

    def statistics(self) -> Statistics:
        """Returns the counts of this process for a developer. They are not sent anywhere."""
        rule = problem = ""
        try:
            self._switch.effective("", self._monotonic())
            rule = self._switch.rule or ""
            if self._switch.on_types:
                rule = rule or "answer"
                process = self._settings.publisher == "process"
                problem = find_problem(self._paths, self.namespace, process=process)
        except Exception as error:
            if is_of_the_app(error):
                raise
        counts = self._recorded, self._dropped.totals()
        return Statistics(self.namespace, rule or "default", *counts, problem)

    @property
    def inside(self) -> RecorderInside:
        """The part that the bridges of this package use; an app does not need it."""
        return RecorderInside(self._types, self._guard, self._switch, self._clock, self._finish)

    def close(self) -> None:
        """Records the open sequences and leaves the spool. Quick; never raises. Later calls of the
        recorder return False."""
        self._guard(self._shut, strict=False)
        self._closed = True
        self._plans, self._silent = {}, set()
        self._spool = None

    def __reduce__(self) -> tuple[Callable[..., Recorder], tuple[object, ...]]:
        """A copy, also one in another process, is a recorder of its own with the same settings."""
        raw = None if self._catalog is None else self._catalog.raw
        return _reopen, (raw, self._paths, self._settings)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _guard(self, work: Callable[..., bool], *args: Any, strict: bool = True) -> bool:
        """Returns `work(*args)`; counts an error and returns False (a strict recorder raises)."""
        try:
            return work(*args)
        except Exception as error:
            if not self._failed(error, strict=strict):
                raise
        return False

    def _failed(self, error: Exception, *, strict: bool = True) -> bool:
        """Counts `error`. Returns False if the app must get it: because the recorder is strict, or
        because the error is the app's own. Never raises, even while the interpreter ends."""
        try:
            if not isinstance(error, MethricsError):
                if is_of_the_app(error):
                    return False
                self._drop("error", error)
                return True
            self._drop(error.code, error)
            return not (strict and self._settings.strict)
        except Exception:  # noqa: BLE001 - as in record
            return True

    def _keep(
        self, plan: TypePlan, values: dict[str, object], n: int | None, monotonic: float
    ) -> bool:
        spool = self._spool
        if spool is None:
            spool = self._open_spool()
        looks = monotonic >= spool.look_at
        if looks:
            spool.look(monotonic)
        if reason := plan.record(spool, values, n, self._clock.now(), self._rng or self._draw):
            self._drop(reason)
            return False
        self._recorded += 1
        if looks:
            self._guard(self._nudge, monotonic, strict=False)
        return True

    def _begin(
        self, type_name: str, values: dict[str, object], n: int | None, monotonic: float
    ) -> bool:
        """Records if there is no plan yet, or the files have to be checked again."""
        plan = self._plan(type_name, monotonic)
        if plan is not None:
            return self._keep(plan, values, n, monotonic)
        if self._catalog is not None and not self._closed and type_name not in self._silent:
            # Wrong use is counted without consent, too, at the first call of a type.
            self._compile(type_name, None).check(values, n)
            if not self._strict:
                self._silent.add(type_name)
        return False

    def _plan(self, type_name: str, monotonic: float) -> TypePlan | None:
        """Returns the plan of a type, or None if it may not be recorded now."""
        switch = self._switch
        effective = switch.effective(type_name, monotonic)
        if switch.on_types is not self._on_types:
            self._on_types = switch.on_types
            self._plans, self._silent = {}, set()
            if self._spool is not None:
                self._spool.leave()
        if effective.on and self._closed:
            self._drop("closed")
        if not effective.on or self._closed:
            return None
        plan = self._plans.get(type_name)
        if plan is None:
            plan = self._plans[type_name] = self._compile(type_name, effective.fields)
        return plan

    def _compile(self, type_name: str, allowed: frozenset[str] | None) -> TypePlan:
        event_type = self._types.get(type_name)
        if event_type is None or self._catalog is None:
            known = ", ".join(self._types) or "none"
            misuse("unknown-type", f"no event type {type_name!r}; declared: {known}")
        return TypePlan(event_type, catalog_number(self._catalog.id), self._settings, allowed)

    def _begin_sequence(self, sequence: Sequence, type_name: str) -> bool:
        plan = self._plan(type_name, self._monotonic())
        if plan is None:
            if self._catalog is not None and not self._closed and type_name not in self._types:
                self._compile(type_name, None)
            return False
        if plan.event_type.sequence is None:
            misuse("wrong-kind", f"{type_name} is of kind {plan.event_type.kind}")
        if len(self._sequences) >= SEQUENCES_MAX:
            misuse("too-many-sequences", f"{SEQUENCES_MAX} sequences are open")
        now = self._clock.now()
        if reason := plan.refusal(now, self._draw):
            self._drop(reason)
            return False
        sequence.begin(plan.event_type, now, self._switch.answer_time(type_name))
        self._sequences.add(sequence)
        at_exit(id(self), self._finish)
        return True

    def _coerce(
        self, event_type: EventType, values: dict[str, object]
    ) -> dict[str, str | int | bool]:
        """Returns the wire values of a sequence's fields."""
        plan = self._plan(event_type.name, self._monotonic())
        return {} if plan is None else plan.coerce(values)

    def _end_sequence(self, sequence: Sequence) -> bool:
        event_type, sequence.event_type = sequence.event_type, None
        self._sequences.discard(sequence)
        if not self._sequences:
            forget(id(self))
        if event_type is None or not sequence.mine:
            return False
        monotonic = self._monotonic()
        plan = self._plan(event_type.name, monotonic)
        if plan is None or self._switch.answer_time(event_type.name) != sequence.answered:
            return False  # a no was given meanwhile
        if not sequence.steps:
            self._drop("empty")
            return False
        spool = self._spool or self._open_spool()
        if monotonic >= spool.look_at:
            spool.look(monotonic)
        plan.finish(spool, sequence.started, sequence.fields, sequence.steps)
        self._recorded += 1
        return True

    def _open_spool(self) -> AppSpool:
        with loads():
            from methrics.node.spool.spool import spool_of  # not needed without consent

        assert self._catalog is not None
        spool = spool_of(self._paths.outbox(self.namespace), self._clock, self._rng)
        spool.keep_catalog(catalog_number(self._catalog.id), self._catalog.raw)
        if self._settings.publisher == "process":
            at_exit(self._paths.outbox(self.namespace), self._publisher.leave)
        self._spool = spool
        return spool

    def _nudge(self, monotonic: float | None = None) -> bool:
        """Starts a publisher if a report is due: now (None: the app exits), or once a minute."""
        if monotonic is not None and monotonic < self._nudge_at:
            return False
        self._nudge_at = (monotonic or 0.0) + NUDGE_EVERY
        if self._settings.publisher == "process":
            self._publisher.nudge(inline=monotonic is None)
        return True

    def _finish(self) -> None:
        """Records the open sequences. At exit the recorder stays open after that: the app may
        record until its very end."""
        for sequence in list(self._sequences):
            self._guard(self._end_sequence, sequence, strict=False)

    def _shut(self) -> bool:
        self._finish()
        spool = self._spool
        if spool is not None:
            spool.tell_due()
            self._nudge()
        return True

    def _draw(self) -> float:
        if self._rng is None:
            self._rng = system_rng()
        return self._rng()

    def _drop(self, reason: str, error: Exception | None = None) -> None:
        self._dropped.add(reason)
        if error is not None:
            warn_once(f"{self.namespace or 'methrics'}: not recorded: {error}")


def _reopen(raw: bytes | None, paths: Paths, settings: RecorderSettings) -> Recorder:
    return Recorder(None if raw is None else load(raw, verify=False), paths, settings)

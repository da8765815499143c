"""The recorder, which apps call. It raises no error into the app and never waits for a network.

    recorder = methrics.node.open(CATALOG, app_version="1.4")
    recorder.record("signin", language="fr")

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
from methrics.node.process.tally import Tally
from methrics.node.record.compiled import CompiledType, amount, compile_type, misuse
from methrics.node.record.interface import RecorderInside, Statistics
from methrics.node.record.sequences import Sequence
from methrics.node.record.settings import RecorderSettings
from methrics.schema.errors import LocalError, MethricsError
from methrics.schema.wire.codec import encode

if TYPE_CHECKING:
    from methrics.node.consent.asking import Asking
    from methrics.node.consent.questions import Question
    from methrics.node.mine.mine import Mine
    from methrics.node.record.writer import Writer
    from methrics.schema.catalog.catalog import Catalog, EventType

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
        self._compiled: dict[str, CompiledType] = {}
        self._writer: Writer | None = None
        self._writers: dict[str, Writer] = {}
        self._sequences: set[Sequence] = set()
        self._recorded = 0
        self._dropped = Tally()
        self._closed = False

    def record(self, type_name: str, /, **values: object) -> bool:
        """Records one event, adds one to a count, or sets the latest state.

        Values may be exact (a raw number for a bucket, any text for an enum). They are coerced to
        the declared wire values here, and only those are stored. True: stored durably.
        """
        switch = self._switch
        monotonic = self._monotonic()
        if monotonic < switch.deadline and type_name not in switch.on_types:
            return False if not self._strict else self._guard(self._off, type_name)
        try:
            return self._record(type_name, values, monotonic)
        except Exception as error:  # noqa: BLE001 - an app must not fail because it is measured
            return self._failed(error)

    def count(self, type_name: str, n: int = 1, /, **values: object) -> bool:
        """Adds `n` to a count. This machine sums counts per combination of field values and per
        time window. Returns True once the sum is stored durably."""
        switch = self._switch
        monotonic = self._monotonic()
        if monotonic < switch.deadline and type_name not in switch.on_types:
            return False if not self._strict else self._guard(self._off, type_name)
        try:
            return self._record(type_name, values, monotonic, n)
        except Exception as error:  # noqa: BLE001 - as above
            return self._failed(error)

    def sequence(self, type_name: str, /, **values: object) -> Sequence:
        """Begins one interaction: `with r.sequence("signin") as s: s.step("start")`.

        Steps stay in memory. One row is written at the end, or when the app exits. Without consent
        the sequence does nothing.
        """
        sequence = Sequence(_Owner(self))
        if self._guard(self._begin_sequence, sequence, type_name) and values:
            sequence.set(**values)
        return sequence

    def facts(self, type_name: str, /, *, address: str = "", geoip: str = "") -> dict[str, object]:
        """Returns facts of this machine for `record`: for the fields that have well-known names and
        that the person shares (report/facts.py). With `address`, the country is that of the address
        in the GeoIP file `geoip`. Without consent nothing is looked up."""
        event_type = self._types.get(type_name)
        effective = self._switch.effective(type_name, self._monotonic())
        if event_type is None or not effective.on:
            return {}
        from methrics.node.report.facts import facts_of

        return facts_of(event_type, effective.fields, address, geoip, self._failed)

    def ask(
        self,
        *,
        starts: int,
        used_seconds: float,
        examples: Mapping[str, Mapping[str, object]] | None = None,
        results: str = "",
    ) -> bool:
        """Asks the person at the terminal, if it is time to ask; returns True if it asked.

        Call it once, at a quiet moment; it waits for the person. `starts` and `used_seconds`: the
        app's own count of its starts, and the time for which it was used. Methrics does not count
        them, because it writes nothing before a yes. `examples`: event type -> values that the app
        would record. `results`: where charts can be seen. Raises only KeyboardInterrupt.
        """

        def work() -> bool:
            import sys

            from methrics.node.consent.questions import Uses
            from methrics.node.consent.terminal import ask_in_terminal

            asking = self.asking(examples=examples, results=results, surface="terminal")
            uses = Uses(starts, used_seconds)
            return ask_in_terminal(asking, uses, stdin=sys.stdin, stdout=sys.stdout)

        return self._guard(work)

    def asking(
        self,
        *,
        examples: Mapping[str, Mapping[str, object]] | None = None,
        results: str = "",
        surface: str = "app",
    ) -> Asking:
        """Returns the questions, the texts to show and the means to answer, for an app that asks
        in its own user interface.

        `examples` and `results` as for `ask`; `surface` names the interface in the ledger's
        history. Unlike a recorder, the returned object raises LocalError.
        """
        from methrics.node.consent.asking import Asking

        return Asking(
            (self._catalog,) if self._catalog is not None else (),
            self._paths,
            environment=self._settings.environment,
            app_version=self._settings.app_version,
            examples=examples,
            results=results,
            surface=surface,
            clock=self._clock,
            file=self._settings.catalog_file,
        )

    def mine(self) -> Mine:
        """Returns the person's own reports of this app, to list, preview, export, withdraw, erase
        and reset. Unlike a recorder, the returned object raises LocalError."""
        from methrics.node.mine.mine import Mine

        mine = Mine(self._paths, [self.namespace], self._types, clock=self._clock, rng=self._rng)
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
            from methrics.node.consent.questions import Uses

            given = starts is not None or used_seconds is not None
            uses = Uses(starts or 0, used_seconds or 0.0) if given else None
            found.extend(self.asking().questions(uses))
            return True

        self._guard(work)
        return found

    def fail(self, error: MethricsError) -> None:
        """Counts `error`, because of which this recorder cannot record anything."""
        self._drop(error.code, error)

    def statistics(self) -> Statistics:
        """Returns the counts of this process for a developer. They are not sent anywhere."""
        if self._monotonic() >= self._switch.deadline:
            self._switch.refresh()
        rule = self._switch.rule or ("answer" if self._switch.on_types else "default")
        from methrics.node.publish.child import publisher_problem

        process = self._settings.publisher == "process"
        return Statistics(
            namespace=self.namespace,
            rule=rule,
            recorded=self._recorded,
            dropped=self._dropped.totals(),
            publisher=publisher_problem(self._paths, self.namespace, process=process)
            if self._switch.on_types
            else "",
        )

    @property
    def inside(self) -> RecorderInside:
        """The part that the bridges of this package use; an app does not need it."""
        return RecorderInside(self._types, self._guard, self._switch, self._clock)

    def close(self) -> None:
        """Records the open sequences and closes the outbox. Quick; never raises. Later calls of
        the recorder return False. It is also called when the app exits."""
        for sequence in list(self._sequences):
            self._guard(self._end_sequence, sequence, strict=False)
        if self._writer is not None and not self._closed:
            self._guard(self._shut, strict=False)
        self._closed = True

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    # Called only through `_guard`, or within `record` and `count`:

    def _guard(self, work: Callable[..., bool], *args: Any, strict: bool = True) -> bool:
        """Returns `work(*args)`; counts an error and returns False (a strict recorder raises)."""
        try:
            return work(*args)
        except Exception as error:  # noqa: BLE001 - as in record
            return self._failed(error, strict=strict)

    def _failed(self, error: Exception, *, strict: bool = True) -> bool:
        if not isinstance(error, MethricsError):
            self._drop("error", error)
            return False
        self._drop(error.code, error)
        if strict and self._settings.strict:
            raise error
        return False

    def _record(
        self, type_name: str, values: dict[str, object], monotonic: float, n: int | None = None
    ) -> bool:
        effective = self._switch.effective(type_name, monotonic)
        if not effective.on:
            return self._off(type_name)
        compiled = self._compiled.get(type_name) or self._compile(type_name)
        event_type = compiled.event_type
        kind = event_type.kind
        if kind == "sequence" or (n is not None and kind != "count"):
            misuse("wrong-kind", f"{type_name} is of kind {kind}")
        compiled.complete(values)
        try:
            fields, length = compiled.packer.pack(values, effective.fields)
        except ValueError as error:
            raise LocalError("wrong-value", f"{type_name}: {error}") from error
        now = self._clock.now()
        if not self._chosen(compiled, now):
            return False
        if not length and compiled.would_be_empty(effective.fields):
            self._drop("empty")
            return False
        writer = self._writer or self._open_writer()
        if kind == "event":
            kept = writer.event(event_type, now, fields, compiled.one_in)
        elif kind == "state":
            kept = writer.state(event_type, now, fields, compiled.one_in)
        else:
            kept = writer.count(event_type, now, fields, compiled.one_in, amount(n))
        return self._kept(writer, kept, monotonic)

    def _coerced(
        self, event_type: EventType, values: dict[str, object]
    ) -> dict[str, str | int | bool]:
        """Returns the wire values of a sequence's fields, which are packed when it ends."""
        self._compiled[event_type.name].complete(values)
        try:
            return event_type.coerce(values)
        except ValueError as error:
            raise LocalError("wrong-value", f"{event_type.name}: {error}") from error

    def _off(self, type_name: str) -> bool:
        """Returns False without counting, as there is no consent. If the recorder is strict, an
        unknown type still raises LocalError."""
        if self._strict and type_name not in self._types:
            self._compile(type_name)
        return False

    def _compile(self, type_name: str) -> CompiledType:
        compiled = compile_type(self._types, type_name, self._settings)
        self._compiled[type_name] = compiled
        return compiled

    def _chosen(self, compiled: CompiledType, now: int) -> bool:
        """Whether the recorder is open, the type has not expired, and sampling picks this event."""
        if self._closed:
            self._drop("closed")
        elif now >= compiled.event_type.expires:
            self._drop("expired")
        elif compiled.one_in > 1 and self._draw()() * compiled.one_in >= 1:
            self._drop("not-sampled")
        else:
            return True
        return False

    def _begin_sequence(self, sequence: Sequence, type_name: str) -> bool:
        if not self._switch.effective(type_name, self._monotonic()).on:
            return self._off(type_name)
        compiled = self._compiled.get(type_name) or self._compile(type_name)
        if compiled.event_type.sequence is None:
            misuse("wrong-kind", f"{type_name} is of kind {compiled.event_type.kind}")
        if len(self._sequences) >= SEQUENCES_MAX:
            misuse("too-many-sequences", f"{SEQUENCES_MAX} sequences are open")
        now = self._clock.now()
        if not self._chosen(compiled, now):
            return False
        from methrics.node.process.exits import at_exit

        at_exit(self)
        sequence.begin(compiled.event_type, now, compiled.one_in)
        self._sequences.add(sequence)
        return True

    def _end_sequence(self, sequence: Sequence) -> bool:
        event_type, sequence.event_type = sequence.event_type, None
        self._sequences.discard(sequence)
        if event_type is None or not sequence.mine:
            return False
        effective = self._switch.effective(event_type.name, self._monotonic())
        if not effective.on:
            return False
        if not sequence.steps:
            self._drop("empty")
            return False
        allowed = effective.fields
        fields = {
            name: value
            for name, value in sequence.fields.items()
            if allowed is None or name in allowed
        }
        writer = self._writer or self._open_writer()
        steps = encode([list(step) for step in sequence.steps])
        now = sequence.started
        kept = writer.event(event_type, now, encode(fields), sequence.one_in, steps)
        return self._kept(writer, kept, self._monotonic())

    def _open_writer(self) -> Writer:
        from methrics.node.process.exits import at_exit
        from methrics.node.record.writer import Writer

        assert self._catalog is not None
        writer = Writer(
            self._catalog,
            self._paths,
            self.namespace,
            clock=self._clock,
            rng=self._draw(),
            publisher=self._settings.publisher == "process",
            relays=self._settings.relays,
        )
        writer.keep_catalog()
        at_exit(self)
        # Two threads may each have made a writer; both use the first.
        self._writer = self._writers.setdefault(self.namespace, writer)
        return self._writer

    def _shut(self) -> bool:
        from methrics.node.process.exits import forget

        assert self._writer is not None
        forget(self)
        self._writer.close()
        return True

    def _kept(self, writer: Writer, kept: bool, monotonic: float) -> bool:
        if not kept:
            self._drop("outbox-full")
            return False
        self._recorded += 1
        if monotonic >= writer.look_at:
            self._guard(self._look, writer, monotonic, strict=False)
        return True

    def _look(self, writer: Writer, monotonic: float) -> bool:
        writer.look(monotonic)
        return True

    def _draw(self) -> Rng:
        if self._rng is None:
            self._rng = system_rng()
        return self._rng

    def _drop(self, reason: str, error: Exception | None = None) -> None:
        self._dropped.add(reason)
        if error is not None:
            from methrics.node.process.exits import warn_once

            warn_once(f"{self.namespace or 'methrics'}: not recorded: {error}")


class _Owner:
    """Gives a sequence the private methods of its recorder that it needs, and no others."""

    __slots__ = ("_recorder",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def guard(self, work: Callable[..., bool], *args: object) -> bool:
        return self._recorder._guard(work, *args)

    def monotonic(self) -> float:
        return self._recorder._monotonic()

    def coerce(
        self, event_type: EventType, values: dict[str, object]
    ) -> dict[str, str | int | bool]:
        return self._recorder._coerced(event_type, values)

    def drop(self, reason: str) -> None:
        self._recorder._drop(reason)

    def end(self, sequence: Sequence) -> bool:
        return self._recorder._end_sequence(sequence)

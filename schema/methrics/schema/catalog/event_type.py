"""Declare one event type: which events an app may record, and which reports nodes accept.

`coerce` runs inside `record()`, and `check_report` runs once per received report. For speed both
look up closures in dictionaries that are built when the catalog is read. This module uses neither
the clock nor the network.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from math import comb, log2

from methrics.schema.catalog.field_types import Wire, text_size, uint_size
from methrics.schema.catalog.fields import Field, milestone_days
from methrics.schema.wire.limits import ENVELOPE_SIZE, STAMP_SIZE
from methrics.schema.wire.verdict import Reason

KINDS = ("event", "count", "state", "sequence")
"""An event makes one report per occurrence. A count is summed on the machine. A state reports the
latest values. A sequence reports the steps of one interaction."""

PSEUDONYMS = ("none", "session", "day")
"""The periods in which reports of one person may be linked, shortest first."""

DAILY = frozenset({"first_of_day", "milestone"})
"""A state with a field of one of these sources counts days of use."""


class Release:
    """The times at which reports leave the machine, in seconds.

    `delay`: minimum time between the event and its report. `jitter`: maximum random time that is
    added to the delay. `every`: (least, most) time between two reports of a state, None for other
    kinds.
    """

    __slots__ = ("delay", "every", "jitter")

    def __init__(self, delay: int, every: tuple[int, int] | None, jitter: int) -> None:
        self.delay = delay
        self.every = every
        self.jitter = jitter

    def to_wire(self) -> dict[str, object]:
        """The map for the catalog's payload."""
        wire: dict[str, object] = {"delay": self.delay, "jitter": self.jitter}
        return wire if self.every is None else {**wire, "every": list(self.every)}


class SequenceDeclaration:
    """Declares a sequence: a report has at most `max_steps` of the declared `steps`, in order.

    `offset_edges`: seconds since the first step, ascending. The offset of a step is the number of
    edges at or below its time, 0..len(offset_edges), and never decreases within a sequence.
    """

    __slots__ = ("_known", "buckets", "max_steps", "offset_edges", "steps")

    def __init__(
        self, steps: tuple[str, ...], offset_edges: tuple[int, ...], max_steps: int
    ) -> None:
        self.steps = steps
        self.offset_edges = offset_edges
        self.max_steps = max_steps
        self.buckets = len(offset_edges) + 1
        self._known = frozenset(steps)

    @property
    def domain(self) -> int:
        """Count the distinct sequences: any step at each position, with offsets that never
        decrease."""
        return sum(
            len(self.steps) ** length * comb(length + self.buckets - 1, length)
            for length in range(1, self.max_steps + 1)
        )

    def check(self, value: object) -> bool:
        """Tell whether a decoded list or tuple of [step, offset] pairs is valid. Never raises."""
        if not isinstance(value, tuple | list) or not 1 <= len(value) <= self.max_steps:
            return False
        known, before, top = self._known, 0, self.buckets
        try:
            for step, offset in value:
                if type(step) is not str or step not in known:
                    return False
                if type(offset) is not int or not before <= offset < top:
                    return False
                before = offset
        except (TypeError, ValueError):  # not pairs
            return False
        return True

    def to_wire(self) -> dict[str, object]:
        """The map for the catalog's payload."""
        return {
            "steps": list(self.steps),
            "offset_edges": list(self.offset_edges),
            "max_steps": self.max_steps,
        }


class EventType:
    """One event type of a catalog. Callers must not change it.

    Text: `name`, `kind` (KINDS), `question` it answers, `why` it is needed, `owner`, `review`
    (link), `pseudonym` (PSEUDONYMS), `chart` (kind, or kind:field). Time: `expires` (Unix seconds;
    reports of that time or later are refused), `retention_days`, `lateness` and `resolution`
    (seconds), `release`. `entropy_bits`: the entropy budget. `one_in`: allowed sampling
    denominators. `work`: bits of proof of work in each report. `max_count` and `window` (seconds):
    None except for a count. `sequence`: None except for a sequence. `sources`: maps each source to
    the field that the node fills in from it.
    """

    # Not a dataclass: `dataclasses` imports `inspect`, which doubles the time in which an app
    # imports `methrics.node` (measured). `cached_property` needs a `__dict__`, so no `__slots__`.
    def __init__(
        self,
        *,
        name: str,
        kind: str,
        question: str,
        why: str,
        owner: str,
        review: str,
        expires: int,
        retention_days: int,
        lateness: int,
        resolution: int,
        release: Release,
        pseudonym: str,
        entropy_bits: int,
        chart: str,
        fields: tuple[Field, ...],
        max_count: int | None = None,
        window: int | None = None,
        sequence: SequenceDeclaration | None = None,
        one_in: tuple[int, ...] = (1,),
        work: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.question = question
        self.why = why
        self.owner = owner
        self.review = review
        self.expires = expires
        self.retention_days = retention_days
        self.lateness = lateness
        self.resolution = resolution
        self.release = release
        self.pseudonym = pseudonym
        self.entropy_bits = entropy_bits
        self.chart = chart
        self.fields = fields
        self.max_count = max_count
        self.window = window
        self.sequence = sequence
        self.one_in = one_in
        self.work = work
        self.sources = {field.source: field for field in fields if field.source is not None}
        self._coerce = {field.name: field.coerce for field in fields}
        self._check = {field.name: field.check for field in fields}
        self._one_in = frozenset(one_in)
        self._speaks = bool(fields) and kind in ("event", "state")

    @cached_property
    def daily(self) -> bool:
        """Tell whether this is a state that makes one report for each UTC day of use."""
        return self.kind == "state" and not self.sources.keys().isdisjoint(DAILY)

    @cached_property
    def milestones(self) -> tuple[int, ...] | None:
        """Return on which days after the first report reports are made; None means every day."""
        field = self.sources.get("milestone") if self.kind == "state" else None
        return None if field is None else milestone_days(field.params["values"])

    def field(self, name: str) -> Field | None:
        """Return the field of that name, or None if it is not declared."""
        return next((field for field in self.fields if field.name == name), None)

    def coerce(
        self, values: Mapping[str, object], *, only: Collection[str] | None = None
    ) -> dict[str, Wire]:
        """Convert an app's values to wire values. Leaves out None, and fields that are not in
        `only` (the fields with consent; None means all).

        Raises ValueError for an undeclared field or a value of the wrong Python type.
        """
        wire = {}
        coercers = self._coerce
        name = ""
        try:
            for name, raw in values.items():
                coerce = coercers[name]
                if raw is not None and (only is None or name in only):
                    wire[name] = coerce(raw)
        except KeyError:
            known = ", ".join(coercers) or "none"
            raise ValueError(f"{name}: {self.name} has no such field; declared: {known}") from None
        return wire

    def check_report(
        self,
        values: Mapping[str, object],
        count: object,
        one_in: object,
        sequence: object,
        time: int,
    ) -> Reason:
        """Return OK, or the reason to refuse a report with this content. Never raises.

        The reasons are OFF_SCHEMA, EMPTY, UNROUNDED and EXPIRED. `judge` checks the rest, which
        needs a clock or the envelope: early and late reports, and work stamps. A field may be
        absent, because the person did not share it.
        """
        reason = self.check_content(values, count, one_in, sequence)
        return self.check_time(time) if reason is Reason.OK else reason

    def check_content(
        self, values: Mapping[str, object], count: object, one_in: object, sequence: object
    ) -> Reason:
        """Check like `check_report`, but without the time."""
        checks = self._check
        try:
            for name, wire in values.items():
                if not checks[name](wire):
                    return Reason.OFF_SCHEMA
        except KeyError:
            return Reason.OFF_SCHEMA
        if type(one_in) is not int or one_in not in self._one_in:
            return Reason.OFF_SCHEMA
        if (count is not None or self.max_count is not None) and not self._counts(count):
            return Reason.OFF_SCHEMA
        declared = self.sequence
        if declared is None:
            if sequence is not None:
                return Reason.OFF_SCHEMA
        elif not sequence:
            return Reason.EMPTY
        elif not declared.check(sequence):
            return Reason.OFF_SCHEMA
        return Reason.EMPTY if not values and self._speaks else Reason.OK

    def check_time(self, time: int) -> Reason:
        """Return OK, UNROUNDED or EXPIRED, whichever the time of a report is."""
        if time % self.resolution:
            return Reason.UNROUNDED
        return Reason.OK if time < self.expires else Reason.EXPIRED

    def _counts(self, count: object) -> bool:
        most = self.max_count
        return most is not None and type(count) is int and 1 <= count <= most

    @cached_property
    def domain(self) -> int:
        """Count the distinct reports that have the same time. Any field may be absent."""
        return self._reports(field.domain for field in self.fields)

    @cached_property
    def distinguishable(self) -> int:
        """Count the distinct reports as the entropy budget does. A field with randomized response
        counts only as many values as one answer can distinguish."""
        return self._reports(field.distinguishable for field in self.fields)

    def _reports(self, values: Iterable[int]) -> int:
        domain = 1
        for number in values:
            domain *= number + 1
        if self._speaks:
            domain -= 1
        if self.max_count is not None:
            domain *= self.max_count
        if self.sequence is not None:
            domain *= self.sequence.domain
        return domain * len(self.one_in)

    @cached_property
    def bits(self) -> float:
        """Return the maximum entropy in bits of one report without its time: log2 of `domain`."""
        return log2(self.domain)

    @cached_property
    def revealed_bits(self) -> float:
        """Return the most bits that one report without its time can reveal: log2 of
        `distinguishable`."""
        return log2(self.distinguishable)

    @cached_property
    def field_bits(self) -> float:
        """Return the part of `bits` that comes from the fields, which describe a person or
        machine."""
        return sum(log2(field.domain + 1) for field in self.fields)

    @cached_property
    def max_payload_bytes(self) -> int:
        """Return the size in bytes of the largest payload of a report of this type."""
        size = 1 + text_size("catalog") + uint_size(32) + 32
        size += text_size("type") + text_size(self.name)
        size += text_size("time") + uint_size(self.expires - 1)
        size += text_size("values") + uint_size(len(self.fields))
        size += sum(text_size(field.name) + field.max_size for field in self.fields)
        if self.max_count is not None:
            size += text_size("count") + uint_size(self.max_count)
        if self.one_in != (1,):
            size += text_size("one_in") + uint_size(max(self.one_in))
        if self.sequence is not None:
            step = max(text_size(name) for name in self.sequence.steps)
            pair = 1 + step + uint_size(self.sequence.buckets - 1)
            size += text_size("sequence") + uint_size(self.sequence.max_steps)
            size += self.sequence.max_steps * pair
        return size

    @cached_property
    def max_report_bytes(self) -> int:
        """Return the size in bytes of the largest report of this type, with envelope."""
        payload = self.max_payload_bytes
        stamp = STAMP_SIZE if self.work else 0
        return ENVELOPE_SIZE + stamp + uint_size(payload) + payload

    def to_wire(self) -> dict[str, object]:
        """The map for the catalog's payload."""
        wire: dict[str, object] = {
            "kind": self.kind,
            "question": self.question,
            "why": self.why,
            "owner": self.owner,
            "review": self.review,
            "expires": self.expires,
            "retention_days": self.retention_days,
            "lateness": self.lateness,
            "resolution": self.resolution,
            "release": self.release.to_wire(),
            "pseudonym": self.pseudonym,
            "entropy_bits": self.entropy_bits,
            "chart": self.chart,
            "fields": [field.to_wire() for field in self.fields],
            "one_in": list(self.one_in),
            "work": self.work,
        }
        if self.max_count is not None:
            wire["count"] = {"max": self.max_count, "window": self.window}
        if self.sequence is not None:
            wire["sequence"] = self.sequence.to_wire()
        return wire

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, EventType)
            and self.name == other.name
            and self.to_wire() == other.to_wire()
        )

    def __hash__(self) -> int:
        return hash((self.name, self.kind, self.expires))

    def __repr__(self) -> str:
        return f"EventType({self.name!r}, {self.kind!r}, {len(self.fields)} fields)"

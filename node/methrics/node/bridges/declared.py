"""Maps another library's instruments and attributes to event types and fields of a catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from methrics.node.bridges.naming import field_name, type_name
from methrics.schema.errors import LocalError

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType
    from methrics.schema.catalog.fields import Field

NAMES_MAX = 2048
"""Most names of instruments that are cached. When a further name comes, the cache is emptied."""

SEPARATORS = "[._/-]"
"""A shell pattern for the characters of an instrument's name that become `_` in an event type."""

Guard = Callable[..., bool]
"""Protects the app from errors: calls another function and returns its result, but counts a
LocalError and returns False in its place."""


class Target:
    """The event type of one instrument.

    `fields`: the fields that an app may set, by name. `value`: the bucket field for the measured
    value, or None; `edges`: its edges. `ambiguous`: whether `value` is None although the event type
    has bucket fields, because it is not known which one to use.
    """

    def __init__(self, event_type: EventType, value: str | None = None) -> None:
        self.event_type = event_type
        self.name = event_type.name
        self.kind = event_type.kind
        self.fields: dict[str, Field] = {
            one.name: one for one in event_type.fields if one.source is None
        }
        buckets = [one for one in self.fields.values() if one.type == "bucket"]
        named = [one for one in buckets if one.name == (value or "value")]
        self.value = named[0] if named else buckets[0] if len(buckets) == 1 else None
        self.ambiguous = bool(buckets) and self.value is None
        self.edges = _edges(self.value) if self.value is not None else ()


class Declared:
    """Finds the event type of an instrument and the field of an attribute. An explicit mapping
    has priority over the naming rule.

    If a mapping does not fit the catalog, it is ignored, and a LocalError is raised under `guard`.
    """

    def __init__(
        self,
        types: Mapping[str, EventType],
        instruments: Mapping[str, str],
        attributes: Mapping[str, str],
        values: Mapping[str, str],
        guard: Guard,
    ) -> None:
        self._types = types
        self._attributes = dict(attributes)
        self._explicit: dict[str, Target] = {}
        for instrument in {**instruments, **values}:
            named = instruments.get(instrument) or type_name(instrument) or instrument
            guard(self._map, instrument, named, values.get(instrument))
        for attribute, field in attributes.items():
            if not guard(self._check_field, field):
                del self._attributes[attribute]
        self._targets: dict[str, Target | None] = {}

    def target(self, instrument: str) -> Target | None:
        """Returns the event type of an instrument, or None if the catalog declares none for it."""
        if instrument not in self._targets:
            if len(self._targets) >= NAMES_MAX:
                self._targets.clear()
            found = self._explicit.get(instrument.lower())
            if found is None:
                event_type = self._types.get(type_name(instrument) or "")
                found = Target(event_type) if event_type is not None else None
            self._targets[instrument] = found
        return self._targets[instrument]

    def patterns(self) -> Iterator[tuple[str, Target]]:
        """Yields pairs of (shell pattern of instrument names, target). No two patterns match the
        same name."""
        from fnmatch import fnmatchcase

        yield from self._explicit.items()
        for name, event_type in self._types.items():
            pattern = name.replace("_", SEPARATORS)
            if not any(fnmatchcase(explicit, pattern) for explicit in self._explicit):
                yield pattern, Target(event_type)

    def fields(
        self, target: Target, attributes: Mapping[str, object], *, value: bool
    ) -> tuple[dict[str, object], list[str]]:
        """Returns (values by field, a reason for each attribute that was left out).

        `value`: whether the target's value field is reserved for the measured value.
        """
        kept = target.value if value else None
        found: dict[str, object] = {}
        left: list[str] = []
        # Mapped attributes first, then the others by name: the order given must not matter.
        for key in sorted(attributes, key=lambda one: (one not in self._attributes, one)):
            field = target.fields.get(self._attributes.get(key) or field_name(key) or "")
            if field is None or field is kept:
                left.append("undeclared")
            elif field.name in found:
                left.append("taken")
            elif (fits := fitting(field, attributes[key])) is None:
                left.append("wrong-value")
            else:
                found[field.name] = fits
        return found, left

    def _map(self, instrument: str, named: str, value: str | None) -> bool:
        event_type = self._types.get(named)
        if event_type is None:
            raise _wrong(f"{instrument}: no event type {named!r} in the catalog")
        target = Target(event_type, value)
        if value is not None and (target.value is None or target.value.name != value):
            raise _wrong(f"{instrument}: {named} has no bucket field {value!r} for its value")
        self._explicit[instrument.lower()] = target
        return True

    def _check_field(self, field: str) -> bool:
        if not any(one.field(field) for one in self._types.values()):
            raise _wrong(f"no event type in the catalog has a field {field!r}")
        return True


def fitting(field: Field, raw: object) -> object:
    """Returns `raw` in a form that the field accepts, or None if the field does not accept it. For
    a text field a number becomes text, because a status, a version or a level is often a number."""
    try:
        if field.column == "text" and isinstance(raw, int | float) and not isinstance(raw, bool):
            raw = str(raw)
        return None if raw is None or field.coerce(raw) is None else raw
    except (ValueError, OverflowError):
        return None


def _edges(field: Field) -> tuple[float, ...]:
    entries = field.params["edges"]
    assert isinstance(entries, list | tuple)
    return tuple(float(entry) for entry in entries)


def _wrong(message: str) -> LocalError:
    return LocalError("wrong-mapping", message, "see docs/otel.md")

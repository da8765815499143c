"""Prepares an event type for `record`, by computing once what every call needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from methrics.node.record.packing import FieldPacker
from methrics.node.record.settings import RecorderSettings
from methrics.schema.errors import LocalError

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

COUNT_MAX = 1 << 31
"""Largest `n` of one `count` call, so that sums fit into SQLite's integers."""


class CompiledType(NamedTuple):
    """An event type, prepared for `record`.

    `sourced`: names of fields that the node fills in when it makes a report. `random`: names of
    fields with randomized response. `version`: the app's version, if the type has a field for it.
    `one_in`: the app records one event in this many.
    """

    event_type: EventType
    sourced: frozenset[str]
    random: frozenset[str]
    version: str | None
    one_in: int
    packer: FieldPacker

    def complete(self, values: dict[str, object]) -> None:
        """Adds the app's version to `values`, if the type has a field for it.

        Raises LocalError if `values` has a field that only the node fills in, or lacks a field with
        randomized response: an absent value is not randomized, so it would reveal the truth.
        """
        if self.sourced and not self.sourced.isdisjoint(values):
            name = min(self.sourced.intersection(values))
            misuse("reserved-field", f"{self.event_type.name}.{name} is filled in by the node")
        for name in self.random:
            if values.get(name) is None:
                where = f"{self.event_type.name}.{name}"
                misuse(
                    "wrong-value", f"{where} uses randomized response, so it must always be given"
                )
        if self.version is not None and "version" not in values:
            values["version"] = self.version

    def would_be_empty(self, allowed: frozenset[str] | None) -> bool:
        """Whether a report without the app's fields would be empty (KPI-15)."""
        if not self.event_type.fields or self.event_type.kind == "count":
            return False
        return not self.sourced if allowed is None else self.sourced.isdisjoint(allowed)


def compile_type(
    types: Mapping[str, EventType], type_name: str, settings: RecorderSettings
) -> CompiledType:
    """Compiles one event type. Raises LocalError if the catalog does not declare the type, or
    does not allow the sampling that the app chose for it."""
    event_type = types.get(type_name)
    if event_type is None:
        known = ", ".join(types) or "none"
        misuse("unknown-type", f"no event type {type_name!r}; declared: {known}")
    one_in = settings.sampling.get(type_name, 1)
    if one_in not in event_type.one_in:
        allowed = ", ".join(map(str, event_type.one_in))
        misuse("wrong-sampling", f"{type_name}: one in {one_in} is not declared: {allowed}")
    version = event_type.field("version")
    takes_version = version is not None and version.type == "version"
    return CompiledType(
        event_type=event_type,
        sourced=frozenset(field.name for field in event_type.fields if field.source is not None),
        random=frozenset(field.name for field in event_type.fields if field.randomize is not None),
        version=settings.app_version if takes_version else None,
        one_in=one_in,
        packer=FieldPacker(event_type),
    )


def amount(n: int | None) -> int:
    """Returns `n`, or 1 if it is None. Raises LocalError unless it is from 1 to `COUNT_MAX`."""
    if n is None:
        return 1
    if type(n) is not int or not 1 <= n <= COUNT_MAX:
        misuse("wrong-value", f"n must be a whole number from 1 to {COUNT_MAX}")
    return n


def misuse(code: str, message: str) -> NoReturn:
    """Raises LocalError, because the app used the recorder wrongly."""
    raise LocalError(code, message)

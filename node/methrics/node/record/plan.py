"""The way of an event from the app's values to the spool, computed once for each event type."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from methrics.node.record.packing import FieldPacker, pack_steps, pack_values
from methrics.node.spool.interface import SpooledType
from methrics.schema.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from methrics.node.clock import Rng
    from methrics.node.record.settings import RecorderSettings
    from methrics.node.spool.interface import AppSpool
    from methrics.schema.catalog.event_type import EventType

COUNT_MAX = 1 << 31
"""Largest `n` of one `count` call, so that sums fit into SQLite's integers."""


class TypePlan:
    """Records events of one type, with the fields that the person allows.

    `catalog`: the `catalog_number`. `allowed`: names of fields, None for all. Raises LocalError if
    the catalog does not allow the sampling that the app chose for the type. The rules for values
    are in `complete`.
    """

    __slots__ = (
        "_allowed",
        "_empty",
        "_kind",
        "_packer",
        "_random",
        "_sourced",
        "_spooled",
        "_version",
        "event_type",
        "one_in",
    )

    def __init__(
        self,
        event_type: EventType,
        catalog: int,
        settings: RecorderSettings,
        allowed: frozenset[str] | None,
    ) -> None:
        fields = event_type.fields
        version = event_type.field("version")
        takes_version = version is not None and version.type == "version"
        self.event_type = event_type
        self.one_in = _one_in(event_type, settings)
        self._kind = event_type.kind
        self._allowed = allowed
        self._sourced = frozenset(one.name for one in fields if one.source is not None)
        self._random = tuple(one.name for one in fields if one.randomize is not None)
        self._version = settings.app_version if takes_version else None
        self._packer = FieldPacker(event_type)
        self._spooled = SpooledType(catalog, event_type, self.one_in)
        # A report without any of the app's fields would be empty (KPI-15).
        silent = not self._sourced if allowed is None else self._sourced.isdisjoint(allowed)
        self._empty = bool(fields) and self._kind != "count" and silent

    def record(
        self, spool: AppSpool, values: dict[str, object], n: int | None, now: int, rng: Rng
    ) -> str:
        """Records one event at `now` (Unix seconds), adds `n` (1 if None) to a count, or sets the
        latest state. Returns "", or the reason why nothing was recorded.

        Raises LocalError for wrong use, and StoreError."""
        kind = self._kind
        if kind == "sequence" or (n is not None and kind != "count"):
            misuse("wrong-kind", f"{self.event_type.name} is of kind {kind}")
        fields, length = self.pack(values)
        event_type = self.event_type
        if (now >= event_type.expires or self.one_in > 1) and (reason := self.refusal(now, rng)):
            return reason
        if not length and self._empty:
            return "empty"
        if kind == "event":
            spool.event(self._spooled, now - now % event_type.resolution, now, fields)
        elif kind == "state":
            spool.state(self._spooled, now - now % event_type.resolution, now, fields)
        else:
            window = event_type.window or event_type.resolution
            start = now - now % window
            spool.count(
                self._spooled, start, start + window, fields, 1 if n is None else _amount(n)
            )
        return ""

    def finish(
        self,
        spool: AppSpool,
        started: int,
        values: Mapping[str, str | int | bool],
        steps: Sequence[tuple[str, int]],
    ) -> None:
        """Records a sequence that began at `started` (Unix seconds), with its coerced `values`.
        Raises StoreError."""
        allowed = self._allowed
        fields = {one: it for one, it in values.items() if allowed is None or one in allowed}
        time = started - started % self.event_type.resolution
        spool.event(self._spooled, time, started, pack_values(fields), pack_steps(steps))

    def refusal(self, now: int, rng: Rng) -> str:
        """Returns why an event of `now` is not recorded: its type has expired, or sampling does not
        pick it; "" if it is recorded."""
        if now >= self.event_type.expires:
            return "expired"
        return "not-sampled" if self.one_in > 1 and rng() * self.one_in >= 1 else ""

    def pack(self, values: dict[str, object]) -> tuple[bytes, int]:
        """Returns (CBOR map of wire values, number of fields in it). Raises LocalError if `values`
        break a rule."""
        self.complete(values)
        try:
            return self._packer.pack(values, self._allowed)
        except ValueError as error:
            raise LocalError("wrong-value", f"{self.event_type.name}: {error}") from error

    def coerce(self, values: dict[str, object]) -> dict[str, str | int | bool]:
        """Returns the wire values of a sequence's fields. Raises LocalError, as `pack`."""
        self.complete(values)
        try:
            return self.event_type.coerce(values)
        except ValueError as error:
            raise LocalError("wrong-value", f"{self.event_type.name}: {error}") from error

    def complete(self, values: dict[str, object]) -> None:
        """Adds the app's version to `values`, if the type has a field for it.

        Raises LocalError if `values` has a field that only the node fills in, or lacks a field with
        randomized response: an absent value is not randomized, so it would reveal the truth.
        """
        if self._sourced and not self._sourced.isdisjoint(values):
            name = min(self._sourced.intersection(values))
            misuse("reserved-field", f"{self.event_type.name}.{name} is filled in by the node")
        for name in self._random:
            if values.get(name) is None:
                where = f"{self.event_type.name}.{name}"
                misuse(
                    "wrong-value", f"{where} uses randomized response, so it must always be given"
                )
        if self._version is not None and "version" not in values:
            values["version"] = self._version

    def check(self, values: dict[str, object], n: int | None) -> None:
        """Raises LocalError if a call with these `values` is wrong, and records nothing."""
        if self._kind == "sequence" or (n is not None and self._kind != "count"):
            misuse("wrong-kind", f"{self.event_type.name} is of kind {self._kind}")
        if n is not None:
            _amount(n)
        self.pack(values)


def _one_in(event_type: EventType, settings: RecorderSettings) -> int:
    one_in = settings.sampling.get(event_type.name, 1)
    if one_in not in event_type.one_in:
        allowed = ", ".join(map(str, event_type.one_in))
        misuse("wrong-sampling", f"{event_type.name}: one in {one_in} is not declared: {allowed}")
    return one_in


def _amount(n: int) -> int:
    if type(n) is not int or not 1 <= n <= COUNT_MAX:
        misuse("wrong-value", f"n must be a whole number from 1 to {COUNT_MAX}")
    return n


def misuse(code: str, message: str) -> NoReturn:
    """Raises LocalError, because the app used the recorder wrongly."""
    raise LocalError(code, message)

"""A consumer for the official `mixpanel` Python client: `track()` records here instead.

    consumer = Consumer(recorder, active=("heartbeat",))
    mp = consumer.adopt(Mixpanel("any", consumer=consumer))
    mp.track("anyone", "Song Played", {"Genre": "jazz"})

An event becomes a record of the event type that the naming rule (`naming`) or an explicit mapping
gives for it, and its properties become fields in the same way. What the catalog does not declare is
dropped and counted. No id, token, profile or group is kept. The consumer only writes to the outbox;
the publisher sends. This module does not import the `mixpanel` package.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from methrics.node.bridges.declared import fitting
from methrics.node.bridges.interactions import Interactions, Steps
from methrics.node.bridges.naming import (
    IDENTIFIERS,
    IDENTITY_EVENTS,
    field_name,
    is_reserved,
    type_name,
)
from methrics.node.process.tally import Tally
from methrics.node.record.plan import COUNT_MAX
from methrics.schema.errors import LocalError

if TYPE_CHECKING:
    from methrics.node.record.recorder import Recorder
    from methrics.schema.catalog.event_type import EventType
    from methrics.schema.catalog.fields import Field

__all__ = ["Consumer", "Statistics", "Steps"]

MESSAGE_MAX = 1_048_576
"""Most characters of one message; Mixpanel has the same limit."""

DAY = 86_400

_ENDPOINTS = {"people": "people", "groups": "groups", "imports": "import"}
"""Endpoints whose messages are dropped -> the reason that is counted."""

Client = TypeVar("Client")


class Statistics(NamedTuple):
    """Counts of one consumer, in this process. They contain no names or values.

    `recorded`: the number of events that were recorded. `dropped`: the number of events that were
    not recorded, by reason. `left_out`: the number of properties that were dropped although their
    event was recorded, by reason.
    """

    recorded: int
    dropped: dict[str, int]
    left_out: dict[str, int]


class Consumer:
    """A consumer for `mixpanel.Mixpanel(..., consumer=...)`. Safe to share between threads.

    `names`: event name -> event type. `properties`: property -> field; a mapping applies to all
    event types. Both have priority over the naming rule, and a property that begins with `$` or
    `mp_` becomes a field only by a mapping. `amounts`: event name -> the property with the number
    to count, for event types of kind `count`. `sequences`: event type -> its `Steps`, or only the
    mapping of events to steps. `active`: event types of kind `state`, which are recorded once on
    each UTC day on which an event is tracked. `facts`: whether a state gets this machine's facts
    (`recorder.facts`) for the fields that no property sets.

    If the recorder is strict, a mapping that does not fit the catalog raises LocalError
    `wrong-mapping`. Otherwise the mapping is ignored, and `recorder.statistics()` counts it. Later
    calls raise an error only if the recorder is strict.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        names: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        amounts: Mapping[str, str] | None = None,
        sequences: Mapping[str, Steps | Mapping[str, str]] | None = None,
        active: Collection[str] = (),
        facts: bool = True,
    ) -> None:
        self._recorder = recorder
        self._inside = inside = recorder.inside
        self._types = inside.types
        self._names = dict(names or {})
        self._properties = dict(properties or {})
        self._amounts = dict(amounts or {})
        self._interactions: dict[str, Interactions] = {}
        self._active = [name for name in active if inside.guard(self._check_active, name)]
        self._facts = facts
        self._signed: dict[str, int] = {}
        self._fields: dict[str, dict[str, Field]] = {}
        self._recorded = Tally()
        self._dropped = Tally()
        self._left_out = Tally()
        for event, name in list(self._names.items()):
            if not inside.guard(self._check_type, name):
                del self._names[event]
        for key, field in list(self._properties.items()):
            if not inside.guard(self._check_property, key, field):
                del self._properties[key]
        for name, how in (sequences or {}).items():
            inside.guard(self._add_sequence, name, how)

    def send(
        self, endpoint: str, json_message: str, api_key: object = None, api_secret: object = None
    ) -> bool:
        """Records a message of the client; returns whether any event in it was recorded. Ignores
        the API keys."""
        return self._inside.guard(self._take, endpoint, json_message)

    def flush(self) -> None:
        """Records interactions past their timeout. Apps may call it as on a BufferedConsumer, but
        no message is buffered here."""
        self._inside.guard(self._expire)

    def adopt(self, client: Client) -> Client:
        """Replaces the method `alias` of `client` and returns `client`. `alias` is the only method
        that connects to Mixpanel even with another consumer; its calls are now dropped and
        counted."""

        def alias(*_: object, **__: object) -> None:
            self._dropped.add("identity")

        client.alias = alias  # type: ignore[attr-defined]
        return client

    def statistics(self) -> Statistics:
        """Returns the counts of this process for a developer. They are not sent anywhere."""
        recorded = self._recorded.totals().get("event", 0)
        return Statistics(
            recorded=recorded, dropped=self._dropped.totals(), left_out=self._left_out.totals()
        )

    # Called only under the guard of the recorder:

    def _take(self, endpoint: str, message: str) -> bool:
        if endpoint != "events":
            return self._drop(_ENDPOINTS.get(endpoint, "unknown-endpoint"))
        if len(message) > MESSAGE_MAX:
            return self._drop("oversize")
        try:
            found = json.loads(message)
        except (ValueError, RecursionError):
            return self._drop("malformed")
        # A BufferedConsumer passes its messages on as a list.
        kept = [self._event(one) for one in (found if isinstance(found, list) else [found])]
        return any(kept)

    def _event(self, message: object) -> bool:
        event = message.get("event") if isinstance(message, dict) else None
        properties = message.get("properties") if isinstance(message, dict) else None
        if not isinstance(event, str) or not isinstance(properties, dict):
            return self._drop("malformed")
        if event in IDENTITY_EVENTS:
            return self._drop("identity")
        self._expire()
        self._sign(properties)
        name = self._names.get(event) or type_name(event)
        known = self._types.get(name) if name is not None else None
        steps = [one for one in self._interactions if self._interactions[one].takes(event)]
        if known is None and not steps:
            return self._drop("unknown-event")
        used: set[str] = set()
        left: dict[str, str] = {}
        outcomes = [self._step(one, event, properties, used, left) for one in steps]
        # If the event is a step, it does not also record a sequence of the same name.
        if known is not None and not (known.kind == "sequence" and steps):
            outcomes.append(self._record(known, event, properties, used, left))
        if "" not in outcomes:
            return self._drop(outcomes[0])
        self._recorded.add("event")
        for key, why in left.items():
            if key not in used:
                self._left_out.add(why)
        return True

    def _record(
        self,
        known: EventType,
        event: str,
        properties: dict[str, Any],
        used: set[str],
        left: dict[str, str],
    ) -> str:
        """Records one event. Returns "" or the reason why it was not recorded."""
        if known.kind == "sequence":
            return "no-steps"
        if not self._on(known.name):
            return "not-recorded"
        values = self._values(known, properties, used, left)
        if known.kind == "state" and self._facts:
            values = {**self._recorder.facts(known.name), **values}
        if known.kind != "count":
            return "" if self._recorder.record(known.name, **values) else "not-recorded"
        n = 1
        key = self._amounts.get(event)
        if key is not None:
            amount = properties.get(key)
            if isinstance(amount, bool) or not isinstance(amount, int | float):
                return "no-amount"
            if not amount >= 1:  # also for NaN
                return "no-amount"
            n = int(min(amount, COUNT_MAX))
            used.add(key)
        return "" if self._recorder.count(known.name, n, **values) else "not-recorded"

    def _step(
        self,
        name: str,
        event: str,
        properties: dict[str, Any],
        used: set[str],
        left: dict[str, str],
    ) -> str:
        values: dict[str, object] = {}
        if self._on(name):
            values = self._values(self._types[name], properties, used, left)
        # Python's salted hash: the id itself is not kept, even in memory.
        who = hash((name, str(properties.get("distinct_id"))))
        return self._interactions[name].step(event, who, values, self._inside.monotonic())

    def _sign(self, properties: dict[str, Any]) -> None:
        """Records each of the `active` types, if it was not recorded today."""
        today = self._inside.now() // DAY
        for name in self._active:
            if self._signed.get(name) == today or not self._on(name):
                continue
            values = self._values(self._types[name], properties, set(), {})
            if self._facts:
                values = {**self._recorder.facts(name), **values}
            if self._recorder.record(name, **values):
                self._signed[name] = today

    def _on(self, name: str) -> bool:
        """Whether the type may be recorded now; if not, the properties are not read."""
        return self._inside.is_on(name)

    def _values(
        self,
        known: EventType,
        properties: dict[str, Any],
        used: set[str],
        left: dict[str, str],
    ) -> dict[str, object]:
        """Returns the values by field of the properties that the type declares. Adds their names to
        `used`, and the names of the other properties to `left` with a reason."""
        fields = self._fields.get(known.name)
        if fields is None:
            fields = self._fields[known.name] = {field.name: field for field in known.fields}
        values: dict[str, object] = {}
        for key, raw in properties.items():
            name = self._properties.get(key) or field_name(key)
            field = fields.get(name) if name is not None else None
            if field is None:
                left[key] = _why_not(key)
            elif field.source is not None:
                left[key] = "filled-in-by-the-node"
            elif (value := fitting(field, raw)) is None:
                left[key] = "empty" if raw is None else "wrong-value"
            else:
                values[field.name] = value
                used.add(key)
        return values

    def _expire(self) -> bool:
        monotonic = self._inside.monotonic()
        for one in self._interactions.values():
            one.expire(monotonic)
        return True

    def _drop(self, reason: str) -> bool:
        self._dropped.add(reason)
        return False

    def _check_type(self, name: str) -> bool:
        if name not in self._types:
            raise _wrong(f"no event type {name!r} in the catalog")
        return True

    def _check_property(self, key: str, field: str) -> bool:
        if key in IDENTIFIERS:
            raise _wrong(f"{key} identifies a person or machine; no field may contain it")
        if not any(one.field(field) for one in self._types.values()):
            raise _wrong(f"no event type in the catalog has a field {field!r}")
        return True

    def _check_active(self, name: str) -> bool:
        if self._check_type(name) and self._types[name].kind != "state":
            raise _wrong(f"{name} is of kind {self._types[name].kind}; active needs a state")
        return True

    def _add_sequence(self, name: str, how: Steps | Mapping[str, str]) -> bool:
        how = how if isinstance(how, Steps) else Steps(how)
        self._check_type(name)
        declared = self._types[name].sequence
        if declared is None or not how.steps:
            raise _wrong(f"{name} is not of kind sequence, or has no steps here")
        unknown = sorted(set(how.steps.values()) - set(declared.steps))
        unknown += sorted(how.last() - set(how.steps))
        if unknown:
            raise _wrong(
                f"{name}: not a declared step, or not an event of it: {', '.join(unknown)}"
            )
        self._interactions[name] = Interactions(self._recorder, name, how)
        return True


def _why_not(key: str) -> str:
    if key in IDENTIFIERS:
        return "identifier"
    return "reserved" if is_reserved(key) else "undeclared"


def _wrong(message: str) -> LocalError:
    return LocalError("wrong-mapping", message, "see docs/mixpanel.md")

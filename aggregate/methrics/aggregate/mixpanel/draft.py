"""Makes a catalog draft from a Mixpanel export, with a list of what it leaves out and why.

The export shows which fields are possible, but not why the app needs them. So the question, the
reason, the owner, the review and the contact are empty in the draft, and the lint refuses it until
a person has filled them in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from methrics.aggregate.mixpanel.infer import Declared, field_of
from methrics.aggregate.mixpanel.sketch import Event, Summary
from methrics.aggregate.mixpanel.toml import YEAR, Draft, Drafted, LeftOut, known_type
from methrics.node.bridges.naming import field_name, type_name
from methrics.schema.errors import LocalError
from methrics.schema.wire.limits import TYPES_MAX

OFTEN = 5
"""If a person causes at least this many events of a name per day, the draft declares a count
instead of one report for each event."""
FIELD_BITS = 24
"""Maximum entropy of the fields of a drafted type, in bits. More could identify people."""
SIGNS = ("heartbeat", "retention")
"""The drafted types that count any activity."""


def draft(
    summary: Summary, *, label: str, now: int, funnels: Mapping[str, Sequence[str]] | None = None
) -> Draft:
    """Draft a catalog from the summary of an export.

    `funnels` maps the names of types of kind sequence to their events in order. Raises LocalError,
    code wrong-funnel, for a funnel that is not possible.
    """
    left: list[LeftOut] = []
    types = list(_signs(summary, left))
    taken = {one.name for one in types}
    steps: set[str] = set()
    for name, events in (funnels or {}).items():
        types.append(_funnel(summary, name, events, taken, left))
        taken.add(name)
        steps.update(events)
    order = sorted(summary.events.values(), key=lambda one: (-one.people.total(), -one.n, one.name))
    for event in order:
        if event.name in steps:
            continue
        found = _event(event, summary, taken, left, room=len(types) < TYPES_MAX)
        if found is not None:
            types.append(found)
            taken.add(found.name)
    left += [LeftOut("", key, "made by Mixpanel", n) for key, n in summary.reserved.most_common()]
    if summary.more_events:
        why = f"events of more than {len(summary.events)} names"
        left.append(LeftOut("(more)", "", why, summary.more_events))
    types = [_fitted(one, left, now) for one in types]
    return Draft(label, types, left, (now + YEAR) // 86_400 * 86_400)


def _signs(summary: Summary, left: list[LeftOut]) -> Iterable[Drafted]:
    fields = []
    order = sorted(summary.shared.items(), key=lambda one: (-one[1].present, one[0]))
    for name, seen in order:
        found = field_of(seen, name, summary.least)
        if isinstance(found, str):
            left.append(LeftOut("", seen.name, found, seen.present))
        else:
            fields.append(found)
    yield Drafted("heartbeat", "state", "any event", fields)
    yield Drafted("retention", "state", "any event", [])


def _event(
    event: Event, summary: Summary, taken: set[str], left: list[LeftOut], *, room: bool
) -> Drafted | None:
    name = type_name(event.name)
    people = event.people.total()
    why = ""
    if name is None:
        why = "its name cannot become the name of a type; map it with `names`"
    elif name in SIGNS:
        why = f"{name} counts any activity"
    elif name in taken:
        why = f"another spelling of {name}"
    elif people < summary.least:
        why = f"fewer than {summary.least} people did it"
    elif not room:
        why = f"a catalog has at most {TYPES_MAX} types"
    if why or name is None:
        left.append(LeftOut(event.name, "", why, event.n))
        return None
    often = event.n >= OFTEN * event.person_days.total()
    return Drafted(name, "count" if often else "event", event.name, _fields(event, summary, left))


def _fields(event: Event, summary: Summary, left: list[LeftOut]) -> list[Declared]:
    found: dict[str, Declared] = {}
    order = sorted(event.properties.values(), key=lambda one: (-one.present, one.name))
    for seen in order:
        name = field_name(seen.name)
        field: Declared | str
        if name is None:
            field = "its name cannot become the name of a field; map it with `properties`"
        elif name in found:
            field = f"another spelling of {name}"
        else:
            field = field_of(seen, name, summary.least)
        if isinstance(field, str):
            left.append(LeftOut(event.name, seen.name, field, seen.present))
        else:
            found[field.name] = field
    if event.more_properties:
        why = f"more than {len(event.properties)} properties"
        left.append(LeftOut(event.name, "(more)", why, event.more_properties))
    return list(found.values())


def _funnel(
    summary: Summary, name: str, events: Sequence[str], taken: set[str], left: list[LeftOut]
) -> Drafted:
    steps = tuple(type_name(event) or "" for event in events)
    missing = [event for event in events if event not in summary.events]
    if missing:
        raise _wrong(f"the export has no event {missing[0]!r}")
    if len(steps) < 2 or "" in steps or len(set(steps)) < len(steps) or type_name(name) != name:
        raise _wrong(f"{name} needs a name and two steps or more with names of their own")
    if name in taken or name in SIGNS:
        raise _wrong(f"{name} is the name of another type")
    first = summary.events[events[0]]
    return Drafted(name, "sequence", first.name, _fields(first, summary, left), steps)


def _wrong(message: str) -> LocalError:
    return LocalError("wrong-funnel", message, "such as --funnel 'signin=Shown>Email given>Done'")


def _fitted(one: Drafted, left: list[LeftOut], now: int) -> Drafted:
    """Remove the last fields of a type if all of its fields are too many for one report."""
    while True:
        known = known_type(one, now)
        if known is not None and known.field_bits <= FIELD_BITS:
            return one
        if not one.fields:
            raise _wrong(f"{one.name} has too many steps")
        last = one.fields[-1]
        why = "with the fields before it, it would tell people apart"
        left.append(LeftOut(one.event, last.key, why, 0))
        one = one._replace(fields=one.fields[:-1])

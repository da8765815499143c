"""Compare two catalogs, and find the event types that people must be asked about again.

People are asked again about an event type if its reports could reveal more about a person, are
kept longer, leave sooner, or have more precise times. They are not asked again if its reports
reveal less, or if only wording changes that does not affect the reports. A field with randomized
response always asks again if its values change, even to fewer: its new answer is independent of the
earlier one, so both together reveal more.
"""

from __future__ import annotations

from collections.abc import Iterable

from methrics.schema.catalog.declares import Declares
from methrics.schema.catalog.event_type import PSEUDONYMS, EventType, Release
from methrics.schema.catalog.fields import EPSILON_MAX, Field


class Change:
    """One difference. If `asks_again` is true, people must answer again for event type `type`."""

    __slots__ = ("asks_again", "message", "type", "where")

    def __init__(self, type: str, where: str, message: str, asks_again: bool) -> None:
        self.type = type
        self.where = where
        self.message = message
        self.asks_again = asks_again

    def __str__(self) -> str:
        return f"{self.where}: {self.message}{' (asks again)' if self.asks_again else ''}"

    def __repr__(self) -> str:
        return f"Change({str(self)!r})"


def diff(old: Declares, new: Declares) -> list[Change]:
    """List the differences between two catalogs or sources that matter to the people asked."""
    changes: list[Change] = []
    for name in new.types:
        if name not in old.types:
            changes.append(Change(name, f"types.{name}", "is new", True))
        else:
            changes += _diff_type(old.types[name], new.types[name])
    for name in old.types:
        if name not in new.types:
            changes.append(Change(name, f"types.{name}", "is gone", False))
    return changes


def asks_again(changes: Iterable[Change]) -> set[str]:
    """Return the names of the event types that people must answer for again."""
    return {change.type for change in changes if change.asks_again}


def _diff_type(old: EventType, new: EventType) -> list[Change]:
    where = f"types.{new.name}"
    changes: list[Change] = []

    def note(part: str, message: str, again: bool) -> None:
        changes.append(Change(new.name, f"{where}.{part}" if part else where, message, again))

    if old.kind != new.kind:
        note("kind", f"was {old.kind}, is {new.kind}", True)
    for part in ("question", "why", "owner"):
        before, after = getattr(old, part), getattr(new, part)
        if before != after:
            # People agreed to a purpose (METH-11); the question only words it.
            note(part, f"was {before!r}, is {after!r}", part != "question")
    for part in ("review", "chart", "entropy_bits", "work", "lateness"):
        before, after = getattr(old, part), getattr(new, part)
        if before != after:
            note(part, f"was {before}, is {after}", False)
    for part in ("retention_days", "expires"):
        before, after = getattr(old, part), getattr(new, part)
        if before != after:
            # A later expiry collects the same facts for longer, so people are not asked again.
            note(part, f"was {before}, is {after}", part == "retention_days" and after > before)
    before, after = PSEUDONYMS.index(old.pseudonym), PSEUDONYMS.index(new.pseudonym)
    if before != after:
        note("pseudonym", f"was {old.pseudonym}, is {new.pseudonym}", after > before)
    if old.resolution != new.resolution:
        message = f"was {old.resolution} seconds, is {new.resolution}"
        note("resolution", message, new.resolution % old.resolution != 0)
    changes += _diff_release(new.name, old.release, new.release)
    changes += _diff_extras(old, new)
    changes += _diff_fields(old, new)
    return changes


def _diff_release(name: str, old: Release, new: Release) -> list[Change]:
    where = f"types.{name}.release"
    changes = []
    for part, before, after in (
        ("delay", old.delay, new.delay),
        ("jitter", old.jitter, new.jitter),
    ):
        if before != after:
            message = f"was {before} seconds, is {after}"
            changes.append(Change(name, f"{where}.{part}", message, after < before))
    if old.every != new.every:
        # Reports that leave more often, or at more regular intervals, reveal more about a person.
        again = old.every is None or (
            new.every is not None
            and (new.every[0] < old.every[0] or _spread(new.every) < _spread(old.every))
        )
        message = f"was {_range(old.every)}, is {_range(new.every)}"
        changes.append(Change(name, f"{where}.every", message, again))
    return changes


def _spread(every: tuple[int, int]) -> int:
    return every[1] - every[0]


def _range(every: tuple[int, int] | None) -> str:
    return "none" if every is None else f"{every[0]} to {every[1]} seconds"


def _diff_extras(old: EventType, new: EventType) -> list[Change]:
    where = f"types.{new.name}"
    changes = []
    if old.max_count is not None and new.max_count is not None:
        if old.max_count != new.max_count:
            message = f"was {old.max_count}, is {new.max_count}"
            again = new.max_count > old.max_count
            changes.append(Change(new.name, f"{where}.count.max", message, again))
        if old.window != new.window:
            message = f"was {old.window} seconds, is {new.window}"
            again = (new.window or 0) < (old.window or 0)
            changes.append(Change(new.name, f"{where}.count.window", message, again))
    if old.sequence is not None and new.sequence is not None:
        before, after = old.sequence, new.sequence
        for part, was, now, wider in (
            ("steps", before.steps, after.steps, not set(after.steps) <= set(before.steps)),
            (
                "offset_edges",
                before.offset_edges,
                after.offset_edges,
                not set(after.offset_edges) <= set(before.offset_edges),
            ),
            ("max_steps", before.max_steps, after.max_steps, after.max_steps > before.max_steps),
        ):
            if was != now:
                message = f"was {_listed(was)}, is {_listed(now)}"
                changes.append(Change(new.name, f"{where}.sequence.{part}", message, wider))
    if old.one_in != new.one_in:
        message = f"was {_listed(old.one_in)}, is {_listed(new.one_in)}"
        again = not set(new.one_in) <= set(old.one_in)
        changes.append(Change(new.name, f"{where}.one_in", message, again))
    return changes


def _listed(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _diff_fields(old: EventType, new: EventType) -> list[Change]:
    where = f"types.{new.name}.fields"
    before = {field.name: field for field in old.fields}
    after = {field.name: field for field in new.fields}
    changes = [
        Change(new.name, f"{where}.{name}", "is new", True) for name in after if name not in before
    ]
    changes += [
        Change(new.name, f"{where}.{name}", "is gone", False)
        for name in before
        if name not in after
    ]
    for name in after:
        if name in before and before[name] != after[name]:
            changes += _diff_field(new.name, f"{where}.{name}", before[name], after[name])
    if not changes and list(before) != list(after):
        changes.append(Change(new.name, where, "are in another order", False))
    return changes


def _diff_field(type: str, where: str, old: Field, new: Field) -> list[Change]:
    if old.type != new.type:
        return [Change(type, f"{where}.type", f"was {old.type}, is {new.type}", True)]
    changes = []
    if old.says != new.says:
        changes.append(Change(type, f"{where}.says", f"was {old.says!r}, is {new.says!r}", True))
    if old.source != new.source:
        message = f"was {old.source or 'the app'}, is {new.source or 'the app'}"
        changes.append(Change(type, f"{where}.source", message, True))
    if old.randomize != new.randomize:
        # Without randomized response, or with a larger epsilon, an answer reveals more. For a
        # smaller epsilon, the node randomizes its earlier answer again, which reveals nothing more.
        message = f"was {_answered(old)}, is {_answered(new)}"
        again = old.randomize is not None and old.randomize < (new.randomize or EPSILON_MAX + 1)
        changes.append(Change(type, f"{where}.randomize", message, again))
    for part in sorted({*old.params, *new.params}):
        before, after = old.params.get(part), new.params.get(part)
        if before != after:
            message = f"was {_listed(before)}, is {_listed(after)}"
            # With other values, a randomized answer is drawn anew, and adds to the earlier one.
            random = old.randomize is not None and new.randomize is not None
            other = random and set(old.listed()) != set(new.listed())
            again = other or _wider(new.type, part, before, after)
            changes.append(Change(type, f"{where}.{part}", message, again))
    return changes


def _answered(field: Field) -> str:
    if field.randomize is None:
        return "always the true value"
    return f"randomized with epsilon {field.randomize / 1000:g}"


def _wider(type: str, part: str, before: object, after: object) -> bool:
    """Tell whether a reader can now distinguish values that were indistinguishable before."""
    if part == "unit":
        return True  # the edges now mean something else
    if after is None:
        return True  # a sublist of countries or languages became the whole list
    if before is None:
        return False
    if type == "version":
        old, new = _numbers(before), _numbers(after)
        return len(new) > len(old) or any(n > o for n, o in zip(new, old, strict=False))
    if isinstance(before, list) and isinstance(after, list):
        return not set(after) <= set(before)
    return not (isinstance(before, int) and isinstance(after, int) and after <= before)


def _numbers(value: object) -> list[int]:
    return [n for n in value if isinstance(n, int)] if isinstance(value, list) else []

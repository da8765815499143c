"""What a recorder returns and what it shows the bridges besides its public methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from methrics.node.clock import Clock
from methrics.node.consent.switch import ConsentSwitch

if TYPE_CHECKING:
    from methrics.schema.catalog.event_type import EventType

Guard = Callable[..., bool]
"""`guard(work, *args)` returns `work(*args)`. If `work` raises, the error is counted and the result
is False; a strict recorder raises a MethricsError again."""


class Statistics(NamedTuple):
    """Counts of one recorder since it was opened, in this process. `rule`: the rule that decides
    about consent ("answer": the user's answers per type). `dropped`: counts of what was not
    recorded, by reason. `publisher`: why reports do not leave, as `<code>: <sentence>`; "" if
    nothing is known to be wrong, or without consent."""

    namespace: str
    rule: str
    recorded: int
    dropped: dict[str, int]
    publisher: str = ""


class RecorderInside:
    """The inner side of a recorder, from `Recorder.inside`.

    `types`: the app's event types by name. `guard`: runs every call of a bridge that may raise, so
    that no error reaches the app. `finish`: records the open sequences; never raises.
    """

    __slots__ = ("_clock", "_switch", "finish", "guard", "types")

    def __init__(
        self,
        types: Mapping[str, EventType],
        guard: Guard,
        switch: ConsentSwitch,
        clock: Clock,
        finish: Callable[[], None],
    ) -> None:
        self.finish = finish
        self.types = types
        self.guard = guard
        self._switch = switch
        self._clock = clock

    def is_on(self, type_name: str) -> bool:
        """Whether the type may be recorded now: the person has agreed, and no rule forbids it."""
        return self._switch.effective(type_name, self._clock.monotonic()).on

    def answer_time(self, type_name: str) -> str:
        """Returns the time of the person's current answer, in the form of `Answer.time`; "" if
        there is no answer. A yes does not cover sums that began before it."""
        return self._switch.answer_time(type_name)

    def now(self) -> int:
        """Returns whole seconds since 1970-01-01 UTC."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Returns seconds on a clock that never goes back."""
        return self._clock.monotonic()

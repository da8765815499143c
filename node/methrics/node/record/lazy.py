"""Loads what not every app needs, on first use: the modules of questions, reports and facts.

Recording stays light without them. A fork waits while they are loaded (process/loading.py).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from methrics.node.process.foreign import pass_on
from methrics.node.process.loading import loading
from methrics.schema.errors import MethricsError, StoreError

if TYPE_CHECKING:
    from methrics.node.consent.asking import Asking
    from methrics.node.consent.questions import Question
    from methrics.node.mine.mine import Mine
    from methrics.node.paths import Paths
    from methrics.schema.catalog.event_type import EventType


@contextlib.contextmanager
def loads() -> Iterator[None]:
    """To be used around an import. Raises StoreError if the modules cannot be read now."""
    with loading.hold():
        try:
            yield
        except OSError as error:
            pass_on(error)
            raise StoreError(
                "not-loaded",
                f"cannot load methrics: {error.strerror or error}",
                "close some files, then try again",
            ) from error


def asking_class() -> type[Asking]:
    """Returns the class `Asking`. Raises StoreError."""
    with loads():
        from methrics.node.consent.asking import Asking
    return Asking


def mine_class() -> type[Mine]:
    """Returns the class `Mine`. Raises StoreError."""
    with loads():
        from methrics.node.mine.mine import Mine
    return Mine


def look_up_facts(
    event_type: EventType,
    shared: Collection[str] | None,
    address: str,
    geoip: str,
    failed: Callable[[MethricsError], object],
) -> dict[str, object]:
    """Returns the facts of this machine (`report.facts.facts_of`). Raises StoreError."""
    with loads():
        from methrics.node.report.facts import facts_of
    return facts_of(event_type, shared, address, geoip, failed)


def find_questions(
    asking: Asking, starts: int | None, used_seconds: float | None
) -> list[Question]:
    """Returns the open questions; if `starts` or `used_seconds` is given, those that are due.
    Raises StoreError."""
    with loads():
        from methrics.node.consent.questions import Uses
    if starts is None and used_seconds is None:
        return asking.questions()
    return asking.questions(Uses(starts or 0, used_seconds or 0.0))


def ask_here(asking: Asking, starts: int, used_seconds: float) -> bool:
    """Asks the person at the terminal, if it is time to ask. Returns whether it asked. Raises
    StoreError, and KeyboardInterrupt after Ctrl-C."""
    with loads():
        from methrics.node.consent.questions import Uses
        from methrics.node.consent.terminal import ask_in_terminal
    uses = Uses(starts, used_seconds)
    return ask_in_terminal(asking, uses, stdin=sys.stdin, stdout=sys.stdout)


def find_problem(paths: Paths, namespace: str, *, process: bool) -> str:
    """Returns why reports do not leave (`publish.child.publisher_problem`). Raises StoreError."""
    with loads():
        from methrics.node.publish.child import publisher_problem
    return publisher_problem(paths, namespace, process=process)

"""What a recorder needs of the process: a flush when the app exits, and at most one log line."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import logging


class Closable(Protocol):
    """Anything with a `close` that is quick and never raises."""

    def close(self) -> None: ...


_open: set[Closable] = set()
_state = {"registered": False, "warned": False, "leaving": False}


def at_exit(thing: Closable) -> None:
    """Closes `thing` when the app exits, unless `forget` comes first."""
    _open.add(thing)
    if not _state["registered"]:
        _state["registered"] = True
        atexit.register(_close_all)


def forget(thing: Closable) -> None:
    """`thing` was closed by its owner."""
    _open.discard(thing)


def warn_once(text: str) -> None:
    """One line on the logger `methrics`, the first time in this process only (DEB-4: an app must
    not be flooded). Nothing is shown unless the app gave that logger a handler."""
    if _state["warned"]:
        return
    _state["warned"] = True
    quiet_logger().warning("%s (further such lines are only counted: Recorder.statistics())", text)


def quiet_logger() -> logging.Logger:
    """The logger `methrics`, of which nothing is shown unless the app gave it, or the root logger,
    a handler: without any, Python itself would print warnings into the app's standard error."""
    import logging

    logger = logging.getLogger("methrics")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    return logger


def leaving() -> bool:
    """Whether the app is exiting, so that nothing may be begun that somebody has to end."""
    return _state["leaving"]


def _close_all() -> None:
    _state["leaving"] = True
    for thing in list(_open):
        thing.close()

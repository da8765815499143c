"""Closes recorders when the app exits, and limits their log to one line per process."""

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
    """No longer closes `thing` at exit, because its owner has closed it."""
    _open.discard(thing)


def warn_once(text: str) -> None:
    """Logs one warning on the logger `methrics`, the first time in this process only (DEB-4: an
    app's log must not be flooded). It is shown only if the app gave that logger a handler."""
    if _state["warned"]:
        return
    _state["warned"] = True
    quiet_logger().warning("%s (further such lines are only counted: Recorder.statistics())", text)


def quiet_logger() -> logging.Logger:
    """The logger `methrics` with a NullHandler, without which Python would print its warnings on
    the app's standard error. They are shown only if the app adds a handler, or has one at the
    root."""
    import logging

    logger = logging.getLogger("methrics")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    return logger


def leaving() -> bool:
    """Whether the app is exiting: then nothing may be started that has to be ended later."""
    return _state["leaving"]


def _close_all() -> None:
    _state["leaving"] = True
    for thing in list(_open):
        thing.close()

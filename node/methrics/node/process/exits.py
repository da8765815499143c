"""Closes recorders when the app exits, and limits their log to one line per process."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import logging


class Closable(Protocol):
    """An object whose `close` is quick and never raises."""

    def close(self) -> None: ...


_open: set[Closable] = set()
_state = {"registered": False, "warned": False, "leaving": False}


def at_exit(thing: Closable) -> None:
    """Closes `thing` when the app exits, unless `forget` is called first."""
    _open.add(thing)
    if not _state["registered"]:
        _state["registered"] = True
        atexit.register(_close_all)


def forget(thing: Closable) -> None:
    """No longer closes `thing` at exit, because its owner has closed it."""
    _open.discard(thing)


def warn_once(text: str) -> None:
    """Logs `text` as a warning on the logger `methrics`, but only the first time that it is called
    in this process, so that it does not flood an app's log (DEB-4). The warning is shown only if
    the app gave that logger or the root logger a handler."""
    if _state["warned"]:
        return
    _state["warned"] = True
    quiet_logger().warning("%s (further such lines are only counted: Recorder.statistics())", text)


def quiet_logger() -> logging.Logger:
    """Returns the logger `methrics` with a NullHandler. Without that handler, Python would print
    warnings on the app's standard error. With it, they are shown only if the app gave this logger
    or the root logger a handler."""
    import logging

    logger = logging.getLogger("methrics")
    if not any(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
        logger.addHandler(logging.NullHandler())
    return logger


def leaving() -> bool:
    """Whether the app is exiting; then no thread or process may be started that has to be ended."""
    return _state["leaving"]


def _close_all() -> None:
    _state["leaving"] = True
    for thing in list(_open):
        thing.close()

"""Finishes the work of recorders when the app exits, and limits their log to one line."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import TYPE_CHECKING

from methrics.node.process.foreign import is_of_the_app

if TYPE_CHECKING:
    import logging


_open: dict[object, Callable[[], None]] = {}
_state = {"registered": False, "warned": False, "leaving": False}


def at_exit(key: object, work: Callable[[], None]) -> None:
    """Calls `work` when the app exits, unless `forget(key)` is called first. A later call with the
    same `key` replaces the earlier one. `work` is quick and never raises."""
    _open[key] = work
    if not _state["registered"]:
        _state["registered"] = True
        atexit.register(_leave_all)


def forget(key: object) -> None:
    """Does nothing for `key` at exit, because its owner has done the work."""
    _open.pop(key, None)


def warn_once(text: str) -> None:
    """Logs `text` as a warning on the logger `methrics`, but only the first time that it is called
    in this process, so that it does not flood an app's log (DEB-4). The warning is shown only if
    the app gave that logger or the root logger a handler. Never raises: a process without free file
    descriptors cannot load `logging`. An error of the app's own signal handler passes through."""
    if _state["warned"]:
        return
    _state["warned"] = True
    try:
        tail = "(further such lines are only counted: Recorder.statistics())"
        quiet_logger().warning("%s %s", text, tail)
    except Exception as error:
        if is_of_the_app(error):
            raise


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


def _leave_all() -> None:
    _state["leaving"] = True
    for work in list(_open.values()):
        work()

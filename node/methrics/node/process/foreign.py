"""Tells an error of the app, which only passes through a call of ours, from an error of the call.

A signal handler of the app may raise inside any call, for example because of a time limit; another
thread may put an error into the running one (PyThreadState_SetAsyncExc). Such an error is not ours
to swallow. All others are: those of our own code, and those of values, clocks and other objects
that the app passed.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType

_OURS = frozenset({"methrics", "cbor2", "_cbor2", "nacl", "builtins", *sys.stdlib_module_names})
"""Top-level modules whose frames and errors belong to a call of ours."""

_UNWRAP = ("__func__", "__wrapped__", "func", "__call__")


def is_of_the_app(error: BaseException) -> bool:
    """Whether `error`, which was raised inside a call of ours, belongs to the app."""
    trace, foreign = error.__traceback__, False
    while trace is not None:
        if not _is_ours(trace.tb_frame):
            if trace.tb_frame.f_code in _signal_handlers():
                return True
            foreign = True
        trace = trace.tb_next
    return not foreign and type(error).__module__.partition(".")[0] not in _OURS


def pass_on(error: Exception) -> None:
    """Raises `error` again if a signal handler of the app raised it, such as a TimeoutError: to be
    called where an error of the operating system is handled."""
    if getattr(error, "errno", None) is None and is_of_the_app(error):
        raise error


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name != "__main__" and name.partition(".")[0] in _OURS


def _signal_handlers() -> set[CodeType]:
    """Returns the code of the signal handlers of this process that are written in Python."""
    signal = sys.modules.get("signal")  # a process that has a handler has imported it
    if signal is None:
        return set()
    found: set[CodeType] = set()
    for number in range(1, signal.NSIG):
        handler = signal.getsignal(number)
        for _ in range(len(_UNWRAP) + 1):
            code = getattr(handler, "__code__", None)
            if isinstance(code, CodeType):
                found.add(code)
                break
            handler = next(
                (getattr(handler, name) for name in _UNWRAP if hasattr(handler, name)), None
            )
    return found

"""Child processes of the demo: starts them, follows their logs, and always stops them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from methrics.node.clock import Clock
from methrics.schema.errors import LocalError

PAUSE = 0.1
"""Seconds between two checks of a condition."""

GRACE = 8.0
"""Seconds that a service has to store its data after it was asked to stop."""

_PR_SET_PDEATHSIG = 1


class DemoError(LocalError):
    """The demo failed. The message names the log file with the details."""


@dataclass
class Child:
    """One running process. `log` receives its output and its errors."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def running(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    def said(self, pattern: str) -> str | None:
        """Search the output so far for `pattern`. Returns its first group, or the whole match if it
        has no group; None if it is not found."""
        found = re.search(pattern, self.log.read_text("utf-8", errors="replace"))
        return None if found is None else found.group(1 if found.re.groups else 0)

    def last_line(self) -> str:
        """Return the last line of the output, which usually names the problem."""
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def failed(self, what: str) -> DemoError:
        """Return an error that describes the failure of this process and names its log."""
        said = self.last_line()
        return DemoError("demo-process", f"{self.name} {what}: {said}", f"see {self.log}")


class Fleet:
    """All processes of one demo. Leaving the `with` block stops every one of them.

    Inside the block, a SIGINT or SIGTERM is noted, and the next wait raises KeyboardInterrupt. If
    the signal handler raised it in the middle of a fork, Python's fork hooks would swallow it.
    """

    def __init__(self, logs: Path, env: dict[str, str], clock: Clock) -> None:
        self._logs = logs
        self._env = env
        self._clock = clock
        self._children: list[Child] = []
        self._interrupted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Fleet:
        self._logs.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(self._children)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self._interrupted = True

    def _pause(self, seconds: float) -> None:
        if not self._interrupted:
            self._clock.sleep(seconds)
        if self._interrupted:
            raise KeyboardInterrupt

    def start(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        """Start `python -m module arguments`; its output goes to `<logs>/<name>.log`."""
        log = self._logs / f"{name}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._env,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def wait_until(
        self,
        what: str,
        child: Child,
        look: Callable[[], object],
        seconds: float,
        pause: float = PAUSE,
    ) -> None:
        """Return once `look()` is true; it is called every `pause` seconds.

        Raises DemoError if `child` ends first or `seconds` are over.
        """
        deadline = self._clock.monotonic() + seconds
        while not look():
            if not child.running():
                if look():
                    return
                raise child.failed(f"ended with code {child.process.returncode}")
            if self._clock.monotonic() > deadline:
                raise child.failed(f"did not {what} within {seconds:.0f} s")
            self._pause(pause)

    def run_all(
        self,
        jobs: Sequence[tuple[str, str, Sequence[str]]],
        *,
        at_once: int,
        seconds: float,
        done: Callable[[Child], None],
    ) -> None:
        """Run jobs (name, module, arguments), `at_once` at a time, and call `done` for each job
        that succeeds.

        Raises DemoError when a job fails or takes more than `seconds`.
        """
        waiting = list(reversed(jobs))
        active: list[tuple[Child, float]] = []
        while waiting or active:
            while waiting and len(active) < at_once:
                active.append((self.start(*waiting.pop()), self._clock.monotonic() + seconds))
            for child, deadline in list(active):
                if child.running():
                    if self._clock.monotonic() > deadline:
                        raise child.failed(f"took more than {seconds:.0f} s")
                    continue
                if child.process.returncode != 0:
                    raise child.failed(f"ended with code {child.process.returncode}")
                active.remove((child, deadline))
                done(child)
            self._pause(PAUSE)

    def stop(self, children: Sequence[Child]) -> None:
        """Interrupt processes (SIGINT, like Ctrl-C); kill those that do not end within GRACE."""
        asked = [child for child in children if child.running()]
        for child in asked:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGINT)
        deadline = self._clock.monotonic() + GRACE
        for child in asked:
            try:
                child.process.wait(max(0.1, deadline - self._clock.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


def _die_with_parent() -> None:
    """In the child, on Linux: make it end if the demo is killed by a signal that the demo cannot
    catch."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def quiet_environment(home: Path) -> dict[str, str]:
    """Build the environment of the demo's processes, without the settings of the person who runs
    the demo.

    DO_NOT_TRACK and CI do not apply, because the reports stay on the loopback interface and are
    about invented people.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("METHRICS")}
    for name in ("DO_NOT_TRACK", "CI"):
        env.pop(name, None)
    return {**env, "METHRICS": "on", "METHRICS_HOME": str(home), "PYTHONUNBUFFERED": "1"}

"""The victims: `methrics relay` and `methrics aggregate` as processes, and what they cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio

LISTEN = "/ip4/127.0.0.1/tcp/0"
METHRICS = [sys.executable, "-m", "methrics.aggregate"]
PATIENCE = 60
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Service:
    """A process with `--json`; its output goes to a file, as a full pipe would hold it up."""

    def __init__(self, folder: Path, name: str, arguments: Sequence[str], **changes: str) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        env = {key: value for key, value in os.environ.items() if not key.startswith("METHRICS")}
        env |= {"PYTHONUNBUFFERED": "1", "METHRICS_HOME": str(folder / "home"), **changes}
        with self._log.open("ab") as log:
            log.write(b"\n")  # a process that was killed may have left half a line
            log.flush()
            self.process = subprocess.Popen(
                [*METHRICS, *arguments, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
            )

    def said(self) -> str:
        """All that the process has printed."""
        return self._log.read_text("utf-8", errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The events that the process has printed, or those of one name."""
        lines = self.said().split("\n")[:-1]
        whole = (line for line in lines if line.startswith("{") and line.endswith("}"))
        found = [json.loads(line) for line in whole]
        return [one for one in found if name in (None, one["event"])]

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    async def until(self, what: str, look: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait until `look()` is true; fail if the process ends before."""
        with trio.move_on_after(seconds):
            while not look():
                assert self.alive, f"{self.name} ended before it could {what}:\n{self.said()}"
                await trio.sleep(0.05)
            return
        raise AssertionError(f"{self.name} did not {what} in {seconds} s:\n{self.said()[-3000:]}")

    async def address(self) -> str:
        """The multiaddress at which the process listens, once it does."""
        await self.until("listen", lambda: self.events("listening"))
        return str(self.events("listening")[-1]["addrs"][0])

    @property
    def memory(self) -> float:
        """MiB of resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * _PAGE / 2**20

    @property
    def cpu(self) -> float:
        """Seconds of CPU time."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    async def stop(self) -> dict[str, Any]:
        """End it by SIGTERM, so that it stores or publishes what it holds; its last event."""
        self.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(PATIENCE):
            while self.alive:
                await trio.sleep(0.05)
        assert self.process.poll() == 0, self.said()[-3000:]
        (stopped,) = self.events("stopped")[-1:]
        return stopped

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()
        self.process.wait()


def relay(folder: Path, *options: str, name: str = "relay", rest: str = "0s") -> Service:
    """A relay that publishes what it gets at once."""
    quick = ["--batch-window", "0.2s", "--rest", rest, "--spread", "0s", "--listen", LISTEN]
    quick += ["--state", str(folder / f"{name}.state")]
    return Service(folder, name, ["relay", *quick, *options])


def aggregator(folder: Path, *options: str, name: str = "aggregate") -> Service:
    """An aggregator that stores in `<name>.duckdb`."""
    file = str(folder / f"{name}.duckdb")
    return Service(folder, name, ["aggregate", file, "--listen", LISTEN, *options])

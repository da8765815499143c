"""Runs questions in processes: starts them, reads their frames, and kills those that take too long.

A process serves one request at a time and is kept for the next. If its reader leaves or time is up,
it is killed, because a running SQL function cannot always be interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from subprocess import PIPE
from typing import Any

import trio

from methrics.aggregate.serve.frames import ERROR, HEAD, Frame, decode_head
from methrics.aggregate.serve.limits import Limits
from methrics.aggregate.store.scratch import plain_temporary, sweep
from methrics.schema.errors import StoreError

BUSY = "live-busy"
"""The code of the error when too many questions wait."""


class Process:
    """One worker process."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._buffer = bytearray()
        self.idle_since = 0.0

    async def ask(self, request: Mapping[str, Any]) -> None:
        """Send a request. Raises StoreError, code query, if the process has ended."""
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(json.dumps(request).encode() + b"\n")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise _ended() from None

    async def frame(self) -> Frame:
        """Return the next frame. Raises StoreError, code query, if the process has ended."""
        kind, length = decode_head(await self._exactly(HEAD.size))
        return Frame(kind, await self._exactly(length))

    async def _exactly(self, size: int) -> bytes:
        assert self._process.stdout is not None
        while len(self._buffer) < size:
            more = await self._process.stdout.receive_some(65_536)
            if not more:
                raise _ended()
            self._buffer += more
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def kill(self) -> None:
        """End the process at once, and remove the temporary files that it leaves. Not cancelled in
        between."""
        with trio.CancelScope(shield=True):
            self._process.kill()
            await self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    await trio.aclose_forcefully(pipe)
            await trio.to_thread.run_sync(sweep, plain_temporary())


class Workers:
    """The processes for one directory of Parquet. Run `tend` while they are in use."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self._free: list[Process] = []
        self._running = trio.CapacityLimiter(limits.processes)

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Process]:
        """Take a process for one request. If the block is left by an exception, it is killed.

        Raises StoreError `live-busy` if too many requests wait.
        """
        if self._running.statistics().tasks_waiting >= self._limits.waiting:
            raise StoreError(BUSY, "too many questions are being answered", "ask again later")
        async with self._running:
            one = self._free.pop() if self._free else await self._start()
            try:
                yield one
            except BaseException:
                await one.kill()
                raise
            one.idle_since = trio.current_time()
            self._free.append(one)

    async def ask(self, request: Mapping[str, Any]) -> Frame:
        """Return the one frame with which a request other than a question is answered."""
        async with self.process() as one:
            with timely(self._limits.seconds):
                await one.ask(request)
                return await one.frame()

    async def _start(self) -> Process:
        command = [
            sys.executable,
            "-m",
            "methrics.aggregate.serve.worker",
            str(self._directory),
            json.dumps(asdict(self._limits)),
        ]
        env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            started = await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE, env=env)
        except OSError as error:
            raise StoreError(BUSY, f"no process can be started: {error.strerror}") from error
        return Process(started)

    async def tend(self) -> None:
        """End processes that are idle for long, until cancelled; then end all."""
        try:
            while True:
                await trio.sleep(self._limits.idle_seconds / 4)
                latest = trio.current_time() - self._limits.idle_seconds
                old = [one for one in self._free if one.idle_since < latest]
                self._free = [one for one in self._free if one.idle_since >= latest]
                for one in old:
                    await one.kill()
        finally:
            for one in self._free:
                await one.kill()


_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "HOME", "VIRTUAL_ENV")
"""What a process gets of the environment: nothing secret."""


def error_of(frame: Frame) -> StoreError:
    """Return the error in a frame ERROR."""
    assert frame.kind == ERROR
    found = json.loads(frame.content)
    return StoreError(found["code"], found["message"], found["hint"])


@contextmanager
def timely(seconds: float) -> Iterator[None]:
    """Raise StoreError, code query, if the block takes longer than `seconds`."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise StoreError("query", f"the question takes longer than {seconds:g} s", "ask for less")


def _ended() -> StoreError:
    return StoreError(
        "query", "the question takes more memory than it may, or broke its process", "ask for less"
    )

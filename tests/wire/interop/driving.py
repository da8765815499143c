"""A stock peer in a process of its own, driven by JSON lines: js-libp2p or py-libp2p."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import trio

_PATIENCE = 60


class StockPeer:
    """Orders go in, answers and events come out. `floods`: it publishes beyond its mesh."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.peer_id = ""
        self.floods = False
        self.addr = ""
        self.events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = trio.Event()
        self._n = 0

    async def read(self) -> None:
        """Take lines until the process ends."""
        stdout = self.process.stdout
        assert stdout is not None
        pending = b""
        async for part in stdout:
            *lines, pending = (pending + part).split(b"\n")
            for line in lines:
                told = json.loads(line)
                if "n" in told:
                    self._answers[told["n"]] = told
                else:
                    self.events.append(told)
            self._changed.set()
            self._changed = trio.Event()

    async def until(self, **wanted: Any) -> dict[str, Any]:
        """The first event with these values."""
        with trio.fail_after(_PATIENCE):
            while True:
                for event in self.events:
                    if wanted.items() <= event.items():
                        return event
                await self._changed.wait()

    async def order(self, do: str, **details: Any) -> Any:
        """Have one thing done and return its outcome; `RuntimeError` if it failed."""
        self._n += 1
        n = self._n
        assert self.process.stdin is not None
        await self.process.stdin.send_all(
            json.dumps({"n": n, "do": do, **details}).encode() + b"\n"
        )
        with trio.fail_after(_PATIENCE):
            while n not in self._answers:
                await self._changed.wait()
        answer = self._answers.pop(n)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    async def publish(self, topic: str, data: bytes) -> int:
        """To how many peers it has been sent."""
        sent = await self.order("publish", topic=topic, data=base64.b64encode(data).decode())
        return int(sent)

    def digests(self, topic: str) -> list[str]:
        """SHA-256 of every message that the peer has delivered, in order."""
        told = [e for e in self.events if e["event"] == "message" and e["topic"] == topic]
        assert {e["type"] for e in told} <= {"signed"}
        return [e["digest"] for e in told]

    async def mesh(self, topic: str) -> set[str]:
        """The peers in its mesh of a topic."""
        return set(await self.order("mesh", topic=topic))

    async def until_meshed(self, topic: str, peer_id: str) -> None:
        """Wait until its mesh of a topic has this peer."""
        with trio.fail_after(_PATIENCE):
            while peer_id not in await self.mesh(topic):
                await trio.sleep(0.1)

    async def until_delivered(self, topic: str, messages: list[bytes]) -> None:
        wanted = {hashlib.sha256(data).hexdigest() for data in messages}
        with trio.fail_after(_PATIENCE):
            while not wanted <= set(self.digests(topic)):
                await self._changed.wait()


@contextlib.asynccontextmanager
async def driven(command: list[str]) -> AsyncIterator[StockPeer]:
    """A running peer, which `command` starts."""
    pipe = subprocess.PIPE
    open_process = partial(trio.run_process, stdin=pipe, stdout=pipe, check=False)
    environment = {**os.environ, "NODE_NO_WARNINGS": "1"}
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(open_process, env=environment), command)
        peer = StockPeer(process)
        nursery.start_soon(peer.read)
        try:
            ready = await peer.until(event="ready")
            peer.peer_id, peer.addr = ready["peer"], ready["addr"]
            yield peer
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            nursery.cancel_scope.deadline = trio.current_time() + 5

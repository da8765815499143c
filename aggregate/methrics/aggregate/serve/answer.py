"""Streams the answer to one question as Arrow, no faster than its reader takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import trio
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.serve.frames import ARROW, END, ERROR, Frame
from methrics.aggregate.serve.limits import Limits
from methrics.aggregate.serve.workers import BUSY, Process, Workers, error_of, timely
from methrics.node.http.server import CutError
from methrics.schema.errors import StoreError

ARROW_STREAM = "application/vnd.apache.arrow.stream"


def failure(error: StoreError, status: int = 0) -> Response:
    """Return the answer that tells an error: its code, sentence and hint."""
    status = status or (503 if error.code == BUSY else 400)
    found = {"code": error.code, "message": error.message, "hint": error.hint}
    return JSONResponse(found, status, {"Retry-After": "5"} if error.code == BUSY else None)


class Answer(Response):
    """The answer to one question. It holds a worker process while it is sent."""

    def __init__(
        self, question: Mapping[str, Any], workers: Workers, limits: Limits, figures: Figures
    ) -> None:
        self._question = question
        self._workers = workers
        self._limits = limits
        self._figures = figures
        self._begun = False
        self._left = limits.seconds
        """Seconds that the worker may still take. Those of the reader do not count."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. Ends at once, with the worker, when the reader has left."""
        outcome, began = "left", trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_left, receive, nursery.cancel_scope)
                outcome = await self._send(scope, receive, send)
                nursery.cancel_scope.cancel()
        finally:
            self._figures.answered(outcome, trio.current_time() - began)
        if outcome == "broken":
            raise CutError

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> str:
        try:
            async with self._workers.process() as process:
                first = await self._frame(process, self._question)
                if first.kind == ERROR:
                    error = error_of(first)
                else:
                    return await self._stream(process, first, send)
        except StoreError as raised:
            error = raised
        if self._begun:
            return "broken"
        await failure(error)(scope, receive, send)
        return "busy" if error.code == BUSY else "refused"

    async def _frame(self, process: Process, question: Mapping[str, Any] | None = None) -> Frame:
        """Send `question`, if it is given, and return the next frame. A worker that computes for
        too long, also after the first rows, is killed."""
        began = trio.current_time()
        with timely(self._left):
            if question is not None:
                await process.ask(question)
            frame = await process.frame()
        self._left = max(0.0, self._left - (trio.current_time() - began))
        return frame

    async def _stream(self, process: Process, ready: Frame, send: Send) -> str:
        written = str(json.loads(ready.content)["written"] or "").encode()
        with timely(self._limits.answer_seconds):
            self._begun = True
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", ARROW_STREAM.encode()),
                        (b"methrics-written", written),
                        (b"x-content-type-options", b"nosniff"),
                        (b"cache-control", b"no-store"),
                    ],
                }
            )
            while (frame := await self._frame(process)).kind == ARROW:
                with trio.fail_after(self._limits.stall_seconds):
                    await send(
                        {"type": "http.response.body", "body": frame.content, "more_body": True}
                    )
            if frame.kind != END:
                return "broken"
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        return "answered"


async def _until_left(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()

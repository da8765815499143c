"""The routes of the live endpoint: /status, /metrics, /tables, /footnote and /query."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from methrics.aggregate.collect.figures import Figures
from methrics.aggregate.collect.freshness import Freshness
from methrics.aggregate.read.live import KIND, REFUSED
from methrics.aggregate.read.totals import FLOOR
from methrics.aggregate.serve.answer import Answer, failure
from methrics.aggregate.serve.callers import refusal
from methrics.aggregate.serve.frames import ERROR
from methrics.aggregate.serve.limits import Limits
from methrics.aggregate.serve.metrics import Exposition
from methrics.aggregate.serve.workers import Workers, error_of
from methrics.schema.errors import StoreError

BODY_MAX = 256 * 1024
"""Maximum size of a request's body in bytes."""

FLOOR_MAX = 1_000_000
"""Maximum floor that can be asked for."""


class Endpoint:
    """The endpoint of one aggregator. `app` is the ASGI application; run `workers.tend` beside it.

    `names` are the host names by which it may be asked; empty for any.
    """

    def __init__(
        self,
        figures: Figures,
        freshness: Freshness,
        workers: Workers,
        limits: Limits,
        instance: str,
        names: Collection[str],
    ) -> None:
        self._figures = figures
        self._freshness = freshness
        self._workers = workers
        self._limits = limits
        self._instance = instance
        self._exposition = Exposition(figures)
        routes = [
            Route("/status", _guarded(self._status)),
            Route("/metrics", _guarded(self._metrics)),
            Route("/tables", _guarded(self._contents)),
            Route("/footnote", _guarded(self._footnote)),
            Route("/query", _guarded(self._query), methods=["POST"]),
        ]
        self.app: ASGIApp = _Gate(Starlette(routes=routes), names)

    async def _status(self, request: Request) -> Response:
        await self._figures.disk.measure()
        found = asdict(self._figures.snapshot())
        return JSONResponse({"kind": KIND, "instance": self._instance, **found})

    async def _metrics(self, request: Request) -> Response:
        await self._figures.disk.measure()
        return Response(self._exposition.text(), media_type=self._exposition.media_type)

    async def _contents(self, request: Request) -> Response:
        question = {"ask": "contents", "floor": _floor(request.query_params)}
        # As new as an answer: the first reports of an event type bring its table and views.
        await self._freshness.ask(self._limits.patience)
        return await self._ask(question)

    async def _footnote(self, request: Request) -> Response:
        view = request.query_params.get("view", "")
        return await self._ask(
            {"ask": "footnote", "view": view, "floor": _floor(request.query_params)}
        )

    async def _ask(self, request: dict[str, Any]) -> Response:
        frame = await self._workers.ask(request)
        if frame.kind == ERROR:
            raise error_of(frame)
        return Response(frame.content, media_type="application/json")

    async def _query(self, request: Request) -> Response:
        question = _question(await _body(request))
        await self._freshness.ask(self._limits.patience)
        return Answer(question, self._workers, self._limits, self._figures)


Handler = Callable[[Request], Awaitable[Response]]


def _guarded(handler: Handler) -> Handler:
    """Turn the errors of a handler into answers with the same code and sentence."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except StoreError as error:
            return failure(error)
        except ClientDisconnect:
            return Response(status_code=400)

    return answer


class _Gate:
    """Refuses requests from web pages and for other hosts, and all that is not HTTP."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            why = refusal(scope["headers"], self._names, posted=scope["method"] == "POST")
            if why is not None:
                await failure(StoreError(REFUSED, why), 403)(scope, receive, send)
                return
        elif scope["type"] != "lifespan":
            raise NotImplementedError(f"{scope['type']} is not served")
        await self._app(scope, receive, send)


async def _body(request: Request) -> bytes:
    body = bytearray()
    with trio.move_on_after(30) as slow:
        async with aclosing(request.stream()) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > BODY_MAX:
                    raise StoreError("query", f"a request is at most {BODY_MAX:,} bytes")
    if slow.cancelled_caught:
        raise StoreError("query", "the request did not arrive in time")
    return bytes(body)


def _question(body: bytes) -> dict[str, Any]:
    """Read a question: an object with `sql`, and perhaps `parameters` and `floor`.

    Raises StoreError, code query.
    """
    try:
        found = json.loads(body)
        sql, parameters = found["sql"], found.get("parameters", [])
        sql.encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StoreError("query", "a question is a JSON object with the text `sql`") from None
    if not isinstance(parameters, list) or not all(
        one is None or isinstance(one, str | int | float) for one in parameters
    ):
        raise StoreError("query", "parameters are a list of texts, numbers, true, false and null")
    return {"ask": "sql", "sql": sql, "parameters": parameters, "floor": _floor(found)}


def _floor(given: Any) -> int:
    try:
        floor = int(given.get("floor", FLOOR))
    except (ValueError, TypeError, OverflowError):
        floor = 0
    if not 1 <= floor <= FLOOR_MAX:
        raise StoreError("query", f"the floor is a whole number from 1 to {FLOOR_MAX:,}")
    return floor

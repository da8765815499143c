"""An asyncio server (aiohttp) whose middleware counts requests by page and result.

    pip install aiohttp && python aiohttp_server.py [PORT]

`count()` takes about 20 microseconds and never waits for a network, so it needs no thread and no
`await`. The sums are made on this machine: an hour of requests becomes one report for each page and
result. The time, address and path of a single request are never stored.
"""

from __future__ import annotations

import sys
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

import methrics.node

CATALOG = Path(__file__).with_name("app.cbor")
RECORDER = methrics.node.open(CATALOG, app_version="1.4")

PAGES = {"/": "home", "/search": "search", "/account": "account"}
"""Known pages. All others are counted as `other`: a path can hold a name or a secret."""


def answer_of(status: int) -> str:
    return {2: "ok", 3: "moved", 4: "refused"}.get(status // 100, "failed")


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    status = 500
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as error:
        status = error.status
        raise
    finally:
        page = PAGES.get(request.path, "other")
        RECORDER.count("request", page=page, answer=answer_of(status))


async def page(request: web.Request) -> web.Response:
    return web.Response(text=f"you are at {PAGES[request.path]}\n")


async def say_alive(_app: web.Application) -> None:
    RECORDER.record("heartbeat", **RECORDER.facts("heartbeat"))


async def close(_app: web.Application) -> None:
    RECORDER.close()


def main() -> None:
    app = web.Application(middlewares=[measure])
    for path in PAGES:
        app.router.add_get(path, page)
    app.on_startup.append(say_alive)
    app.on_cleanup.append(close)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 8080)


if __name__ == "__main__":
    main()

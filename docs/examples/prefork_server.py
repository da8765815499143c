"""A pre-fork server like gunicorn and uWSGI: the parent opens everything, then forks workers.

    python prefork_server.py [PORT] [WORKERS]

The recorder is opened, and even used, before the fork; parent and children continue to use it. Each
process opens the same outbox file for itself, so no database connection crosses the fork.
With gunicorn, open the recorder in the module of your app, with or without `--preload`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

import methrics.node

CATALOG = Path(__file__).with_name("app.cbor")
RECORDER = methrics.node.open(CATALOG, app_version="1.4")

PAGES = {b"/": "home", b"/search": "search", b"/account": "account"}


def answer(connection: socket.socket) -> None:
    """One HTTP/1.0 request and its reply, which names the worker."""
    with connection:
        words = connection.recv(4096).split()
        page = PAGES.get(words[1] if len(words) > 1 else b"", "other")
        status, word = ("404 Not Found", "refused") if page == "other" else ("200 OK", "ok")
        body = f"worker {os.getpid()}\n"
        RECORDER.count("request", page=page, answer=word)
        connection.sendall(f"HTTP/1.0 {status}\r\n\r\n{body}".encode())


def serve(listener: socket.socket) -> None:
    while True:
        answer(listener.accept()[0])


def stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main(port: int, workers: int) -> int:
    RECORDER.record("heartbeat", **RECORDER.facts("heartbeat"))
    signal.signal(signal.SIGTERM, stop)
    with socket.create_server(("127.0.0.1", port)) as listener:
        children = []
        for _ in range(workers):
            child = os.fork()
            if child == 0:
                serve(listener)
            children.append(child)
        try:
            print(f"listening on {listener.getsockname()[1]}", flush=True)
            signal.pause()
        finally:
            for child in children:
                os.kill(child, signal.SIGTERM)
            for child in children:
                os.waitpid(child, 0)
            RECORDER.record("command", name="export", worked=True)
    return 0


if __name__ == "__main__":
    arguments = [int(one) for one in sys.argv[1:]]
    sys.exit(main(*(arguments + [8080, 3][len(arguments) :])))

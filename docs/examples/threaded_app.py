"""A long-running app with threads: workers take jobs from a queue until SIGTERM or Ctrl-C.

All threads share one recorder. The app records its state again from time to time, so an app that
runs for weeks is counted on each day. When a report is due, the next call starts the publisher in a
helper thread, so no worker waits for it.

    printf 'import a.png\nresize b.png\n' | python threaded_app.py
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
import time
from pathlib import Path

import methrics.node

CATALOG = Path(__file__).with_name("app.cbor")
RECORDER = methrics.node.open(CATALOG, app_version="1.4")

WORKERS = 4
ALIVE_EVERY = 6 * 3600
"""Seconds. A state that is recorded twice still makes one row and one report."""


def work(jobs: queue.Queue[str]) -> None:
    while True:
        command, _, argument = jobs.get().partition(" ")
        started = time.perf_counter()
        worked = bool(argument)
        RECORDER.record(
            "command", name=command, worked=worked, seconds=time.perf_counter() - started
        )
        jobs.task_done()


def say_alive(stop: threading.Event) -> None:
    while True:
        RECORDER.record("heartbeat", **RECORDER.facts("heartbeat"))
        if stop.wait(ALIVE_EVERY):
            return


def main() -> int:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    jobs: queue.Queue[str] = queue.Queue()
    for _ in range(WORKERS):
        threading.Thread(target=work, args=(jobs,), daemon=True).start()
    alive = threading.Thread(target=say_alive, args=(stop,))
    alive.start()
    for line in sys.stdin:
        jobs.put(line.strip())
    jobs.join()
    print("all done; waiting to be told to stop", flush=True)
    alive.join()
    print(RECORDER.statistics())
    return 0


if __name__ == "__main__":
    sys.exit(main())

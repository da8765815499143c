"""A trio app that runs the publisher as one of its tasks instead of a separate process.

    METHRICS_RELAYS=/ip4/... python trio_app.py SECONDS

`publisher="none"` stops the recorder from starting a process, and `keep_publishing` publishes while
the app runs. It never raises into the app's nursery. At the first report it imports libp2p, which
takes 70 MiB and a second of CPU time, so it suits long-running apps that must not start processes.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import trio

import methrics.node
from methrics.node import user_paths
from methrics.node.publisher import keep_publishing

CATALOG = Path(__file__).with_name("app.cbor")


async def work(recorder: methrics.node.Recorder, every: float) -> None:
    while True:
        started = trio.current_time()
        await trio.sleep(every)
        recorder.record(
            "command", name="search", worked=True, seconds=trio.current_time() - started
        )
        print("worked", flush=True)


async def main(every: float) -> None:
    recorder = methrics.node.open(CATALOG, app_version="1.4", publisher="none")
    recorder.record("heartbeat", **recorder.facts("heartbeat"))
    with recorder, trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_publishing, user_paths(), recorder.namespace)
            nursery.start_soon(work, recorder, every)
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, float(sys.argv[1]) if sys.argv[1:] else 60.0)

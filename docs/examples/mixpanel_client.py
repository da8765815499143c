"""An app that uses the Mixpanel client: `python mixpanel_client.py search WORD`.

Only `measured` is new. The calls of `track()` stay as they were. Their data are recorded as the
catalog declares, and nothing is sent to Mixpanel.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from mixpanel import Mixpanel

import methrics.node
from methrics.node.bridges.mixpanel import Consumer

CATALOG = Path(__file__).with_name("app.cbor")


def measured() -> tuple[Mixpanel, Consumer]:
    recorder = methrics.node.open(CATALOG, app_version="1.4")
    consumer = Consumer(
        recorder,
        names={"Command Run": "command"},  # other events go to the type of their own name
        properties={"Command": "name", "Duration": "seconds"},  # `Worked` is `worked` by itself
        active=("heartbeat",),  # a day on which anything is tracked counts as an active day
    )
    # No token is needed or sent. `adopt` disables `alias`, which bypasses consumers.
    return consumer.adopt(Mixpanel("no token", consumer=consumer)), consumer


def main() -> int:
    parser = argparse.ArgumentParser(description="Search, or export.")
    parser.add_argument("command", choices=["search", "export"])
    parser.add_argument("argument")
    options = parser.parse_args()
    mp, consumer = measured()

    started = time.perf_counter()
    worked = options.command == "export"
    if not worked:
        print(f"nothing found for {options.argument}")

    mp.track(
        "jane@example.org",
        "Command Run",
        {
            "Command": options.command,
            "Argument": options.argument,  # left out: no declared field can hold it
            "Worked": worked,
            "Duration": time.perf_counter() - started,
        },
    )
    mp.people_set("jane@example.org", {"$name": "Jane"})
    print(consumer.statistics())
    return 0


if __name__ == "__main__":
    sys.exit(main())

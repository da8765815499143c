"""A short-lived command: `python short_cli.py search WORD` or `... export FILE`.

It runs for milliseconds, so it never sends anything itself. Its events wait in the outbox. If a
report is due, the next run starts the publisher at its exit, as a separate process, and does not
wait for it. benchmarks/bench_exit.py measures the time that this adds to the exit.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import methrics.node

CATALOG = Path(__file__).with_name("app.cbor")


def run(command: str, argument: str) -> bool:
    if command == "export":
        return not Path(argument).is_dir()
    print(f"nothing found for {argument}")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description="Search, or export.")
    parser.add_argument("command", choices=["search", "export"])
    parser.add_argument("argument")
    options = parser.parse_args()

    started = time.perf_counter()
    worked = run(options.command, options.argument)
    seconds = time.perf_counter() - started

    recorder = methrics.node.open(CATALOG, app_version="1.4")
    recorder.record("command", name=options.command, worked=worked, seconds=seconds)
    # No close() is needed: the recorder closes itself at exit.
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())

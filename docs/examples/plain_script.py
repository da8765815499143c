"""A plain script: `python plain_script.py PICTURE...` pretends to make pictures smaller.

One line opens the recorder, and one line records. Without consent, both do nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import methrics.node

CATALOG = Path(__file__).with_name("app.cbor")


def resize(name: str) -> bool:
    print(f"{name}: smaller")
    return True


def main(names: list[str]) -> int:
    recorder = methrics.node.open(CATALOG, app_version="1.4")
    recorder.record("heartbeat", **recorder.facts("heartbeat"))
    started = time.perf_counter()
    worked = all(resize(name) for name in names)
    # The number of seconds is narrowed to "1 to 10" or the like before anything is kept.
    recorder.record("command", name="resize", worked=worked, seconds=time.perf_counter() - started)
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

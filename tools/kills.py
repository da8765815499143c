"""Kills aggregators at random points of all that they do, and checks their files after each kill.

    python tools/kills.py --times 200 --seed 7
    python tools/kills.py --relays --kills 100

With `--relays`, it kills relays while apps publish, and checks that every report reaches its row.
Prints in which operations the kills have landed. The exit code is 1 if something acknowledged was
lost, something was stored twice, or something that was erased came back; the folder stays then.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/aggregate")]

from tests.kills.relays import kill_relays  # noqa: E402
from tests.kills.run import kill  # noqa: E402
from tests.kills.scene import OPERATIONS  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--kills", "--times", dest="times", type=int, default=200, help="number of kills"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument(
        "--only", action="append", choices=OPERATIONS, help="an operation, repeatable"
    )
    parser.add_argument("--relays", action="store_true", help="kill relays instead")
    given = parser.parse_args()
    folder, began = Path(tempfile.mkdtemp(prefix="kills-")), time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", flush=True)

    say(f"{given.times} kills with --seed {given.seed} in {folder}")
    try:
        if given.relays:
            lines = [kill_relays(folder, given.times, given.seed, say).line()]
        else:
            lines = [*kill(folder, given.times, given.seed, say, given.only or OPERATIONS).lines()]
    except AssertionError as error:
        say(f"FAILED: {error}")
        raise
    for line in lines:
        say(line)
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

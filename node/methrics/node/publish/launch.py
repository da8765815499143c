"""The start of the publisher's process, which works without the packages of the extra `http`.

python -m methrics.node.publisher --app <label>-<short key> [--home DIR] [--once]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from methrics.node.durations import duration_text, read_duration
from methrics.node.paths import user_paths
from methrics.node.publish.status import write_status
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import MethricsError

LOCAL = 3
"""Exit code for a problem on this machine."""

IDLE = 300.0
"""Default of --idle, in seconds."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the publisher. Prints at most one line on standard error; returns the exit code."""
    options = _parser().parse_args(arguments)
    detach()
    try:
        paths = user_paths(options.home)
    except MethricsError as error:
        sys.stderr.write(f"methrics: {error}\n")
        return LOCAL
    try:
        from methrics.node.publish.process import run
    except ImportError as error:
        missing = error.name or str(error)
        line = f"no-package: {missing} is not installed; pip install 'methrics[http]'"
        write_status(paths, options.app, line)
        sys.stderr.write(f"methrics: {line}\n")
        return LOCAL
    return run(paths, options)


def detach() -> None:
    """Become independent of the app that started this process: of its session, of the signals that
    its threads blocked, and of its mask for new files."""
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with contextlib.suppress(OSError):  # a leader of its process group leads its session already
        os.setsid()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m methrics.node.publisher",
        description="Send what one app has due, then end.",
    )
    parser.add_argument("--app", "--namespace", required=True, help="<label>-<short key>")
    parser.add_argument("--home", help="the folder in place of METHRICS_HOME")
    parser.add_argument(
        "--default-relay", action="append", default=[], help="used if the user names no relay"
    )
    parser.add_argument("--route", choices=ROUTES, default="relay")
    parser.add_argument("--once", action="store_true", help="make one pass, then end")
    parser.add_argument(
        "--idle",
        type=_duration,
        default=IDLE,
        help=f"end when nothing is due within this time, such as {duration_text(IDLE)}",
    )
    return parser


def _duration(text: str) -> float:
    try:
        return read_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

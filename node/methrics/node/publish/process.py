"""Runs the publisher as a process, with command-line options and an exit code.

python -m methrics.node.publisher --namespace <label>-<short key> [--home DIR] [--once]
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace

import trio

from methrics.node.paths import Paths, user_paths
from methrics.node.process.signals import on_stop_signal
from methrics.node.publish.entry import entry_peers
from methrics.node.publish.publisher import (
    LOCAL,
    NETWORK,
    OK,
    PublisherSettings,
    run_publisher,
)
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import LocalError, MethricsError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the publisher. Prints at most one line on standard error; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m methrics.node.publisher",
        description="Send what one outbox has due, then end.",
    )
    parser.add_argument("--namespace", required=True, help="<label>-<short key>")
    parser.add_argument("--home", help="the folder in place of METHRICS_HOME")
    parser.add_argument(
        "--default-relay", action="append", default=[], help="used where the user names no relay"
    )
    parser.add_argument("--route", choices=ROUTES, default="relay")
    parser.add_argument("--once", action="store_true", help="make one pass, then end")
    parser.add_argument("--idle", type=float, help="end when nothing is due within these seconds")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    paths = user_paths(options.home)
    try:
        entry = entry_peers(paths, default_relays=options.default_relay)
        settings = PublisherSettings(route=options.route, entry=entry, once=options.once)
        if options.idle is not None:
            settings = replace(settings, idle=options.idle)
        return trio.run(_until_signal, paths, options.namespace, settings)
    except MethricsError as error:
        sys.stderr.write(f"methrics: {error}\n")
        return LOCAL if isinstance(error, LocalError) else NETWORK
    except OSError as error:
        sys.stderr.write(f"methrics: {error.strerror or error}\n")
        return LOCAL


async def _until_signal(paths: Paths, namespace: str, settings: PublisherSettings) -> int:
    """Run the publisher until it ends or a stop signal arrives; return the exit code."""
    code, failure = OK, None
    async with trio.open_nursery() as nursery:
        await on_stop_signal(nursery, nursery.cancel_scope.cancel)
        try:
            code = await run_publisher(paths, namespace, settings)
        except MethricsError as error:
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return code

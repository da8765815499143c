"""Runs the publisher as a process, until it has nothing to do or a stop signal arrives."""

from __future__ import annotations

import argparse
import logging
import sys

import trio

from methrics.node.paths import Paths
from methrics.node.process.signals import on_stop_signal
from methrics.node.publish.child import reach_problem
from methrics.node.publish.entry import entry_peers
from methrics.node.publish.publisher import (
    LOCAL,
    NETWORK,
    OK,
    PublisherSettings,
    run_publisher,
)
from methrics.node.publish.status import write_status
from methrics.schema.errors import LocalError, MethricsError


def run(paths: Paths, options: argparse.Namespace) -> int:
    """Run the publisher with the options of `launch`. Prints at most one line on standard error;
    returns the exit code."""
    logging.basicConfig(level=logging.ERROR)
    try:
        entry = entry_peers(paths, default_relays=options.default_relay)
        if line := reach_problem(entry.relays):
            write_status(paths, options.app, line)
            sys.stderr.write(f"methrics: {line}\n")
            return LOCAL
        settings = PublisherSettings(
            route=options.route, entry=entry, once=options.once, idle=options.idle
        )
        return trio.run(_until_signal, paths, options.app, settings)
    except MethricsError as error:
        write_status(paths, options.app, f"{error.code}: {error}")
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

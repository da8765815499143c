"""The root of the command line: which commands there are, each loaded only when it is used."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from typing import NamedTuple

import click
from click.shell_completion import shell_complete


class Entry(NamedTuple):
    """Where a command lives and what `methrics --help` says of it."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "catalog": Entry("methrics.node.cli.catalog", "Write, check, sign and read event catalogs."),
    "consent": Entry(
        "methrics.node.cli.consent", "What apps on this machine may share: look, allow, stop."
    ),
    "publish": Entry("methrics.node.cli.publish", "Send what is due from this machine's outboxes."),
    "preview": Entry(
        "methrics.node.cli.preview", "The very reports that would leave next; strike out any."
    ),
    "mine": Entry(
        "methrics.aggregate.cli.mine", "Your own reports: list, find in public data, export."
    ),
    "erase": Entry("methrics.node.cli.erase", "Have your own reports forgotten."),
    "reset": Entry("methrics.node.cli.erase", "Become somebody new on this machine."),
    "relay": Entry(
        "methrics.node.cli.relay", "Run a relay: take reports in, mix them, pass them on."
    ),
    "aggregate": Entry(
        "methrics.aggregate.cli.aggregate", "Collect reports from the network into a DuckDB file."
    ),
    "query": Entry("methrics.aggregate.cli.query", "Ask a data set a question in SQL."),
    "verify": Entry(
        "methrics.aggregate.cli.verify", "Check every stored report again, signature and all."
    ),
    "trail": Entry(
        "methrics.aggregate.cli.trail",
        "What your own reports say, who else says it, what links them.",
    ),
    "simulate": Entry(
        "methrics.aggregate.cli.simulate",
        "A data set of people who do not exist, with the truth beside it.",
    ),
    "mixpanel": Entry(
        "methrics.aggregate.cli.mixpanel", "Move an app from Mixpanel: draft, and compare numbers."
    ),
    "demo": Entry(
        "methrics.aggregate.cli.demo",
        "The whole path on this machine: apps, relay, aggregators, tables.",
    ),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only when it is called, so that
    help is quick and a missing extra costs only the commands which need it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the data's way."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command: the attribute of its module that bears its name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), cmd_name)
        assert isinstance(command, click.Command), f"{entry.module}:{cmd_name} is not a command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in the help text, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _version() -> str:
    """The installed version, or that there is none (a source tree on the path)."""
    try:
        return importlib.metadata.version("methrics")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 the answer is no; 2 wrong use; 3 this machine; 4 the network; "
    "70 a fault in methrics; 130 interrupted; 141 nobody reads on. "
    "All about each command: docs/reference/cli.md",
)
@click.version_option(_version(), prog_name="methrics", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="On an error, print where it came from.")
@click.pass_context
def root(ctx: click.Context, debug: bool) -> None:
    """Public, consented, serverless usage metrics.

    Apps record events locally; with their user's consent they publish small signed reports to an
    open peer-to-peer network, where anyone can collect, check and count them.
    """
    if debug and ctx.obj is not None:
        ctx.obj.debug = True


def run(arguments: list[str], session: object) -> int:
    """Run a command line; returns what `ctx.exit` was given, else 0.

    Raises what went wrong, click's own errors included: `Group.main` would print some of them, and
    make a plain 1 of a reader that went away.
    """
    instruction = os.environ.get("_METHRICS_COMPLETE")
    if instruction:
        return shell_complete(root, {}, "methrics", "_METHRICS_COMPLETE", instruction)
    try:
        with root.make_context("methrics", arguments, obj=session) as context:
            root.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    return 0

"""The root of the command line. It lists all commands and loads a command only when it is used."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from typing import NamedTuple

import click
from click.shell_completion import shell_complete

from methrics.aggregate.cli.exit_codes import EXIT_CODES
from methrics.node.cli.group import CommandGroup


class Entry(NamedTuple):
    """The module of a command, and the command's line in `methrics --help`."""

    module: str
    help: str


FIRST = (
    ("methrics demo", "See the whole path on this machine, from apps to tables."),
    ("methrics consent", "See and change what apps on this machine may share."),
    ("methrics preview", "See the reports that would leave this machine next."),
)
"""Three commands to start with. They neither send nor change the reader's own data."""

SECTIONS: dict[str, dict[str, Entry]] = {
    "Your own data": {
        "consent": Entry("methrics.node.cli.consent", "See and change what apps may share."),
        "preview": Entry("methrics.node.cli.preview", "See the next reports; strike out any."),
        "publish": Entry("methrics.node.cli.publish", "Send the reports that are due."),
        "mine": Entry(
            "methrics.aggregate.cli.mine", "List your reports, find them in public data, export."
        ),
        "trail": Entry(
            "methrics.aggregate.cli.trail", "See what your reports reveal and what links them."
        ),
        "threshold": Entry(
            "methrics.aggregate.cli.threshold", "Withhold reports that too few others share."
        ),
        "erase": Entry("methrics.node.cli.erase", "Ask for your reports to be erased."),
        "reset": Entry("methrics.node.cli.erase", "Start anew with new keys."),
    },
    "Your app": {
        "catalog": Entry(
            "methrics.node.cli.catalog", "Write, check, sign and read event catalogs."
        ),
        "namespace": Entry(
            "methrics.node.cli.namespace", "Make your key; list catalogs, revoke event types."
        ),
        "mixpanel": Entry(
            "methrics.aggregate.cli.mixpanel", "Move an app from Mixpanel; compare the numbers."
        ),
    },
    "Run the network": {
        "relay": Entry("methrics.node.cli.relay", "Take in reports, mix them, pass them on."),
        "aggregate": Entry(
            "methrics.aggregate.cli.aggregate", "Collect reports into a DuckDB file."
        ),
        "backup": Entry(
            "methrics.aggregate.cli.backup", "Copy what an aggregator has stored while it runs."
        ),
    },
    "Ask the data": {
        "status": Entry("methrics.aggregate.cli.status", "See what a running aggregator does."),
        "query": Entry("methrics.aggregate.cli.query", "Ask a data set in SQL, or by a view."),
        "verify": Entry(
            "methrics.aggregate.cli.verify", "Check the signature and columns of every report."
        ),
        "rebuild": Entry(
            "methrics.aggregate.cli.rebuild", "Write a data set anew from its signed bytes."
        ),
        "compare": Entry(
            "methrics.aggregate.cli.compare", "Tell whether two data sets have the same reports."
        ),
        "retention": Entry(
            "methrics.aggregate.cli.retention", "See how long reports are kept, and what is over."
        ),
    },
    "Try it": {
        "demo": Entry("methrics.aggregate.cli.demo", "Run apps, relays and aggregators here."),
        "simulate": Entry("methrics.aggregate.cli.simulate", "Make a data set of invented people."),
    },
}
"""The commands, grouped by the people who use them."""

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(CommandGroup):
    """A group that knows its commands by name and imports one only when it is called, so that
    help is quick and a missing extra costs only the commands which need it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List all commands, section by section."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command: the attribute of its module that has the command's name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), cmd_name)
        assert isinstance(command, click.Command), f"{entry.module}:{cmd_name} is not a command"
        command.help = command.help or entry.help  # `python -OO` has removed the docstring
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the lists of commands into the help text, without loading any command."""
        with formatter.section("First commands"):
            formatter.write_dl(FIRST)
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands before the options: readers of this help look for a command."""
        self.format_commands(ctx, formatter)
        click.Command.format_options(self, ctx, formatter)


def _version() -> str:
    """Return the installed version, or a note that methrics runs from a source tree."""
    try:
        return importlib.metadata.version("methrics")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


_OPTIMIZED = (
    ". Descriptions are missing because Python runs with -OO" if sys.flags.optimize > 1 else ""
)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"Exit codes: {'; '.join(f'{one.code} {one.brief}' for one in EXIT_CODES)}. "
    f"All options of every command: docs/reference/cli.md{_OPTIMIZED}",
)
@click.version_option(_version(), prog_name="methrics", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="On an error, print where it came from.")
@click.pass_context
def root(ctx: click.Context, debug: bool) -> None:
    """Public, consented, serverless usage metrics.

    Apps record events on their user's machine. With that user's consent they publish small signed
    reports to an open peer-to-peer network, where anyone can collect, check and count them.
    """
    if debug and ctx.obj is not None:
        ctx.obj.debug = True


def run(arguments: list[str], session: object) -> int:
    """Run a command line; return the code that was passed to `ctx.exit`, or 0.

    Every error is raised, including click's own. `Group.main` would print some of them itself, and
    would return 1 if the output pipe was closed.
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

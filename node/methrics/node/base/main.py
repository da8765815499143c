"""Reads the command line of `python -m methrics.node`, and turns every error into one line.

Imports only the standard library and what the base install has, so that whoever can say yes in a
terminal can also say no there.
"""

from __future__ import annotations

import contextlib
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from methrics.node.base.consent import ask, grant, history, show, withdraw
from methrics.node.cli.naming import WrongUseError
from methrics.node.process.streams import discard_unwritten, one_line, prepare_streams
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import MethricsError

OK, NO, USAGE, LOCAL, INTERRUPTED, PIPE = 0, 1, 2, 3, 130, 141
"""The exit codes, the same as those of `methrics`."""

PROGRAM = "python -m methrics.node"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code. Prints one line about an error."""
    try:
        prepare_streams()
        code = _run(_parser().parse_args(arguments, namespace=_Given()))
        sys.stdout.flush()
    except (KeyboardInterrupt, MethricsError, OSError) as error:
        code, line = _described(error)
        if line:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"methrics: {one_line(line)}\n")
        discard_unwritten()
    return code


def _described(error: BaseException) -> tuple[int, str]:
    """Returns the exit code and the line for the error that ended the command."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return PIPE, ""
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return LOCAL, f"{error.strerror or error}{where}"
    return USAGE if isinstance(error, WrongUseError) else LOCAL, str(error)


class _Given(Namespace):
    """The command line, with the values of options that were not given."""

    command = "show"
    parser: ArgumentParser
    home: str | None = None
    app: Sequence[str] = ()
    catalog: Sequence[Path] = ()
    type: Sequence[str] = ()
    field: Sequence[str] = ()
    route: Sequence[str] = ()
    yes = False
    all = False


def _run(given: _Given) -> int:
    home, apps, catalogs = given.home, given.app, given.catalog
    if given.command == "history":
        history(home, apps)
    elif given.command == "ask":
        ask(home, apps, catalogs)
    elif given.command == "grant":
        if not (apps or catalogs):
            given.parser.error("choose an app: --catalog FILE, or --app NAME")
        return grant(home, apps, catalogs, given.type, given.field, given.route, yes=given.yes)
    elif given.command == "withdraw":
        if given.all == bool(apps) or (given.all and given.type):
            given.parser.error("give --app NAME, with --type if you like, or --all")
        withdraw(home, apps, given.type)
    else:
        show(home, apps, catalogs)
    return OK


def _parser() -> ArgumentParser:
    whole = ArgumentParser(
        prog=PROGRAM,
        description="What apps on this machine may share. Off unless you allow it.",
        allow_abbrev=False,
    )
    consent = whole.add_subparsers(metavar="consent", required=True).add_parser(
        "consent",
        help="see and change your answers",
        description="See and change what apps on this machine may share. Off unless you allow it. "
        "Without a command, this lists each app and event type, and whether it is on.",
        allow_abbrev=False,
    )
    _common(consent, catalogs=True)
    consent.set_defaults(command="show", parser=consent)
    commands = consent.add_subparsers(metavar="COMMAND")
    for name, words, catalogs in (
        ("show", "do the same as without a command", True),
        ("history", "list every change of an answer, oldest first", False),
        ("ask", "decide in this terminal about every open event type", True),
        ("grant", "allow event types of an app", True),
        ("withdraw", "stop event types of an app, or everything", False),
    ):
        one = commands.add_parser(name, help=words, description=words, allow_abbrev=False)
        one.set_defaults(command=name, parser=one)
        _common(one, catalogs=catalogs)
        if name in ("grant", "withdraw"):
            _repeated(one, "--type", "TYPE", "only this event type; repeatable")
        if name == "grant":
            _repeated(one, "--field", "FIELD", "share only this field; repeatable")
            route = "as you allowed before, or else by relay; repeatable"
            one.add_argument(
                "--route", action="append", choices=ROUTES, default=SUPPRESS, help=route
            )
            one.add_argument("--yes", action="store_true", help="do not ask")
        if name == "withdraw":
            one.add_argument("--all", action="store_true", help="every app, later ones included")
    return whole


def _common(parser: ArgumentParser, *, catalogs: bool) -> None:
    """Adds the options of every command. If both the command and its subcommand have one, that of
    the subcommand counts."""
    _repeated(parser, "--app", "NAME", "only this app, by its name or label; repeatable")
    if catalogs:
        parser.add_argument(
            "--catalog",
            action="append",
            default=SUPPRESS,
            type=Path,
            metavar="FILE",
            help="only the app of this signed catalog; repeatable",
        )
    parser.add_argument(
        "--home",
        default=SUPPRESS,
        metavar="FOLDER",
        help="folder with data and settings; overrides METHRICS_HOME",
    )


def _repeated(parser: ArgumentParser, name: str, metavar: str, words: str) -> None:
    parser.add_argument(name, action="append", default=SUPPRESS, metavar=metavar, help=words)

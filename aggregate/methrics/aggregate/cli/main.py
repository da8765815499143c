"""The `methrics` command: the process edge where every error becomes one clear line.

Imports nothing that an extra installs, so that it can name the extra that is missing.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from methrics.aggregate.cli.exit_codes import (
    FAULT,
    INTERRUPTED,
    LOCAL,
    NETWORK,
    OK,
    PIPE,
    USAGE,
)
from methrics.node.cli.naming import WrongUseError
from methrics.node.process.streams import discard_unwritten, one_line, prepare_streams
from methrics.schema.errors import MethricsError, RemoteError

EXTRA_OF = {
    "click": "node",
    "rich": "node",
    "jinja2": "node",
    "trio": "node",
    "multiaddr": "node",
    "google": "node",
    "duckdb": "aggregate",
    "tomlkit": "aggregate",
    "pyarrow": "aggregate",
    "h11": "aggregate",
    "starlette": "aggregate",
    "prometheus_client": "aggregate",
    "pandas": "notebooks",
}
"""The extra of the distribution that installs each module."""


@dataclass(slots=True)
class Session:
    """The options of `methrics` itself, for the edge."""

    debug: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises and never prints a traceback
    unless asked to by --debug."""
    session = Session()
    try:
        prepare_streams()
        from methrics.aggregate.cli.root import run

        code = run(sys.argv[1:] if arguments is None else list(arguments), session)
        sys.stdout.flush()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else OK
    except BaseException as raised:  # noqa: BLE001 - the process edge: it ends here, in one line
        return _report(_innermost(raised), raised, debug=session.debug)
    return code


def _innermost(raised: BaseException) -> BaseException:
    """The first cause inside the groups in which task nurseries wrap errors. A MethricsError goes
    before other errors, because its line contains a hint."""
    if not isinstance(raised, BaseExceptionGroup):
        return raised
    leaves = [_innermost(one) for one in raised.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, MethricsError)), leaves[0])


def _report(error: BaseException, raised: BaseException, *, debug: bool) -> int:
    """Print one line about `error` on standard error; returns the exit code for it."""
    code, line = _describe(error)
    if debug and code != PIPE:
        traceback.print_exception(raised)
    if line:
        # A group without a command prints its help, which is not an error message.
        shown = line if line.startswith("Usage: ") else f"methrics: {one_line(line)}"
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"{shown}\n")
    discard_unwritten()
    return code


def _describe(error: BaseException) -> tuple[int, str]:
    """Exit code and line for the error that ended the command."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED, "interrupted"
    if isinstance(error, BrokenPipeError):
        return PIPE, ""
    if isinstance(error, WrongUseError):
        return USAGE, str(error)
    if isinstance(error, MethricsError):
        return (NETWORK if isinstance(error, RemoteError) else LOCAL), str(error)
    if isinstance(error, ModuleNotFoundError):
        return _describe_missing(error)
    if isinstance(error, UnicodeError):
        return USAGE, f"an argument is not text in UTF-8: {error}"
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return LOCAL, f"{error.strerror or error}{where}"
    return _describe_click(error) or (
        FAULT,
        f"a fault in methrics: {type(error).__name__}: {error} "
        "(please report it with what `methrics --debug ...` prints)",
    )


def _describe_missing(error: ModuleNotFoundError) -> tuple[int, str]:
    """Exit code and line for a missing module: the extra that installs it, if one does."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(module)
    if extra is None:
        return (
            FAULT,
            f"a module is missing: {error.name} (reinstall with: pip install 'methrics[all]')",
        )
    return LOCAL, f"this command needs {module} (install it with: pip install 'methrics[{extra}]')"


def _describe_click(error: BaseException) -> tuple[int, str] | None:
    """Exit code and line for an error of the command-line library; None for any other."""
    try:
        import click
    except ImportError:
        return None
    if isinstance(error, click.Abort):
        return INTERRUPTED, "interrupted"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return USAGE, error.format_message().removeprefix("Error: ")
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "methrics"
        hint = getattr(error, "hint", "") or f"see: {path} --help"
        return USAGE, f"{error.format_message()} ({hint})"
    if isinstance(error, click.ClickException):
        return LOCAL, error.format_message()
    return None

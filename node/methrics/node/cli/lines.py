"""Prints the lines of a long-running command, which goes on if its log cannot be written."""

from __future__ import annotations

import contextlib
import os
import sys

import click


def say(text: str, *, err: bool = False) -> None:
    """Prints a line on standard output, or on standard error. Never raises for a stream that cannot
    be written.

    A relay or aggregator must not stop, and lose what it has not passed on yet, because the program
    that reads its log has ended or the disk with the log is full. If the reader has ended, one line
    on the other stream says so, and later lines are discarded.
    """
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        _discard(err=err)
        with contextlib.suppress(OSError, ValueError):
            name = "standard error" if err else "standard output"
            click.echo(
                f"methrics: {name} was closed by its reader; its lines are discarded", err=not err
            )
    except (OSError, ValueError):  # a full disk, or a stream that was closed
        return


def _discard(*, err: bool) -> None:
    """Connects a standard stream to the null device."""
    stream = sys.stderr if err else sys.stdout
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)

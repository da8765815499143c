"""Asks for a yes before a command does something that cannot be undone."""

from __future__ import annotations

import sys

import click


def confirm(question: str) -> None:
    """Asks `question` and returns after a yes. Raises click.Abort after a no or Ctrl-C, UsageError
    if the input has ended."""
    try:
        sure = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("the question got no answer: add --yes to go ahead") from None
    if not sure:
        raise click.Abort

"""Asks for a yes on the command line before something that cannot be taken back."""

from __future__ import annotations

import sys

import click


def confirm(question: str) -> None:
    """Return on a yes. Raises click.Abort on a no or Ctrl-C, UsageError if nobody is there."""
    try:
        sure = click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("there was nobody to ask: add --yes to go ahead") from None
    if not sure:
        raise click.Abort

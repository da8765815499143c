"""Options that several commands share, so that one thing has one name and one help text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from methrics.node.report.route_names import ROUTES

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Option(Protocol):
    """Adds an option to a command."""

    def __call__(self, command: _Command, /) -> _Command: ...


FILE = click.Path(path_type=Path, dir_okay=False)
"""A file. The code that reads it reports a missing one, with a hint."""

APPS = click.option(
    "--app",
    "apps",
    multiple=True,
    metavar="NAME",
    help="Only this app: its name, its label, or the beginning of its name; repeatable.",
)
WHOLE_APPS = click.option(
    "--app",
    "apps",
    multiple=True,
    metavar="NAME",
    help="Only this app: its name or its label; repeatable.",
)
"""For commands that change something: a prefix could stand for another app than the one meant."""

CATALOGS = click.option(
    "--catalog",
    "catalogs",
    type=FILE,
    multiple=True,
    help="Only the app of this signed catalog; repeatable.",
)
HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of data and settings, in place of METHRICS_HOME.",
)
YES = click.option("--yes", is_flag=True, help="Do not ask.")
TYPES = click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Only this event type; repeatable."
)
PEERS = click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="MULTIADDR",
    help="A relay or aggregator to stay connected to; repeatable.",
)


def json_option(help_text: str = "Print JSON, for programs.") -> _Option:
    """`--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


def route_option(help_text: str) -> _Option:
    """`--route`, one of ROUTES; relay unless given."""
    return click.option(
        "--route", type=click.Choice(ROUTES), default="relay", show_default=True, help=help_text
    )


def listen_option(default: str) -> _Option:
    """`--listen`, addresses to accept connections at."""
    return click.option(
        "--listen",
        multiple=True,
        default=(default,),
        show_default=True,
        metavar="MULTIADDR",
        help="Where to listen; repeatable. TCP port 0 takes a free one.",
    )


def topics_option(help_text: str) -> _Option:
    """`--topic`, for apps whose catalog is not at hand."""
    return click.option("--topic", "topics", multiple=True, metavar="TOPIC", help=help_text)


def key_option(owner: str) -> _Option:
    """`--key`, the file with the lasting key of a peer."""
    return click.option(
        "--key",
        type=FILE,
        help=f"File with this {owner}'s key, made if absent, so that its address outlives a "
        "restart.",
    )

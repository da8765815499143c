"""Options that several commands share, so that each has one name and one help text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

import click

from methrics.node.cli.naming import WrongUseError
from methrics.node.report.route_names import ROUTES
from methrics.schema.errors import ConfigError

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Given = ParamSpec("_Given")
_Value = TypeVar("_Value")


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
RECORDS = click.option(
    "--record",
    "records",
    type=FILE,
    multiple=True,
    help="A namespace's record, written by `methrics namespace publish`; used until a newer one "
    "arrives. Repeatable.",
)
HOME = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with data and settings; overrides METHRICS_HOME.",
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


def of_options(
    read: Callable[_Given, _Value], *values: _Given.args, **more: _Given.kwargs
) -> _Value:
    """Returns what `read` makes of the values of options. A value that it refuses by ConfigError is
    wrong use: raises WrongUseError. A service manager must not try such a command again."""
    try:
        return read(*values, **more)
    except ConfigError as error:
        wrong = WrongUseError(error.code, error.message, error.hint)
        raise wrong from error


def json_option(help_text: str = "Print JSON, for programs.") -> _Option:
    """Returns the option `--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=help_text)


def route_option(help_text: str) -> _Option:
    """Returns the option `--route`: one of ROUTES, by default relay."""
    return click.option(
        "--route", type=click.Choice(ROUTES), default="relay", show_default=True, help=help_text
    )


def listen_option(default: str) -> _Option:
    """Returns the option `--listen`: addresses at which to accept connections."""
    return click.option(
        "--listen",
        multiple=True,
        default=(default,),
        show_default=True,
        metavar="MULTIADDR",
        help="Where to listen; repeatable. With TCP port 0, a free port is chosen.",
    )


def check_listen(addresses: tuple[str, ...]) -> None:
    """Raises ConfigError if one of `addresses` has not the form of one to listen at."""
    from methrics.node.network.libp2p.dialing import parse_listen  # it loads libp2p

    for address in addresses:
        parse_listen(address)


def topics_option(help_text: str) -> _Option:
    """Returns the option `--topic`, for apps whose catalog is not on this machine."""
    return click.option("--topic", "topics", multiple=True, metavar="TOPIC", help=help_text)


def key_option(owner: str) -> _Option:
    """Returns the option `--key`: the file with the permanent key of a peer."""
    return click.option(
        "--key",
        type=FILE,
        help=f"File with this {owner}'s key, made if absent, so that its address outlives a "
        "restart.",
    )

"""The three sizes of a benchmark: full, `--quick` (under a minute), `--smoke` (a few seconds)."""

from __future__ import annotations

import argparse
from typing import TypeVar

T = TypeVar("T")


def parser_of(doc: str | None, quick: str) -> argparse.ArgumentParser:
    """A parser with both options. `doc`: the module's docstring; `quick`: the help of --quick."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="a few seconds: shows that the benchmark runs; its figures mean nothing",
    )
    return parser


def choose(arguments: argparse.Namespace, *, full: T, quick: T, smoke: T) -> T:
    """The value for the size that was asked for."""
    return smoke if arguments.smoke else quick if arguments.quick else full

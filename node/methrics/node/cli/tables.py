"""Prints tables: columns that fit the terminal, or uncut lines if the output is no terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from shutil import get_terminal_size

import click

from methrics.schema.wire.reading import BARRED

Row = Sequence[object]

UNBOUNDED = 100_000
"""Width of a table if the output is no terminal, so large that no line is wrapped or cut."""

_CONTROL = re.compile(f"[{re.escape(''.join(sorted(BARRED)))}]")


def plain_value(cell: object) -> object:
    """Returns a cell as a JSON type: bytes as hex, times in ISO 8601, whole decimals as ints."""
    if isinstance(cell, bytes):
        return cell.hex()
    if isinstance(cell, date | datetime):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return int(cell) if cell == int(cell) else float(cell)
    if isinstance(cell, list | tuple):
        return [plain_value(one) for one in cell]
    if isinstance(cell, dict):
        return {str(key): plain_value(value) for key, value in cell.items()}
    return cell if cell is None or isinstance(cell, str | int | float) else str(cell)


def cell_text(cell: object) -> str:
    """A cell as a person reads it. Characters that could move the cursor, reverse the text or end
    the line become `?`: a value cannot pretend to be another row."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "" if cell is None else _CONTROL.sub("?", str(plain_value(cell)))


def table_lines(
    head: Sequence[str], rows: Iterable[Row], *, indent: int = 0, width: int | None = None
) -> list[str]:
    """Returns the lines of a table. Columns of numbers are right-aligned. A cell that is wider than
    its column is wrapped, never cut. `width`: the most columns of a line, None for no limit.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(head):
        number = bool(shown) and all(_is_number(row[place]) for row in shown)
        table.add_column(Text(name), overflow="fold", justify="right" if number else "left")
    for row in shown:
        table.add_row(*(Text(cell_text(cell)) for cell in row))  # no markup, no emoji codes
    console = Console(width=max(1, (width or UNBOUNDED) - indent))
    with console.capture() as captured:
        console.print(table)
    return [(" " * indent + line).rstrip() for line in captured.get().splitlines()]


def print_table(head: Sequence[str], rows: Iterable[Row], *, indent: int = 0) -> None:
    """Prints a table to standard output, at most as wide as the terminal. If the output is no
    terminal, lines are not wrapped."""
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    for line in table_lines(head, rows, indent=indent, width=width):
        click.echo(line)


def _is_number(cell: object) -> bool:
    return cell is None or (isinstance(cell, int | float | Decimal) and not isinstance(cell, bool))

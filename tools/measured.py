"""Keeps what benchmarks measured in docs/measured.toml, from which docs/scale.md is computed.

    python benchmarks/bench_ingest.py | python tools/measured.py bench_ingest.py shared-2

takes the figures of that benchmark from the JSON line of its output, with the date of today and the
name of the machine, and prints what has changed. Options of the benchmark follow its name:
`"bench_mesh.py --scale"`.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "measured.toml"


class MeasuredError(Exception):
    """The file of measured figures, or the output of a benchmark, is wrong."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure."""

    name: str
    says: str
    unit: str
    value: float
    command: str
    """The benchmark and its options, from the root of the repository."""
    key: str
    """Its place in the JSON line: keys, with dots between them."""
    date: date
    machine: str


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """A number that nobody has measured, such as a price."""

    name: str
    says: str
    unit: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The whole file."""

    machines: Mapping[str, str]
    figures: Mapping[str, Figure]
    assumptions: Mapping[str, Assumption]

    def __getitem__(self, name: str) -> float:
        """Return the value of a figure or an assumption. Raises KeyError."""
        return (self.figures.get(name) or self.assumptions[name]).value


def read(text: str) -> Measured:
    """Return the contents of a TOML text.

    Raises MeasuredError for a missing or unknown key, a value that is no number, an unknown
    machine, and a name that is used twice.
    """
    try:
        found = tomllib.loads(text)
        machines = {name: str(one["says"]) for name, one in found.pop("machines").items()}
        figures = {name: Figure(name=name, **one) for name, one in found.pop("figures").items()}
        assumptions = {
            name: Assumption(name=name, **one) for name, one in found.pop("assumptions").items()
        }
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise MeasuredError(str(error)) from error
    both: list[Figure | Assumption] = [*figures.values(), *assumptions.values()]
    for one in both:
        if isinstance(one.value, bool) or not isinstance(one.value, int | float):
            raise MeasuredError(f"{one.name}: the value is no number")
    for figure in figures.values():
        if figure.machine not in machines:
            raise MeasuredError(f"{figure.name}: the machine {figure.machine} is not described")
    if found or figures.keys() & assumptions.keys():
        raise MeasuredError(f"unknown or twice: {[*found, *(figures.keys() & assumptions.keys())]}")
    return Measured(machines=machines, figures=figures, assumptions=assumptions)


def taken(text: str, command: str, result: Mapping[str, Any], machine: str, on: date) -> str:
    """Return the TOML `text` with the figures of `command` as in `result`, its JSON line.

    Raises MeasuredError if the file has no figure of `command`, or `result` lacks one.
    """
    figures = [one for one in read(text).figures.values() if one.command == command]
    if not figures:
        raise MeasuredError(f"no figure comes from {command}")
    for one in figures:
        new = {"value": _number(result, one.key), "date": on.isoformat(), "machine": machine}
        text = _with(text, one.name, {**new, "machine": json.dumps(machine)})
    read(text)
    return text


def _number(result: Mapping[str, Any], key: str) -> float:
    found: Any = result
    for part in key.split("."):
        place: Any = int(part) if isinstance(found, list) else part
        try:
            found = found[place]
        except (KeyError, IndexError, TypeError):
            raise MeasuredError(f"the output has no {key}") from None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise MeasuredError(f"{key} is no number: {found}")
    return found


def _with(text: str, name: str, new: Mapping[str, object]) -> str:
    """Return `text` with the given keys of the table `figures.NAME` changed, and all else as it
    was."""
    head = f"[figures.{name}]\n"
    before, _, rest = text.partition(head)
    table, mark, after = rest.partition("\n[")
    for key, value in new.items():
        table = re.sub(rf"^{key} = .*$", f"{key} = {value}", table, count=1, flags=re.MULTILINE)
    return f"{before}{head}{table}{mark}{after}"


def load() -> Measured:
    """Return the contents of docs/measured.toml."""
    return read(FILE.read_text("utf-8"))


def main(arguments: Sequence[str], output: str) -> int:
    """Exit code: 0, or 1 with a sentence on standard error, 2 for wrong use."""
    if len(arguments) != 2:
        print(
            "usage: python BENCHMARK | python tools/measured.py BENCHMARK MACHINE", file=sys.stderr
        )
        return 2
    command, machine = f"benchmarks/{arguments[0].removeprefix('benchmarks/')}", arguments[1]
    try:
        line = next(one for one in reversed(output.splitlines()) if one.startswith("{"))
        text = FILE.read_text("utf-8")
        new = taken(text, command, json.loads(line), machine, datetime.now(UTC).date())
    except (StopIteration, ValueError):
        print("measured: the output has no JSON line", file=sys.stderr)
        return 1
    except MeasuredError as error:
        print(f"measured: {error}", file=sys.stderr)
        return 1
    before = read(text).figures
    for name, one in read(new).figures.items():
        if one != before[name]:
            print(f"{name}: {before[name].value:,} -> {one.value:,} {one.unit}")
    FILE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.read()))

"""The views that ship, one SQL file each.

A file starts with comment lines that say what the numbers mean and what they do not claim. A line
`-- for each type with: KEY=VALUE` makes one view for every event type that has a field with that
`source` or `name`, whose column then stands in braces under VALUE, or `steps`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_FOR_EACH = "for each type with: "


@dataclass(frozen=True, slots=True)
class Template:
    """One file: `says` is its comment, `needs` what an event type must have, None for all data."""

    name: str
    says: str
    needs: tuple[str, str] | None
    sql: str


@dataclass(frozen=True, slots=True)
class TypeShape:
    """What a view may need to know of an event type; names are quoted SQL."""

    schema: str
    type: str
    table: str
    steps: str | None
    columns: Mapping[tuple[str, str], str]
    """("source" | "name", value) -> column"""


@dataclass(frozen=True, slots=True)
class View:
    """A view that fits a data set: `schema` and `name` say where, `says` what it means."""

    schema: str
    name: str
    says: str
    sql: str


@cache
def templates() -> tuple[Template, ...]:
    """All files, by name."""
    found = sorted(files(__name__).iterdir(), key=lambda file: file.name)
    return tuple(
        _read(file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in found
        if file.name.endswith(".sql")
    )


def _read(name: str, text: str) -> Template:
    lines = text.splitlines()
    comment = [line[2:].strip() for line in lines if line.startswith("--")]
    needs = [line.removeprefix(_FOR_EACH) for line in comment if line.startswith(_FOR_EACH)]
    says = " ".join(line for line in comment if not line.startswith(_FOR_EACH))
    key, _, value = (needs[0] if needs else "").partition("=")
    sql = "\n".join(line for line in lines if not line.startswith("--"))
    return Template(name, says, (key, value) if needs else None, sql)


def fitting(types: Iterable[TypeShape]) -> Iterator[View]:
    """The views for these event types, those for all data first."""
    shapes = list(types)
    for template in templates():
        if template.needs is None:
            yield View("main", template.name, template.says, template.sql)
    for shape in shapes:
        for template in templates():
            names = _names(template, shape)
            if names is not None:
                sql = re.sub(r"\{(\w+)\}", lambda match, n=names: n[match[1]], template.sql)  # type: ignore[misc]
                yield View(shape.schema, f"{shape.type}_{template.name}", template.says, sql)


def _names(template: Template, shape: TypeShape) -> dict[str, str] | None:
    """What stands in the template's braces, or None if the type has not what it needs."""
    if template.needs is None:
        return None
    names = {"table": shape.table}
    key, value = template.needs
    if key == "steps":
        return None if shape.steps is None else {**names, "steps": shape.steps}
    column = shape.columns.get((key, value))
    return None if column is None else {**names, value: column}

"""The views that ship, one SQL file each; `template.py` says how a file is written.

`fitting` makes of each file one view for all data, or one for every event type that has what the
file needs:

- `source=S` or `name=F`: a field with that source or name, whose column then stands in braces under
  that word; `no source=S`: none such; of several sources divided by `|` it is the first that is
  there, whose column is `{first}`, and `{period}` the day, week or month that it begins;
- `kind=K`: that kind of event type; several kinds are divided by `|`;
- `steps`: a table of steps, which stands under `{steps}`.

`{table}`, `{type}` (its number) and `{name}` always stand for the event type. A file that is for
each field has its first query once for each fitting field, with `{field}` (its name), `{column}`
and what the field is: `{epsilon}` (thousandths) and `{domain}` (number of values). Which fields fit
is said by their types; by `<= N`, at most so many values; by `whole`, once more for all reports
with an empty name and value; by `known`, those of which totals are known; by `randomized`, those
under randomized response, which fit nothing else; by `any`, every one. Fields that the node fills
in for counting fit only `any`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from methrics.aggregate.read.views.template import (
    SHOWN,
    WHOLE,
    Composed,
    Template,
    ViewError,
    check,
    compose,
    read,
)
from methrics.aggregate.store.duck import Connection, literal

__all__ = [
    "SHOWN",
    "FieldShape",
    "Template",
    "TypeShape",
    "View",
    "ViewError",
    "fitting",
    "templates",
]


@dataclass(frozen=True, slots=True)
class FieldShape:
    """What a view may need to know of a field; `column` is quoted SQL."""

    name: str
    column: str
    kind: str
    source: str | None
    epsilon: int | None
    domain: int


@dataclass(frozen=True, slots=True)
class TypeShape:
    """What a view may need to know of an event type; names of tables are quoted SQL."""

    n: int
    schema: str
    type: str
    kind: str
    table: str
    steps: str | None
    fields: tuple[FieldShape, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A view that fits a data set: `schema` and `name` say where."""

    schema: str
    name: str
    template: Template
    sql: Composed

    @property
    def full(self) -> str:
        """Its name as SQL writes it."""
        return self.name if self.schema == "main" else f"{self.schema}.{self.name}"

    @property
    def says(self) -> str:
        """What its numbers mean and what they do not claim."""
        return self.template.says

    def check(self, con: Connection) -> None:
        """Raise ViewError unless the file keeps the rules of `template`."""
        check(con, self.template, self.sql)


@cache
def templates() -> tuple[Template, ...]:
    """All files, by name. Raises ViewError."""
    found = sorted(files(__name__).iterdir(), key=lambda file: file.name)
    return tuple(
        read(file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in found
        if file.name.endswith(".sql")
    )


def fitting(
    types: Iterable[TypeShape],
    known: Collection[str] = (),
    *,
    of: Iterable[Template] | None = None,
) -> Iterator[View]:
    """The views for these event types, those for all data first; `known` are fields with totals."""
    shapes = list(types)
    shipped = templates() if of is None else tuple(of)
    for template in shipped:
        if template.types is None and template.fields is None:
            yield View("main", template.name, template, compose(template, [{}]))
    for shape in shapes:
        for template in shipped:
            fillings = list(_fillings(template, shape, known))
            if fillings:
                sql = compose(template, fillings)
                yield View(shape.schema, f"{shape.type}_{template.name}", template, sql)


def _fillings(
    template: Template, shape: TypeShape, known: Collection[str]
) -> Iterator[dict[str, str]]:
    """What stands in the braces, for each fitting field; nothing if the type does not fit."""
    if template.types is None:
        return
    names = {"table": shape.table, "type": str(shape.n), "name": literal(shape.type)}
    for need in template.types:
        met = _meet(need, shape)
        if met is None:
            return
        names |= met
    if template.fields is None:
        yield names
        return
    for field in shape.fields:
        if _fits(field, template.fields, known):
            yield names | {
                "field": literal(field.name),
                "column": field.column,
                "epsilon": str(field.epsilon or 0),
                "domain": str(field.domain),
            }
    if "whole" in template.fields or ("known" in template.fields and not known):
        yield names | {"field": "''", "column": WHOLE, "epsilon": "0", "domain": "1"}


def _meet(need: str, shape: TypeShape) -> Mapping[str, str] | None:
    """What a type that has `need` adds to the braces; None if it has it not."""
    if need == "any":
        return {}
    if need == "steps":
        return None if shape.steps is None else {"steps": shape.steps}
    if need.startswith("no "):
        return {} if _meet(need.removeprefix("no "), shape) is None else None
    key, _, value = need.partition("=")
    if key == "kind":
        return {} if shape.kind in value.split("|") else None
    for wanted in value.split("|"):
        for field in shape.fields:
            if wanted == (field.source if key == "source" else field.name):
                period = wanted.removeprefix("first_of_")
                return {wanted: field.column, "first": field.column, "period": literal(period)}
    return None


def _fits(field: FieldShape, wanted: Collection[str], known: Collection[str]) -> bool:
    if "any" in wanted:
        return True
    if field.source is not None:
        return False
    if "known" in wanted:
        return field.name in known and field.epsilon is None
    if (field.epsilon is not None) != ("randomized" in wanted):
        return False
    limits = [int(word.removeprefix("<= ")) for word in wanted if word.startswith("<= ")]
    if any(field.domain > limit for limit in limits):
        return False
    return field.epsilon is not None or field.kind in wanted

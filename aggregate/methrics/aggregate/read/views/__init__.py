"""The shipped views, one SQL file each. `template.py` explains the format of a file.

`fitting` turns a file without `for each` into one view for all data. It turns any other file into
one view for every event type that meets all needs in its line `for each type with`. A need can also
give the SQL a placeholder, a word in braces:

- `source=S` or `name=F`: the type has a field with that source or name. The placeholder with that
  word is the field's column. Several sources are divided by `|`, and the first that the type has is
  used: its column is also `{first}`, and `{period}` is the day, week or month that it begins.
- `no source=S`: the type has no such field.
- `kind=K`: the type is of that kind. Several kinds are divided by `|`.
- `steps`: the type has a table of steps, `{steps}`.
- `any`: every type.

`{table}`, `{type}` (a number) and `{name}` always describe the event type. If a file has a line
`for each field of`, its first query is repeated for each fitting field. `{field}` is then the
field's name, `{column}` its column, `{epsilon}` its epsilon in thousandths and `{domain}` the
number of its values. The line lists which fields fit:

- a field type, such as `enum`: fields of that type;
- `<= N`: of these fields, only those with at most N values;
- `known`: fields with known totals;
- `randomized`: fields under randomized response, which fit no other word but `any`;
- `any`: every field. Fields that the node fills in for counting fit only this word;
- `whole`: the query is repeated once more for all reports, with an empty field name and value.

The files in the folder `facts` are single queries over what namespaces say in public. They count no
reports, so nothing in them is rounded or left out.
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
    tables_read,
)
from methrics.aggregate.store.duck import Connection, literal

__all__ = [
    "SHOWN",
    "FieldShape",
    "Template",
    "TypeShape",
    "View",
    "ViewError",
    "facts",
    "fitting",
    "templates",
]


FACT_TABLES = frozenset({"record", "listing", "revoked", "catalog"})
"""The only tables that a file in the folder `facts` may read."""


@dataclass(frozen=True, slots=True)
class FieldShape:
    """The facts about a field that a view may need. `column` is quoted SQL."""

    name: str
    column: str
    kind: str
    source: str | None
    epsilon: int | None
    domain: int


@dataclass(frozen=True, slots=True)
class TypeShape:
    """The facts about an event type that a view may need. Names of tables are quoted SQL."""

    n: int
    schema: str
    type: str
    kind: str
    table: str
    steps: str | None
    fields: tuple[FieldShape, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A view that a data set can have. `schema` is its SQL schema, `name` its name there."""

    schema: str
    name: str
    template: Template
    sql: Composed
    exact: bool = False
    """Whether the view shows every number as it is, whatever the floor."""

    @property
    def full(self) -> str:
        """The name with its SQL schema, as SQL writes it."""
        return self.name if self.schema == "main" else f"{self.schema}.{self.name}"

    @property
    def says(self) -> str:
        """The meaning and the limits of the view's numbers."""
        return self.template.says

    def check(self, con: Connection) -> None:
        """Raise ViewError unless the file keeps the rules of `template`."""
        if not self.exact:
            check(con, self.template, self.sql)
        elif more := tables_read(con, self.sql.view) - FACT_TABLES:
            raise ViewError(f"{self.name}: it reads {', '.join(sorted(more))}")


@cache
def templates() -> tuple[Template, ...]:
    """Read all files, in order of their names. Raises ViewError."""
    found = sorted(files(__name__).iterdir(), key=lambda file: file.name)
    return tuple(
        read(file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in found
        if file.name.endswith(".sql")
    )


@cache
def facts() -> tuple[View, ...]:
    """Read the files in the folder `facts`, in order of their names."""
    found = sorted((files(__name__) / "facts").iterdir(), key=lambda file: file.name)
    return tuple(
        _fact(file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in found
        if file.name.endswith(".sql")
    )


def _fact(name: str, text: str) -> View:
    lines = text.splitlines()
    says = " ".join(line.removeprefix("--").strip() for line in lines if line.startswith("--"))
    sql = "\n".join(line for line in lines if not line.startswith("--"))
    template = Template(name, says, None, None, {}, None, "", sql)
    return View("main", name, template, Composed(sql, "", sql, "SELECT 0"), exact=True)


def fitting(
    types: Iterable[TypeShape],
    known: Collection[str] = (),
    *,
    of: Iterable[Template] | None = None,
) -> Iterator[View]:
    """Yield the views for these event types, views for all data first.

    `known` are the names of the fields with known totals. `of` replaces the shipped files.
    """
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
    """Yield the values of the placeholders in `template` for the event type `shape`.

    A template for each field gets one mapping for each fitting field, any other template gets one.
    If the type does not meet the needs of the template, nothing is yielded.
    """
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
    """Return the placeholders that `need` adds; None if the event type does not meet `need`."""
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

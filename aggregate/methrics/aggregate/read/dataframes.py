"""Gives rows of SQL or of a view as pandas, Polars or Arrow, and a data set's table of contents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from methrics.aggregate.store.duck import Relation, name, translated_query_errors
from methrics.schema.errors import LocalError, StoreError

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    import polars as pl
    import pyarrow as pa  # type: ignore[import-untyped]

T = TypeVar("T")

HOLDS: Mapping[str, str] = {
    "item": "The exact signed bytes of every report, once, under a small number n.",
    "catalog": "The signed catalogs: the event types that each app declares.",
    "record": "The namespace records: the exact bytes of every list of catalogs in use.",
    "listing": "Which catalogs each record lists, and since when and until when.",
    "revoked": "Which event types each record revokes.",
    "declaration": "Under which catalogs reports of which event types came.",
    "type": "The event types: their tables, and the question that each answers.",
    "field": "The columns of those tables, and what each reveals about a person.",
    "code": "The meaning of the numbers in a column.",
    "tombstone": "Erasures, as exact bytes, and the ids of the reports that they erase.",
    "manifest": "What aggregators signed of days that are over: counts and digests of reports.",
    "refusal": "How many items were refused on each day, by reason.",
    "meta": "The version of the file's layout.",
}
"""Each table of every data set, with a sentence on its content."""

SHOWN = 20
"""Jupyter shows this many rows of a view."""


class Tables(ABC):
    """Base of classes with tables. It converts the rows of a query; subclasses run the SQL."""

    @abstractmethod
    def sql(self, query: str, parameters: Sequence[object] = ()) -> Relation:
        """Return the rows of one SELECT as a DuckDB relation."""

    @abstractmethod
    def tables(self) -> list[str]:
        """Names of the tables."""

    def arrow(self, query: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Return the rows of one SELECT as an Arrow table. Raises StoreError, code query."""
        return self._read(query, parameters, lambda found: found.to_arrow_table())

    def pandas(self, query: str, parameters: Sequence[object] = ()) -> pd.DataFrame:
        """Return the rows of one SELECT as a pandas data frame.

        Raises LocalError if pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: F401
        except ImportError:
            raise _missing("pandas") from None
        return self._read(query, parameters, lambda found: found.df())

    def polars(self, query: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Return the rows of one SELECT as a Polars data frame.

        Raises LocalError if Polars is not installed.
        """
        try:
            import polars as pl
        except ImportError:
            raise _missing("polars") from None
        frame = pl.from_arrow(self.arrow(query, parameters))
        assert isinstance(frame, pl.DataFrame), "a table becomes a frame, never a series"
        return frame

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one SELECT as Python tuples."""
        return self._read(query, parameters, lambda found: found.fetchall())

    def _read(self, query: str, parameters: Sequence[object], give: Callable[[Relation], T]) -> T:
        with translated_query_errors():
            return give(self.sql(query, parameters))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def contents(self) -> list[tuple[str, str, str]]:
        """List everything that can be queried: ("table" or "view", name, description)."""
        return [("table", table, HOLDS.get(table, "")) for table in self.tables()]

    def _repr_html_(self) -> str:
        """Return the table of contents as HTML, which Jupyter shows."""
        return html_table(("", "name", "what it holds"), self.contents(), title=str(self))


class TablesAndViews(Tables):
    """Base of data sets with tables and views. `Dataset` opens the files."""

    @abstractmethod
    def views(self) -> Mapping[str, str]:
        """Ready-made views: name -> the meaning and the limits of its numbers."""

    def find_view(self, text: str) -> str | None:
        """Return the full name of the view that `text` names, or None if there is no such view.

        `text` is the full name, or that name without the SQL schema or without the event type.
        Raises StoreError, code query, if `text` fits more than one view.
        """
        names = self.views().keys()
        if text in names:
            return text
        fits = [full for full in names if full.endswith((f".{text}", f"_{text}")) and "." in full]
        if len(fits) > 1:
            raise StoreError("query", f"several views fit {text}", f"name one of {', '.join(fits)}")
        return fits[0] if fits else None

    def view(self, text: str) -> ViewRows:
        """Return a ready-made view. `text` is its full name, or that name without the SQL schema
        or without the event type.

        Raises StoreError, code query, if no view or more than one view has that name.
        """
        found = self.find_view(text)
        if found is None:
            known = ", ".join(self.views()) or "none"
            raise StoreError("query", f"there is no view {text}", f"there are: {known}")
        return ViewRows(self, found, self.views()[found])

    def contents(self) -> list[tuple[str, str, str]]:
        """All there is to ask: (table or view, its name, what it holds or means)."""
        questions = {
            f"{schema}.{table}": (kind, question)
            for schema, table, kind, question in (
                self.rows('SELECT schema, "table", kind, question FROM type')
                if "type" in self.tables()
                else ()
            )
        }
        found = []
        for table in self.tables():
            of = table.removesuffix("_step")
            if table in questions:
                words = questions[table][1]
            elif of in questions:
                words = f"The steps of {of}, one row each; n joins the two."
            else:
                words = HOLDS.get(table, "")
            found.append(("table", table, words))
        return found + [("view", view, says) for view, says in self.views().items()]


@dataclass(frozen=True, slots=True, repr=False)
class ViewRows:
    """A ready-made view of a data set: its rows in any form. `says` explains its numbers."""

    of: TablesAndViews
    name: str
    says: str

    def __repr__(self) -> str:
        return f"<{self.name}: {self.says}>"

    @property
    def query(self) -> str:
        """The SELECT that returns all rows of the view."""
        return f"FROM {name(*self.name.split('.'))}"

    def sql(self) -> Relation:
        """Return the rows of the view as a DuckDB relation."""
        return self.of.sql(self.query)

    def arrow(self) -> pa.Table:
        """Return the rows of the view as an Arrow table."""
        return self.of.arrow(self.query)

    def pandas(self) -> pd.DataFrame:
        """Return the rows of the view as a pandas data frame."""
        return self.of.pandas(self.query)

    def polars(self) -> pl.DataFrame:
        """Return the rows of the view as a Polars data frame."""
        return self.of.polars(self.query)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows of the view as Python tuples."""
        return self.of.rows(self.query)

    def _repr_html_(self) -> str:
        """Return the view's meaning and its first rows as HTML, which Jupyter shows."""
        table = self.of.arrow(f"{self.query} LIMIT {SHOWN}")
        rows = list(zip(*table.to_pydict().values(), strict=True))
        return html_table(table.column_names, rows, title=self.name, says=self.says)


def html_table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], *, title: str, says: str = ""
) -> str:
    """Format rows as HTML that Jupyter styles like its own tables. None becomes an empty cell."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align: left">{"" if cell is None else escape(str(cell))}</td>'
            for cell in row
        )
        + "</tr>"
        for row in rows
    )
    words = f"<p>{escape(says)}</p>" if says else ""
    return (
        f"<p><b>{escape(title)}</b></p>{words}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _missing(package: str) -> LocalError:
    return LocalError(
        "extra-missing", f"{package} is not installed", "pip install 'methrics[notebooks]'"
    )

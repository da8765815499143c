"""What an operator gives a running relay or aggregator: catalogs and records that have changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from methrics.schema.catalog.catalog import Catalog
from methrics.schema.errors import ConfigError, LocalError
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import learn
from methrics.schema.judging.judge import Accepted, accept, judge
from methrics.schema.wire.envelope import Item
from methrics.schema.wire.record import Record


@dataclass(frozen=True, slots=True)
class Given:
    """What files hold that has changed, each with its path; and the files that cannot be used."""

    catalogs: Sequence[tuple[str, Catalog]] = ()
    records: Sequence[tuple[str, Item]] = ()
    refused: Sequence[tuple[str, LocalError]] = ()


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The event that the files were read again: the changed ones in words, and the refused ones."""

    changed: tuple[str, ...] = ()
    refused: tuple[tuple[str, LocalError], ...] = ()


def take_given(given: Given, book: CatalogBook, now: int) -> tuple[list[Accepted], Reloaded]:
    """Add to `book` what can be used of `given`; return it, and what to say. `now` is in Unix
    seconds."""
    accepted: list[Accepted] = []
    changed: list[str] = []
    refused = list(given.refused)
    for path, item in given.records:
        verdict = judge(item.raw, book, now)
        if not isinstance(verdict, Accepted):
            refused.append((path, _refused(path, verdict.reason.value)))
        elif isinstance(verdict.body, Record):
            learn(verdict, book)
            accepted.append(verdict)
            changed.append(f"the record in {path}")
    for path, catalog in given.catalogs:
        if not book.allows(catalog):
            refused.append((path, _foreign(path)))
            continue
        accepted.append(accept(catalog.raw, book, now, live=False))
        book.add(catalog, given=True)
        changed.append(f"catalog {catalog.label} number {catalog.number} in {path}")
    return accepted, Reloaded(tuple(changed), tuple(refused))


def _refused(path: str, reason: str) -> ConfigError:
    return ConfigError("record-refused", f"the record in {path} is refused: {reason}")


def _foreign(path: str) -> ConfigError:
    return ConfigError(
        "foreign-catalog", f"{path} is a catalog of another app", "restart to use it"
    )


def reloaded_lines(done: Reloaded) -> Iterator[str]:
    """Yields the lines that say what reading the files again has changed."""
    for changed in done.changed:
        yield f"reloaded {changed}"
    for _, error in done.refused:
        yield f"not reloaded: {error}"
    if not done.changed and not done.refused:
        yield "reloaded: no file has changed"


def reloaded_values(done: Reloaded) -> dict[str, object]:
    """Returns the same for programs: `changed`, and `refused` with path, code and message."""
    refused = [
        {"path": path, "code": error.code, "message": str(error)} for path, error in done.refused
    ]
    return {"changed": list(done.changed), "refused": refused}

"""Catalogs and records that are read again while a relay or aggregator runs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.listing import record_of

from methrics.node.cli.given_files import GivenFiles
from methrics.node.relay.given import (
    Given,
    Reloaded,
    reloaded_lines,
    reloaded_values,
    take_given,
)
from methrics.schema.catalog.catalog import load, sign
from methrics.schema.catalog.source import parse_source
from methrics.schema.errors import CatalogError, ConfigError
from methrics.schema.example import example_source
from methrics.schema.judging.book import CatalogBook

SEED = b"s" * 32
SOURCE = parse_source(example_source())
CATALOG = load(sign(SOURCE, SEED))
LATER = load(sign(SOURCE, SEED, CATALOG))
RECORD = record_of(CATALOG, seed=SEED, time=600)
NEWER = record_of(CATALOG, LATER, seed=SEED, time=1200)
NOW = 10_000


def given(folder: Path) -> GivenFiles:
    (folder / "app.cbor").write_bytes(CATALOG.raw)
    (folder / "app.record").write_bytes(RECORD.raw)
    return GivenFiles([folder / "app.cbor"], [folder / "app.record"])


def test_only_what_changed_is_returned_again(tmp_path: Path) -> None:
    files = given(tmp_path)
    first = files.first()
    assert [one.id for _, one in first.catalogs] == [CATALOG.id]
    assert [one.id for _, one in first.records] == [RECORD.id]
    assert files.again() == Given([], [], [])
    (tmp_path / "app.cbor").write_bytes(LATER.raw)
    again = files.again()
    assert ([one.id for _, one in again.catalogs], again.records) == ([LATER.id], [])


def test_a_bad_file_ends_the_start_and_is_only_named_later(tmp_path: Path) -> None:
    files = given(tmp_path)
    (tmp_path / "app.cbor").write_bytes(b"no catalog")
    with pytest.raises(CatalogError):
        files.first()
    (tmp_path / "app.record").unlink()
    again = files.again()
    assert [error.code for _, error in again.refused][1:] == ["record-unreadable"]
    (tmp_path / "app.cbor").write_bytes(CATALOG.raw)
    assert [one.id for _, one in files.again().catalogs] == [CATALOG.id]


def test_a_pipe_is_read_at_the_start_only(tmp_path: Path) -> None:
    """To open it again would wait for a writer for ever."""
    files = given(tmp_path)
    for path in (tmp_path / "app.cbor", tmp_path / "app.record"):
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=[content], daemon=True).start()
    first = files.first()
    assert [one.id for _, one in first.catalogs] == [CATALOG.id]
    assert [one.id for _, one in first.records] == [RECORD.id]

    found: list[Given] = []
    reading = threading.Thread(target=lambda: found.append(files.again()), daemon=True)
    reading.start()
    reading.join(60)
    assert not reading.is_alive(), "it waits for a writer"
    (again,) = found
    assert ([*again.catalogs], [*again.records]) == ([], [])
    assert [(path, error.code) for path, error in again.refused] == [
        (str(tmp_path / "app.cbor"), "no-regular-file"),
        (str(tmp_path / "app.record"), "no-regular-file"),
    ]


def test_a_newer_record_and_catalog_are_taken_and_named(tmp_path: Path) -> None:
    book = CatalogBook([CATALOG.topic])
    take_given(given(tmp_path).first(), book, NOW)
    assert not book.lists(LATER)
    changed = Given([("b.cbor", LATER)], [("b.record", NEWER)])
    accepted, done = take_given(changed, book, NOW)
    assert [one.item.id for one in accepted] == [NEWER.id, LATER.id]
    assert book.lists(LATER)
    assert list(reloaded_lines(done)) == [
        "reloaded the record in b.record",
        f"reloaded catalog {LATER.label} number 2 in b.cbor",
    ]


def test_what_belongs_to_another_app_is_refused() -> None:
    book = CatalogBook(["/methrics/1/other-aaaaaaaaaaaaaaaa/cbor"])
    changed = Given([("a.cbor", CATALOG)], [("a.record", RECORD)])
    accepted, done = take_given(changed, book, NOW)
    assert (accepted, done.changed) == ([], ())
    assert [error.code for _, error in done.refused] == ["record-refused", "foreign-catalog"]
    assert [line[:14] for line in reloaded_lines(done)] == ["not reloaded: "] * 2
    assert len(reloaded_values(done)["refused"]) == 2  # type: ignore[arg-type]


def test_nothing_changed_is_said_too() -> None:
    assert list(reloaded_lines(Reloaded())) == ["reloaded: no file has changed"]
    error = ConfigError("code", "text")
    values = reloaded_values(Reloaded((), (("a", error),)))
    assert values["refused"] == [{"path": "a", "code": "code", "message": "text"}]

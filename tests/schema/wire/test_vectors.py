"""The published vectors: files equal to the generator's output, right verdicts, exact bytes."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from tests.listing import list_catalogs
from vector_world import NOW, World, seed

import vectors
from methrics.schema.catalog.catalog import load
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import judge_bundle
from methrics.schema.judging.judge import judge
from methrics.schema.judging.records import RecordBook
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.envelope import split
from methrics.schema.wire.record import decode_record
from methrics.schema.wire.verdict import Decision, Reason

PATHS = sorted(vectors.FOLDER.glob("*.json"))
STORES_DECIDE = {Reason.ERASED, Reason.QUOTA, Reason.RETENTION}
"""Reasons without a vector, because they depend on a node's store or a relay's limits."""


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_folder_equals_the_output_of_the_generator() -> None:
    assert {path.stem: content(path) for path in PATHS} == vectors.build()
    requests = (vectors.FOLDER / "requests").glob("*.json")
    assert {path.stem: content(path) for path in requests} == vectors.build_requests()
    records = (vectors.FOLDER / "records").glob("*.json")
    assert {path.stem: content(path) for path in records} == vectors.build_histories()
    manifests = (vectors.FOLDER / "manifests").glob("*.json")
    assert {path.stem: content(path) for path in manifests} == vectors.build_manifests()
    visits = (vectors.FOLDER / "visits").glob("*.json")
    assert {path.stem: content(path) for path in visits} == vectors.build_visits()
    descriptors = (vectors.FOLDER / "descriptors").glob("*.json")
    assert {path.stem: content(path) for path in descriptors} == vectors.build_descriptors()
    reconcile = (vectors.FOLDER / "reconcile").glob("*.json")
    assert {path.stem: content(path) for path in reconcile} == vectors.build_reconcile()
    lists = vectors.FOLDER.parent.glob("*.txt")
    assert {path.name: path.read_text() for path in lists} == vectors.build_lists()


@pytest.mark.shows("KPI-3")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_vector_gets_its_expected_verdict(path: Path) -> None:
    scenario = content(path)
    assert vectors.expected(vectors.run(scenario)) == scenario["expect"]
    assert path.stem.startswith(scenario["expect"]["reason"] + "-")


HISTORIES = sorted((vectors.FOLDER / "records").glob("*.json"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_history_of_records_is_known_as_expected_in_any_order(path: Path) -> None:
    given = content(path)
    items = [split(bytes.fromhex(raw)) for raw in given["records"]]
    for order in permutations(items):
        book = RecordBook()
        for item in order:
            book.add(item, decode_record(item.payload))
        key, proof = items[0].key, book.proof(items[0].key)
        newest = book.newest(key)
        assert newest is not None
        assert given["expect"] == {
            "newest": newest.item.id.hex(),
            "heads": [item.id.hex() for item in book.heads(key)],
            "proof": None if proof is None else [split(raw).id.hex() for raw in proof],
        }


def test_every_reason_has_a_vector() -> None:
    reasons = {Reason(content(path)["expect"]["reason"]) for path in PATHS}
    assert reasons == set(Reason) - STORES_DECIDE


def test_the_generator_refuses_a_name_with_the_wrong_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vectors, "NOW", NOW + 86_400 * 30)
    with pytest.raises(ValueError, match="ok-report is a duplicate, or its reason is late"):
        vectors.build()


ITEMS = [path for path in PATHS if path.stem.startswith("ok-") and "bytes" in content(path)]


@pytest.mark.parametrize("path", ITEMS, ids=lambda path: path.stem)
def test_no_item_with_one_byte_changed_is_accepted(path: Path, book: CatalogBook) -> None:
    scenario = content(path)
    raw = bytes.fromhex(scenario["bytes"])
    step = 1 if len(raw) < 400 else 7
    for at in range(0, len(raw), step):
        for flip in (0x01, 0x80):
            changed = raw[:at] + bytes([raw[at] ^ flip]) + raw[at + 1 :]
            verdict = judge(changed, book, scenario["now"], live=scenario["live"])
            assert verdict.decision is not Decision.ACCEPT, (at, flip)


def test_no_byte_changed_in_a_bundle_lets_a_changed_item_through(world: World) -> None:
    raw = bytes.fromhex(content(vectors.FOLDER / "ok-bundle.json")["bundle"])
    honest = {world.report(), world.report(name="other")}
    for at in range(len(raw)):
        book = CatalogBook()
        list_catalogs(book, load(world.catalog), seed=seed("namespace"))
        changed = raw[:at] + bytes([raw[at] ^ 0x20]) + raw[at + 1 :]
        verdict = judge_bundle(changed, book, NOW, Seen())
        assert verdict.decision is not Decision.ACCEPT, at
        assert all(found.item.raw in honest for found in verdict.accepted)


def test_no_item_cut_short_or_prolonged_is_accepted(world: World, book: CatalogBook) -> None:
    raw = world.report()
    for size in range(len(raw)):
        assert judge(raw[:size], book, NOW).reason is Reason.MALFORMED
    for more in (b"\x00", b"\xf6", raw):
        assert judge(raw + more, book, NOW).decision is Decision.REJECT

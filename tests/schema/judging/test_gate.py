"""Verdicts on bundles: items kept, bundles forwarded, and attacks that fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vector_world import CATALOG, NOW, TIME, World, malleable, protected, sign_by_hand

from methrics.schema.catalog.catalog import load
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack
from methrics.schema.wire.envelope import Kind, seal, split
from methrics.schema.wire.verdict import Decision, Reason

WORLD = World()
REPORTS = [WORLD.report(name=f"person {n}") for n in range(40)]
BAD = {
    Reason.MALFORMED: b"junk",
    Reason.FORGED: malleable(REPORTS[0]),
    Reason.OFF_SCHEMA: WORLD.report(values={"name": "eve"}),
    Reason.EMPTY: WORLD.report(values={}),
    Reason.UNROUNDED: WORLD.report(time=TIME + 1),
}
HARMLESS = {
    Reason.EARLY: WORLD.report(time=TIME + 1200),
    Reason.LATE: WORLD.report(time=TIME - 86_400 * 30),
    Reason.EXPIRED: WORLD.report(type="over", values={"os": "linux"}),
}
UNVOUCHED = {
    Reason.UNKNOWN_CATALOG: WORLD.report(catalog=bytes(32)),
    Reason.UNKNOWN_KIND: sign_by_hand(protected(9), b"x"),
}


def known() -> CatalogBook:
    book = CatalogBook()
    assert book.add(load(WORLD.catalog))
    return book


def kept(verdict: BundleVerdict) -> list[bytes]:
    return [found.item.raw for found in verdict.accepted]


@given(st.binary(max_size=300) | st.lists(st.binary(max_size=200), min_size=1).map(pack))
def test_any_bytes_get_a_verdict(raw: bytes) -> None:
    verdict = judge_bundle(raw, known(), NOW, Seen())
    assert verdict.decision is not Decision.ACCEPT
    assert verdict.accepted == []


@given(st.lists(st.sampled_from(REPORTS), min_size=1, max_size=30), st.data())
def test_each_report_is_kept_once_however_often_it_comes(
    raws: list[bytes], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(raws) - 1))
    book, seen = known(), Seen()
    found = []
    for part in (raws[:cut], raws[cut:], raws):
        if part:
            verdict = judge_bundle(pack(part), book, NOW, seen)
            found += kept(verdict)
            assert (verdict.decision is Decision.ACCEPT) == bool(verdict.accepted)
    assert sorted(found) == sorted(set(raws))


@pytest.mark.shows("METH-12")
@pytest.mark.parametrize("reason", BAD)
@pytest.mark.parametrize("at", [0, 3, 6])
def test_one_bad_item_rejects_the_bundle_and_nothing_is_kept(reason: Reason, at: int) -> None:
    raws = REPORTS[1:7]
    raws.insert(at, BAD[reason])
    book, seen = known(), Seen()
    verdict = judge_bundle(pack(raws), book, NOW, seen)
    assert (verdict.decision, verdict.reason) == (Decision.REJECT, reason)
    assert verdict.accepted == []
    assert verdict.refused[-1].raw == BAD[reason]
    assert len(seen) == 0
    honest = judge_bundle(pack(REPORTS[1:7]), book, NOW, seen)
    assert kept(honest) == REPORTS[1:7]  # the valid copy is not treated as a duplicate


@pytest.mark.parametrize("reason", HARMLESS)
def test_a_harmless_item_is_left_out_and_the_rest_passes(reason: Reason) -> None:
    verdict = judge_bundle(pack([HARMLESS[reason], REPORTS[0]]), known(), NOW, Seen())
    assert verdict.decision is Decision.ACCEPT
    assert [refusal.reason for refusal in verdict.refused] == [reason]
    alone = judge_bundle(pack([HARMLESS[reason]]), known(), NOW, Seen())
    assert (alone.decision, alone.reason) == (Decision.IGNORE, reason)


@pytest.mark.parametrize("reason", UNVOUCHED)
def test_a_bundle_with_an_unknown_item_is_kept_but_not_forwarded(reason: Reason) -> None:
    """Other nodes may know the item and reject it, so forwarding it could cost peer score."""
    verdict = judge_bundle(pack([UNVOUCHED[reason], REPORTS[0]]), known(), NOW, Seen())
    assert (verdict.decision, verdict.reason) == (Decision.IGNORE, reason)
    assert kept(verdict) == [REPORTS[0]]


@pytest.mark.parametrize("reason", UNVOUCHED)
def test_attack_an_unknown_item_beside_a_report_does_not_stop_the_report(reason: Reason) -> None:
    """A malicious relay knows a report before its topic does, and sends it beside an unknown item
    to the peers of the other relay."""
    book, seen = known(), Seen()
    poison = pack([UNVOUCHED[reason], *REPORTS[:3]])
    assert judge_bundle(poison, book, NOW, seen).decision is Decision.IGNORE
    honest = judge_bundle(pack(REPORTS[:3]), book, NOW, seen)
    assert honest.decision is Decision.ACCEPT
    assert kept(honest) == REPORTS[:3]
    again = judge_bundle(poison, book, NOW, seen)
    assert again.accepted == []


def test_attack_poisoned_duplicate() -> None:
    """A known id with a forged signature is no duplicate: other nodes would reject the bundle."""
    book, seen = known(), Seen()
    assert judge_bundle(pack([REPORTS[0]]), book, NOW, seen).decision is Decision.ACCEPT
    spoilt = pack([malleable(REPORTS[0]), REPORTS[1]])
    verdict = judge_bundle(spoilt, book, NOW, seen)
    assert (verdict.decision, verdict.reason) == (Decision.REJECT, Reason.FORGED)


def test_attack_forged_behind_a_clock() -> None:
    """A forged item that is late on this clock is rejected, since it may not be late on others."""
    late = malleable(HARMLESS[Reason.LATE])
    for now in (NOW, NOW - 86_400 * 30):
        verdict = judge_bundle(pack([REPORTS[0], late]), known(), now, Seen())
        assert verdict.reason is Reason.FORGED


def test_a_catalog_counts_for_the_reports_behind_it() -> None:
    book = CatalogBook({WORLD.topic})
    verdict = judge_bundle(pack([WORLD.catalog, *REPORTS]), book, NOW, Seen(), topic=WORLD.topic)
    assert verdict.decision is Decision.ACCEPT
    assert kept(verdict) == [WORLD.catalog, *REPORTS]
    assert book.get(WORLD.catalog_id) is not None


@pytest.mark.shows("METH-15")
def test_a_revocation_counts_for_the_reports_behind_it() -> None:
    book = known()
    verdict = judge_bundle(pack([WORLD.revocation(), REPORTS[0]]), book, NOW, Seen())
    assert kept(verdict) == [WORLD.revocation()]
    assert [refusal.reason for refusal in verdict.refused] == [Reason.REVOKED]


def test_a_full_book_refuses_a_catalog_with_quota() -> None:
    book = CatalogBook(capacity=1)
    assert book.add(load(WORLD.namespace(Kind.CATALOG, CATALOG | {"contact": "first"})))
    verdict = judge_bundle(pack([WORLD.catalog]), book, NOW, Seen())
    assert (verdict.decision, verdict.reason) == (Decision.IGNORE, Reason.QUOTA)


def test_a_late_item_from_a_file_is_accepted() -> None:
    raw = pack([HARMLESS[Reason.LATE]])
    assert judge_bundle(raw, known(), NOW, Seen(), live=False).decision is Decision.ACCEPT


def test_two_threads_keep_each_report_once() -> None:
    book, seen = known(), Seen()
    bundles = [pack(REPORTS[n : n + 10]) for n in range(0, 30, 5)] * 4
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(lambda raw: judge_bundle(raw, book, NOW, seen), bundles))
    found = [raw for verdict in verdicts for raw in kept(verdict)]
    assert sorted(found) == sorted(REPORTS[:35])


def test_a_discarded_item_is_accepted_again() -> None:
    book, seen = known(), Seen()
    judge_bundle(pack([REPORTS[0]]), book, NOW, seen)
    seen.discard(split(REPORTS[0]).id)
    assert judge_bundle(pack([REPORTS[0]]), book, NOW, seen).decision is Decision.ACCEPT


@given(st.integers(1, 20), st.lists(st.integers(0, 60), max_size=200))
def test_seen_remembers_the_last_and_stays_bounded(capacity: int, picks: list[int]) -> None:
    seen = Seen(capacity)
    order: list[bytes] = []
    for pick in picks:
        item = ITEMS[pick]
        fresh = seen.add(item)
        if fresh:
            order.append(item.id)
        else:
            assert item.id in seen
        assert len(seen) <= 2 * capacity
        assert all(recent in seen for recent in order[-capacity:])


ITEMS = [split(seal(Kind.REPORT, b"%d" % n, bytes(32))) for n in range(61)]


def test_seen_knows_an_item_by_its_signature_too() -> None:
    seen = Seen()
    assert seen.add(ITEMS[0])
    assert not seen.add(ITEMS[0])
    assert seen.holds(ITEMS[0])
    assert not seen.holds(split(malleable(ITEMS[0].raw)))
    with pytest.raises(ValueError, match="at least one"):
        Seen(0)


def test_attack_a_known_catalog_under_another_label_when_the_book_is_full() -> None:
    """The label is part of the topic, and only the catalog's payload has the label."""
    seen = Seen()
    bundle = pack([WORLD.catalog])
    assert judge_bundle(bundle, CatalogBook(), NOW, seen).decision is Decision.ACCEPT
    label = WORLD.topic.replace("vectors", "victors")
    verdict = judge_bundle(bundle, CatalogBook(capacity=0), NOW, seen, topic=label)
    assert (verdict.decision, verdict.reason) == (Decision.REJECT, Reason.FOREIGN)


@given(st.lists(st.sampled_from([*REPORTS[:3], *HARMLESS.values()]), min_size=1, max_size=9))
def test_refusals_have_the_order_of_the_bundle(raws: list[bytes]) -> None:
    verdict = judge_bundle(pack(raws), known(), NOW, Seen())
    reasons = {raw: reason for reason, raw in HARMLESS.items()}
    expected = [
        (reasons.get(raw, Reason.DUPLICATE), raw)
        for at, raw in enumerate(raws)
        if raw in reasons or raw in raws[:at]
    ]
    assert [(refusal.reason, refusal.raw) for refusal in verdict.refused] == expected


@pytest.mark.parametrize("kind", ["report", "erasure", "catalog", "revocation", "announcement"])
def test_attack_a_known_item_on_the_topic_of_another_namespace(kind: str) -> None:
    """Nodes that have not seen the item reject it there, so a node that has must not forward it."""
    raw = WORLD.catalog if kind == "catalog" else getattr(WORLD, kind)()
    book, seen = known(), Seen()
    bundle = pack([raw])
    assert judge_bundle(bundle, book, NOW, seen, topic=WORLD.topic).decision is Decision.ACCEPT
    again = judge_bundle(bundle, book, NOW, seen, topic=WORLD.topic)
    assert (again.decision, again.reason) == (Decision.IGNORE, Reason.DUPLICATE)
    elsewhere = "/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"
    for memory in (seen, Seen()):
        verdict = judge_bundle(bundle, book, NOW, memory, topic=elsewhere)
        assert (verdict.decision, verdict.reason) == (Decision.REJECT, Reason.FOREIGN)

"""Verdicts on bundles: items kept, bundles forwarded, and attacks that fail."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.listing import listed_book
from tests.schema.verifiers import VERIFIERS, one_by_one, verifying_with
from vector_world import CATALOG, NOW, TIME, World, malleable, protected, seed, sign_by_hand

import vectors
from methrics.schema.catalog.catalog import load
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict, judge_bundle, place_of
from methrics.schema.judging.seen import Seen
from methrics.schema.wire.bundle import pack as bundle_of
from methrics.schema.wire.bundle import pack_notice
from methrics.schema.wire.codec import head
from methrics.schema.wire.envelope import Kind, inner_hash, seal, split
from methrics.schema.wire.items import Erasure, encode_erasure
from methrics.schema.wire.record import decode_record
from methrics.schema.wire.shard import shards_of
from methrics.schema.wire.signatures import open_many
from methrics.schema.wire.topic import short_key
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
KEY = load(WORLD.catalog).key
RECORD_WAIT = b"record:" + short_key(KEY).encode()
STRANGERS = {
    "report": WORLD.report(catalog=bytes(32)),
    "erasure": WORLD.erasure(catalog=bytes(32)),
    "unknown kind": sign_by_hand(protected(9), b"x"),
    "catalog": WORLD.catalog,
    "record": WORLD.record(),
    "announcement": WORLD.announcement(),
}
"""Items that no bundle of the catalog may have in it."""


def known() -> CatalogBook:
    return listed_book(load(WORLD.catalog), seed=seed("namespace"))


def knows(book: CatalogBook, raw: bytes) -> None:
    """Let a record take effect in `book`."""
    item = split(raw)
    book.records.add(item, decode_record(item.payload))


def pack(raws: Iterable[bytes]) -> bytes:
    """A bundle of the world's catalog."""
    return WORLD.bundle(*raws)


def kept(verdict: BundleVerdict) -> list[bytes]:
    return [found.item.raw for found in verdict.accepted]


@given(
    st.binary(max_size=300)
    | st.lists(st.binary(max_size=200), min_size=1).map(pack)
    | st.binary().map(pack_notice)
)
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


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("at", [0, 1])
def test_attack_a_bundle_with_an_item_that_a_node_cannot_judge(stranger: str, at: int) -> None:
    """A malicious relay knows a report before its topic does, and sends it beside something else.
    Every node rejects such a bundle, and none forgets the report."""
    book, seen = known(), Seen()
    raws = [REPORTS[0]]
    raws.insert(at, STRANGERS[stranger])
    verdict = judge_bundle(pack(raws), book, NOW, seen, topic=WORLD.topic)
    assert (verdict.decision, verdict.reason) == (Decision.REJECT, Reason.MALFORMED)
    assert (verdict.accepted, len(seen), len(book)) == ([], 0, 1)
    alone = judge_bundle(pack([REPORTS[0]]), book, NOW, seen, topic=WORLD.topic)
    assert kept(alone) == [REPORTS[0]]


def test_attack_a_report_in_a_bundle_of_an_invented_catalog_is_not_forgotten() -> None:
    book, seen = known(), Seen()
    poison = bundle_of(bytes(32), [REPORTS[0]])
    verdict = judge_bundle(poison, book, NOW, seen, topic=WORLD.topic)
    assert (verdict.decision, verdict.reason) == (Decision.IGNORE, Reason.UNLISTED)
    assert (verdict.accepted, verdict.waits_for, verdict.about) == ([], RECORD_WAIT, bytes(32))
    assert len(seen) == 0
    honest = judge_bundle(pack([REPORTS[0]]), book, NOW, seen, topic=WORLD.topic)
    assert kept(honest) == [REPORTS[0]]


def test_a_bundle_waits_for_its_catalog_and_is_then_accepted() -> None:
    book, seen = CatalogBook({WORLD.topic}), Seen()
    knows(book, WORLD.record())
    verdict = judge_bundle(pack(REPORTS), book, NOW, seen, topic=WORLD.topic)
    assert (verdict.decision, verdict.reason) == (Decision.IGNORE, Reason.UNKNOWN_CATALOG)
    assert (verdict.waits_for, verdict.refused, len(seen)) == (WORLD.catalog_id, [], 0)
    notice = judge_bundle(pack_notice(WORLD.catalog), book, NOW, seen, topic=WORLD.topic)
    assert kept(notice) == [WORLD.catalog]
    again = judge_bundle(pack(REPORTS), book, NOW, seen, topic=WORLD.topic)
    assert kept(again) == REPORTS


def test_a_bundle_waits_for_a_record_that_lists_its_catalog() -> None:
    book, seen = CatalogBook({WORLD.topic}), Seen()
    assert book.add(load(WORLD.catalog), given=True)
    verdict = judge_bundle(pack(REPORTS), book, NOW, seen, topic=WORLD.topic)
    assert (verdict.reason, verdict.waits_for) == (Reason.UNLISTED, RECORD_WAIT)
    notice = judge_bundle(pack_notice(WORLD.record()), book, NOW, seen, topic=WORLD.topic)
    assert kept(notice) == [WORLD.record()]
    assert kept(judge_bundle(pack(REPORTS), book, NOW, seen, topic=WORLD.topic)) == REPORTS


def test_a_bundle_waits_whole_if_one_report_is_after_the_end_of_the_record() -> None:
    book, seen = CatalogBook(), Seen()
    assert book.add(load(WORLD.catalog), given=True)
    knows(book, WORLD.record(expires=TIME))
    early, late = WORLD.report(time=TIME - 600), WORLD.report()
    verdict = judge_bundle(pack([early, late]), book, NOW, seen)
    assert (verdict.reason, verdict.waits_for, len(seen)) == (Reason.UNLISTED, RECORD_WAIT, 0)
    assert kept(judge_bundle(pack([early]), book, NOW, seen)) == [early]
    knows(book, WORLD.record(time=TIME - 600))
    assert kept(judge_bundle(pack([early, late]), book, NOW, seen)) == [late]


def test_erasures_need_their_catalog_and_no_record() -> None:
    book = CatalogBook({WORLD.topic})
    bundle = pack([WORLD.erasure()])
    assert judge_bundle(bundle, book, NOW, Seen(), topic=WORLD.topic).reason is Reason.UNLISTED
    assert book.add(load(WORLD.catalog), given=True)
    assert kept(judge_bundle(bundle, book, NOW, Seen(), topic=WORLD.topic)) == [WORLD.erasure()]


@pytest.mark.parametrize("kind", ["report", "erasure"])
def test_a_report_or_erasure_is_no_notice(kind: str) -> None:
    verdict = judge_bundle(pack_notice(getattr(WORLD, kind)()), known(), NOW, Seen())
    assert (verdict.decision, verdict.reason) == (Decision.REJECT, Reason.MALFORMED)


def test_a_notice_of_an_unknown_kind_is_ignored() -> None:
    verdict = judge_bundle(pack_notice(STRANGERS["unknown kind"]), known(), NOW, Seen())
    assert (verdict.decision, verdict.reason) == (Decision.IGNORE, Reason.UNKNOWN_KIND)


def test_attack_a_known_report_under_another_nonce() -> None:
    """The id of a report does not cover its nonce, so the nonce is compared, too."""
    stamped = WORLD.report(type="stamped", values={"os": "linux"}, work_bits=8)
    item = split(stamped)
    other = next(
        sign_by_hand(b"\xa4" + protected()[1:] + b"\x64work" + head(0, nonce), item.payload)
        for nonce in range(24)
        if nonce != item.work
    )
    changed = split(other[:-64] + stamped[-64:])
    assert changed.id == item.id
    seen = Seen()
    assert seen.add(item)
    assert not seen.holds(changed)


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


@pytest.mark.shows("METH-15")
def test_a_revocation_counts_for_the_reports_behind_its_record() -> None:
    book, seen = known(), Seen()
    revoked = WORLD.records()["ok-record-revoked"][1]
    assert kept(judge_bundle(pack_notice(revoked), book, NOW, seen)) == [revoked]
    verdict = judge_bundle(pack([REPORTS[0]]), book, NOW, seen)
    assert (verdict.decision, verdict.reason) == (Decision.IGNORE, Reason.REVOKED)


def test_a_full_book_refuses_a_catalog_with_quota() -> None:
    book = CatalogBook(capacity=1)
    other = load(WORLD.namespace(Kind.CATALOG, CATALOG | {"contact": "first"}))
    assert book.add(other, given=True)
    knows(book, WORLD.record())
    verdict = judge_bundle(pack_notice(WORLD.catalog), book, NOW, Seen())
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
    bundle = pack_notice(WORLD.catalog)
    assert judge_bundle(bundle, known(), NOW, seen).decision is Decision.ACCEPT
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


@pytest.mark.parametrize("kind", ["report", "erasure", "catalog", "record", "announcement"])
def test_attack_a_known_item_on_the_topic_of_another_namespace(kind: str) -> None:
    """Nodes that have not seen the item reject it there, so a node that has must not forward it."""
    raw = WORLD.catalog if kind == "catalog" else getattr(WORLD, kind)()
    book, seen = known(), Seen()
    bundle = pack([raw]) if kind in ("report", "erasure") else pack_notice(raw)
    assert judge_bundle(bundle, book, NOW, seen, topic=WORLD.topic).decision is Decision.ACCEPT
    again = judge_bundle(bundle, book, NOW, seen, topic=WORLD.topic)
    assert (again.decision, again.reason) == (Decision.IGNORE, Reason.DUPLICATE)
    elsewhere = "/methrics/1/vectors-aaaaaaaaaaaaaaaa/cbor"
    for memory in (seen, Seen()):
        verdict = judge_bundle(bundle, book, NOW, memory, topic=elsewhere)
        assert (verdict.decision, verdict.reason) == (Decision.REJECT, Reason.FOREIGN)


@given(
    st.lists(
        st.sampled_from([*REPORTS[:4], *BAD.values(), *HARMLESS.values(), WORLD.erasure()]),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 64),
    st.lists(st.sampled_from(REPORTS), max_size=3),
)
def test_a_bundle_gets_the_same_verdict_whoever_checks_the_signatures(
    items: list[bytes], before: int, earlier: list[bytes]
) -> None:
    crowd = (REPORTS * 2)[:before]
    found: list[BundleVerdict] = []
    for verifier in (one_by_one, *VERIFIERS):
        with verifying_with(verifier):
            seen = Seen()
            if earlier:
                judge_bundle(pack(earlier), known(), NOW, seen)
            found.append(judge_bundle(pack([*crowd, *items]), known(), NOW, seen))
    assert all(one == found[0] for one in found[1:])


def test_attack_a_bundle_rejected_at_once_costs_few_signature_checks() -> None:
    checked: list[int] = []

    def counting(messages: Sequence[bytes], keys: Sequence[bytes]) -> int:
        checked.append(len(messages))
        return open_many(messages, keys)

    crowd = [WORLD.report(name=f"crowd {n}") for n in range(300)]
    for bad, most in ((BAD[Reason.OFF_SCHEMA], 64), (BAD[Reason.FORGED], 64)):
        checked.clear()
        with verifying_with(counting):
            verdict = judge_bundle(pack([bad, *crowd]), known(), NOW, Seen())
        assert verdict.decision is Decision.REJECT
        assert sum(checked) <= most


def test_all_vectors_of_bundles_get_their_verdict_from_either_verifier() -> None:
    for path in vectors.FOLDER.glob("*.json"):
        scenario = json.loads(path.read_text())
        for verifier in VERIFIERS:
            with verifying_with(verifier):
                assert vectors.expected(vectors.run(scenario)) == scenario["expect"], path.name


def erasure_of(n: int) -> bytes:
    """The erasure of report number `n`, by the report's own key."""
    body = Erasure(load(WORLD.catalog).id, inner_hash(split(REPORTS[n])), TIME // 86_400)
    return seal(Kind.ERASURE, encode_erasure(body), seed(f"person {n}"))


@settings(max_examples=6, deadline=None)
@given(st.sampled_from((2, 4, 16)), st.lists(st.sampled_from(range(40)), max_size=12, unique=True))
def test_shards_judge_their_own_items_and_together_all(count: int, numbers: list[int]) -> None:
    erased = [erasure_of(n) for n in numbers]
    message = pack([*REPORTS, *erased])
    whole = judge_bundle(message, known(), NOW, Seen())
    found: list[bytes] = []
    for shard in shards_of(count):
        verdict = judge_bundle(message, known(), NOW, Seen(), shard=shard)
        assert not verdict.refused
        assert (verdict.decision is Decision.ACCEPT) == bool(verdict.accepted)
        assert all(shard.has(place_of(raw)) for raw in kept(verdict))
        found += kept(verdict)
    assert sorted(found) == sorted(kept(whole))


def test_an_erasure_is_judged_by_the_shard_of_its_report() -> None:
    for n, report in enumerate(REPORTS):
        assert place_of(erasure_of(n)) == place_of(report) == split(report).id


def test_a_shard_rejects_only_what_it_has_judged() -> None:
    forged = malleable(REPORTS[0])
    own, *_ = [one for one in shards_of(4) if one.has(split(forged).id)]
    for shard in shards_of(4):
        verdict = judge_bundle(pack([forged, *REPORTS[1:]]), known(), NOW, Seen(), shard=shard)
        assert (verdict.reason is Reason.FORGED) == (shard == own)
        assert (verdict.decision is Decision.REJECT) == (shard == own)


def test_a_bundle_without_items_of_a_shard_is_ignored_and_nothing_is_counted() -> None:
    away = next(one for one in shards_of(16) if not one.has(split(REPORTS[0]).id))
    verdict = judge_bundle(pack(REPORTS[:1]), known(), NOW, Seen(), shard=away)
    assert verdict == BundleVerdict(Decision.IGNORE, Reason.OK, about=load(WORLD.catalog).id)


@given(st.binary(max_size=200) | st.sampled_from([*BAD.values(), *STRANGERS.values()]))
def test_any_bytes_belong_to_one_shard(raw: bytes) -> None:
    assert sum(shard.has(place_of(raw)) for shard in shards_of(16)) == 1

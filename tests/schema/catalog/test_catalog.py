"""Catalogs: all bytes are read or refused, and the properties of a type hold for all its
reports."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain, combinations, product
from math import log2
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.schema.catalog.test_fields import decodable, wire_values
from tests.schema.declarations import catalog_maps, type_maps, type_of

from methrics.schema import example as catalogs
from methrics.schema.catalog.catalog import Catalog, load, sign
from methrics.schema.catalog.event_type import EventType
from methrics.schema.catalog.source import CatalogSource, parse_source
from methrics.schema.errors import CatalogError, RefusedError
from methrics.schema.example import example_bytes, example_seed, example_source
from methrics.schema.wire.codec import decode, encode
from methrics.schema.wire.envelope import Kind, public_key, seal, split
from methrics.schema.wire.items import Report, decode_report, encode_report
from methrics.schema.wire.limits import CATALOG_MAX, ENVELOPE_SIZE, REPORT_MAX, STAMP_SIZE
from methrics.schema.wire.verdict import Reason

KEY, ID = bytes(range(32)), bytes(32)
SOURCE = parse_source(example_source())


def read(payload: bytes) -> Catalog:
    return Catalog.from_payload(payload, KEY, ID, payload)


def largest(entry: EventType) -> Report:
    """The largest report of a type, built value by value."""
    values: dict[str, object] = {}
    for field in entry.fields:
        wires = wire_values(field) if field.domain < 60 else candidates(field.params)
        values[field.name] = max(
            (wire for wire in wires if field.check(wire)), key=lambda wire: len(encode(wire))
        )
    sequence = None
    if entry.sequence is not None:
        step = max(entry.sequence.steps, key=len)
        sequence = ((step, entry.sequence.buckets - 1),) * entry.sequence.max_steps
    return Report(
        catalog=bytes(32),
        type=entry.name,
        time=(entry.expires - 1) // entry.resolution * entry.resolution,
        values=values,
        count=entry.max_count,
        one_in=max(entry.one_in),
        sequence=sequence,
    )


def candidates(params: dict[str, object]) -> list[object]:
    most, values = params.get("max"), params.get("values")
    found: list[object] = ["other", "ZZ", "en", "DE", True, 0, 23, 24, 255, 256, 65_535]
    found += values if isinstance(values, list) else []
    found += [".".join(map(str, most))] if isinstance(most, list) else [most]
    return found


def contents(entry: EventType) -> list[tuple[object, ...]]:
    """All distinct contents of reports of a small type, found by enumeration."""
    names = [field.name for field in entry.fields]
    options = [[None, *wire_values(field)] for field in entry.fields]
    counts = [None] if entry.max_count is None else list(range(entry.max_count + 2))
    sequences: list[Any] = [None]
    if entry.sequence is not None:
        pairs = list(product(entry.sequence.steps, range(entry.sequence.buckets + 1)))
        lengths = range(entry.sequence.max_steps + 2)
        sequences = list(chain.from_iterable(product(pairs, repeat=n) for n in lengths))
    found: list[tuple[object, ...]] = []
    for values in product(*options):
        given_values = {n: v for n, v in zip(names, values, strict=True) if v is not None}
        for count, one_in, sequence in product(counts, sorted({*entry.one_in, 7}), sequences):
            reason = entry.check_report(given_values, count, one_in, sequence, 0)
            if reason is Reason.OK:
                found.append((values, count, one_in, sequence))
    return found


@pytest.mark.shows("NEW-8")
@settings(max_examples=40)
@given(type_maps(small=True))
def test_entropy_is_the_logarithm_of_all_possible_reports(wire: dict[str, Any]) -> None:
    entry = type_of(wire)
    if entry.domain > 3000:
        return
    found = contents(entry)
    assert entry.domain == len(found)
    assert entry.bits == log2(len(found))


@settings(max_examples=60)
@given(type_maps(), st.binary(min_size=32, max_size=32))
def test_max_report_bytes_is_the_size_of_the_largest_report(
    wire: dict[str, Any], seed: bytes
) -> None:
    entry = type_of({**wire, "work": 0})
    report = largest(entry)
    assert (
        entry.check_report(report.values, report.count, report.one_in, report.sequence, report.time)
        is Reason.OK
    )
    payload = encode_report(report)
    assert decode_report(payload) == report
    raw = seal(Kind.REPORT, payload, seed)
    assert len(payload) == entry.max_payload_bytes
    assert len(raw) == entry.max_report_bytes <= REPORT_MAX


@settings(max_examples=60)
@given(type_maps(), st.data())
def test_no_report_is_larger_than_max_report_bytes(
    wire: dict[str, Any], data: st.DataObject
) -> None:
    entry = type_of(wire)
    top = largest(entry)
    kept = data.draw(st.sets(st.sampled_from(sorted(top.values)))) if top.values else set()
    values = {name: top.values[name] for name in kept}
    report = Report(
        bytes(32), entry.name, 0, values, entry.max_count and 1, entry.one_in[0], top.sequence
    )
    assert len(encode_report(report)) <= entry.max_payload_bytes


@given(st.integers(0, 2**16))
def test_the_envelope_is_as_large_as_the_limits_say(size: int) -> None:
    if not 24 <= size <= 800:
        size = 24 + size % 700
    payload = bytes(size)
    head = 2 if size < 256 else 3
    raw = seal(Kind.REPORT, payload, example_seed())
    assert len(raw) == ENVELOPE_SIZE + head + size


def test_a_work_stamp_is_at_most_as_large_as_the_limits_say() -> None:
    plain = seal(Kind.REPORT, b"payload", example_seed())
    stamped = seal(Kind.REPORT, b"payload", example_seed(), work_bits=1)
    # The nonce counts up from zero, so a signer rarely needs its other eight
    # bytes, but the bound has to include them.
    assert len(stamped) + 8 == len(plain) + STAMP_SIZE


@given(catalog_maps())
def test_payload_to_catalog_to_payload_is_identical(wire: dict[str, Any]) -> None:
    payload = encode(wire)
    catalog = read(payload)
    assert catalog.to_payload() == payload
    assert set(catalog.types) == set(wire["types"])


def test_source_to_payload_to_catalog_to_payload_is_identical() -> None:
    payload = SOURCE.payload()
    assert read(payload).to_payload() == payload


def refused_or_read(payload: bytes) -> None:
    try:
        catalog = read(payload)
    except RefusedError as caught:
        error = caught
    else:
        assert catalog.to_payload() == payload
        return
    assert error.code in ("malformed", "off-schema", "oversize")
    assert str(error).isprintable()
    assert len(str(error)) < 600


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xa0")
@example(b"\x81" * 300)
@example(b"\xbb" + b"\xff" * 8)
def test_any_bytes_are_a_catalog_or_refused(data: bytes) -> None:
    refused_or_read(data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_makes_another_catalog_or_is_refused(at: int, byte: int) -> None:
    payload = bytearray(SOURCE.payload())
    payload[at % len(payload)] = byte
    refused_or_read(bytes(payload))


def paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += paths(item, (*path, index))
    return found


WIRE: Any = decode(SOURCE.payload(), limit=CATALOG_MAX)
PATHS = paths(WIRE)
wireable = st.recursive(
    st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {k: replaced(v, path[1:], new) if k == path[0] else v for k, v in value.items()}
    return [replaced(v, path[1:], new) if i == path[0] else v for i, v in enumerate(value)]


@settings(max_examples=150)
@given(st.sampled_from(PATHS), wireable)
def test_a_changed_value_makes_another_catalog_or_is_refused(
    path: tuple[object, ...], new: object
) -> None:
    try:
        payload = encode(replaced(WIRE, path, new))
    except ValueError:
        return  # nested too deeply to encode
    refused_or_read(payload)


@pytest.mark.shows("METH-7", "METH-11", "METH-16", "KPI-11")
@pytest.mark.parametrize("path", [p for p in PATHS if p and isinstance(p[-1], str)])
def test_a_catalog_without_a_required_key_is_refused(path: tuple[object, ...]) -> None:
    *parents, last = path
    parent: Any = WIRE
    for step in parents:
        parent = parent[step]
    if (
        last in WIRE["types"]
        or last in ("unit", "source", "results")
        or parent.get("type") == "language"
    ):
        return
    without = {key: value for key, value in parent.items() if key != last}
    with pytest.raises(RefusedError) as caught:
        read(encode(replaced(WIRE, tuple(parents), without)))
    assert caught.value.code == "off-schema"


def test_a_catalog_over_the_limit_is_refused() -> None:
    with pytest.raises(RefusedError) as caught:
        read(bytes(CATALOG_MAX + 1))
    assert caught.value.code == "oversize"


@pytest.mark.parametrize(
    ("code", "path", "value"),
    [
        ("M005", ("number",), 0),
        ("M006", ("label",), "Example"),
        ("M017", ("number",), 2),
        ("M005", ("types",), {}),
        ("M018", ("types", "heartbeat", "review"), "http://example.org"),
        ("M005", ("types", "heartbeat", "resolution"), 601),
        ("M014", ("types", "heartbeat", "release", "delay"), 299),
        ("M014", ("types", "heartbeat", "release", "every"), [3599, 7200]),
        ("M009", ("types", "heartbeat", "release", "every"), [7200, 3600]),
        ("M011", ("types", "heartbeat", "kind"), "event"),
        ("M011", ("types", "signin", "kind"), "count"),
        ("M016", ("types", "signin", "entropy_bits"), 27),
        ("M005", ("types", "signin", "entropy_bits"), 29),
        ("M021", ("types", "signin", "one_in"), [1, 2, 5, 10, 100]),
        ("M018", ("results",), "http://example.org/"),
        ("M004", ("results",), 1),
        ("M007", ("results",), ""),
        ("M010", ("types", "signin", "chart"), "pie"),
        ("M006", ("types", "system", "chart"), "bar:nothing"),
        ("M011", ("types", "system", "chart"), "funnel"),
        ("M009", ("types", "signin", "one_in"), [2, 1]),
        ("M013", ("types", "signin", "one_in"), []),
        ("M008", ("types", "signin", "sequence", "steps"), ["a", "a"]),
        ("M009", ("types", "signin", "sequence", "offset_edges"), [5, 5]),
    ],
)
def test_breaches_of_the_wire_rules_are_refused_with_their_code(
    code: str, path: tuple[object, ...], value: object
) -> None:
    with pytest.raises(RefusedError) as caught:
        read(encode(replaced(WIRE, path, value)))
    assert caught.value.code == "off-schema"
    assert caught.value.message.startswith(f"{code} ")


def test_a_type_whose_reports_could_be_too_large_is_refused() -> None:
    path = ("types", "signin", "sequence")
    wire = replaced(WIRE, path, {"steps": ["a" * 32], "offset_edges": [], "max_steps": 32})
    with pytest.raises(RefusedError, match="M015"):
        read(encode(wire))


@pytest.mark.shows("NEW-8")
def test_the_budget_is_compared_exactly() -> None:
    base = replaced(WIRE, ("types", "module", "fields"), [])
    wire = replaced(base, ("types", "module", "chart"), "line")
    wire = replaced(wire, ("types", "module", "count", "max"), 2**14)
    assert read(encode(wire)).types["module"].bits == 14
    with pytest.raises(RefusedError, match="M016"):
        read(encode(replaced(wire, ("types", "module", "count", "max"), 2**14 + 1)))


class TestReports:
    catalog = load(example_bytes())
    heartbeat = catalog.types["heartbeat"]
    module = catalog.types["module"]
    signin = catalog.types["signin"]

    def test_coerce_keeps_to_consent_and_leaves_out_what_is_unknown(self) -> None:
        raw = {"version": "3.4.5", "os": "Plan 9", "daily": True, "age": 30, "country": None}
        assert self.heartbeat.coerce(raw) == {
            "version": "3.4",
            "os": "other",
            "daily": True,
            "age": 3,
        }
        assert self.heartbeat.coerce(raw, only={"os"}) == {"os": "other"}
        with pytest.raises(ValueError, match="user: heartbeat has no such field; declared: ver"):
            self.heartbeat.coerce({"user": "alice"})

    @pytest.mark.parametrize(
        ("reason", "values", "count", "one_in", "sequence", "time"),
        [
            (Reason.OK, {"os": "linux"}, None, 1, None, 1_800_057_600),
            (Reason.EMPTY, {}, None, 1, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"os": "Linux"}, None, 1, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"email": "a@b"}, None, 1, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"daily": 1}, None, 1, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"age": True}, None, 1, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"os": "linux"}, 1, 1, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"os": "linux"}, None, 2, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"os": "linux"}, None, True, None, 1_800_057_600),
            (Reason.OFF_SCHEMA, {"os": "linux"}, None, 1, (("shown", 0),), 1_800_057_600),
            (Reason.UNROUNDED, {"os": "linux"}, None, 1, None, 1_800_000_000),
            (Reason.EXPIRED, {"os": "linux"}, None, 1, None, 2_000_073_600),
        ],
    )
    def test_a_state(
        self,
        reason: Reason,
        values: dict[str, object],
        count: object,
        one_in: object,
        sequence: object,
        time: int,
    ) -> None:
        assert self.heartbeat.check_report(values, count, one_in, sequence, time) is reason

    @pytest.mark.parametrize("count", [0, 101, -1, True, None, "1", 1.0])
    def test_a_count_out_of_its_range(self, count: object) -> None:
        assert self.module.check_report({}, count, 1, None, 0) is Reason.OFF_SCHEMA

    def test_a_count_may_stand_alone(self) -> None:
        assert self.module.check_report({}, 100, 1, None, 0) is Reason.OK

    @pytest.mark.parametrize(
        ("reason", "sequence"),
        [
            (Reason.OK, (("shown", 0),)),
            (Reason.OK, [["shown", 0], ["shown", 0], ["signed_in", 4]]),
            (Reason.EMPTY, ()),
            (Reason.EMPTY, None),
            (Reason.OFF_SCHEMA, (("shown", 1), ("signed_in", 0))),
            (Reason.OFF_SCHEMA, (("shown", 5),)),
            (Reason.OFF_SCHEMA, (("shown", -1),)),
            (Reason.OFF_SCHEMA, (("shown", False),)),
            (Reason.OFF_SCHEMA, (("typed", 0),)),
            (Reason.OFF_SCHEMA, (("shown", 0),) * 7),
            (Reason.OFF_SCHEMA, ("ab",)),
            (Reason.OFF_SCHEMA, (1,)),
            (Reason.OFF_SCHEMA, "ab"),
            (Reason.OFF_SCHEMA, {"shown": 0}),
        ],
    )
    def test_a_sequence(self, reason: Reason, sequence: object) -> None:
        assert self.signin.check_report({}, None, 1, sequence, 0) is reason

    @given(st.dictionaries(st.text(max_size=9) | st.just("os"), decodable), *[decodable] * 3)
    def test_check_report_never_raises(
        self, values: dict[str, object], count: object, one_in: object, sequence: object
    ) -> None:
        for entry in self.catalog.types.values():
            reason = entry.check_report(values, count, one_in, sequence, 0)
            assert isinstance(reason, Reason)

    def test_every_consented_subset_of_fields_is_accepted(self) -> None:
        values = self.heartbeat.coerce({"os": "linux", "daily": True, "country": "FR", "age": 0})
        for size in range(1, 5):
            for names in combinations(values, size):
                kept = {name: values[name] for name in names}
                assert self.heartbeat.check_report(kept, None, 1, None, 0) is Reason.OK


class TestChain:
    first = load(sign(SOURCE, example_seed()))

    def test_signing_twice_gives_the_same_bytes(self) -> None:
        assert sign(SOURCE, example_seed()) == sign(SOURCE, example_seed())

    def test_the_id_and_the_key_are_those_of_the_item(self) -> None:
        item = split(self.first.raw)
        assert (self.first.id, self.first.key) == (item.id, public_key(example_seed()))
        assert self.first.topic == f"/methrics/1/example-{self.first.short_key}/cbor"

    def test_the_second_names_the_first(self) -> None:
        second = load(sign(SOURCE, example_seed(), previous=self.first))
        third = load(sign(SOURCE, example_seed(), previous=second))
        assert (second.number, second.previous) == (2, self.first.id)
        assert second.follows(self.first)
        assert third.follows(second)
        assert not third.follows(self.first)
        assert not self.first.follows(second)
        assert second.topic == self.first.topic

    def test_another_key_cannot_continue_a_chain(self) -> None:
        with pytest.raises(CatalogError, match="another key"):
            sign(SOURCE, bytes(32), previous=self.first)

    def test_another_label_cannot_continue_a_chain(self) -> None:
        text = example_source().replace('label = "example"', 'label = "other"')
        with pytest.raises(CatalogError, match="label example"):
            sign(parse_source(text), example_seed(), previous=self.first)

    def test_a_source_that_names_its_predecessor_must_mean_the_one_given(self) -> None:
        chained = f'label = "example"\nnumber = 2\nprevious = "{self.first.id.hex()}"'
        source = parse_source(example_source().replace('label = "example"', chained))
        assert isinstance(source, CatalogSource)
        assert sign(source, example_seed()) == sign(source, example_seed(), previous=self.first)
        text = example_source().replace(
            'label = "example"', chained.replace(self.first.id.hex(), "00" * 32)
        )
        with pytest.raises(CatalogError, match="another previous catalog"):
            sign(parse_source(text), example_seed(), previous=self.first)


class TestLoad:
    def test_a_forged_catalog_is_refused_unless_trusted(self) -> None:
        forged = example_bytes()[:-1] + bytes([example_bytes()[-1] ^ 1])
        assert load(forged, verify=False).label == "example"
        with pytest.raises(CatalogError, match="not a valid signed catalog"):
            load(forged)

    def test_another_kind_of_item_is_no_catalog(self) -> None:
        with pytest.raises(CatalogError, match="a signed report, not a catalog"):
            load(seal(Kind.REPORT, b"x", bytes(32)))

    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_catalog_or_a_clear_error(self, data: bytes) -> None:
        with pytest.raises(CatalogError) as caught:
            load(data)
        assert str(caught.value).isprintable()
        assert "methrics catalog sign" in caught.value.hint

    def test_loading_without_verifying_stays_light(self) -> None:
        code = (
            "import sys, pathlib\n"
            "from methrics.schema.catalog.catalog import load\n"
            "load(pathlib.Path(sys.argv[1]).read_bytes(), verify=False)\n"
            "heavy = {'nacl', 'dataclasses', 'inspect', 'tomllib', 'decimal'}\n"
            "print(*sorted(heavy & set(sys.modules)))\n"
        )
        path = str(Path(catalogs.__file__).with_name("example.cbor"))
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == []


def test_attack_a_stamped_catalog_is_refused_by_those_who_would_publish_it() -> None:
    stamped = seal(Kind.CATALOG, split(example_bytes()).payload, example_seed(), work_bits=1)
    for verify in (True, False):
        with pytest.raises(CatalogError, match="work stamp"):
            load(stamped, verify=verify)

"""The signature rules of SPEC.md, computed in plain integers, agree with libsodium."""

from __future__ import annotations

import json
from typing import Any

import pytest
import vector_edwards as ed
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schema.verifiers import VERIFIERS
from vector_points import signed_with
from vector_world import World, protected, sign_by_hand

import vectors
from methrics.schema.errors import RefusedError
from methrics.schema.wire.envelope import Item, public_key, split, verify
from methrics.schema.wire.verdict import Reason

WORLD = World()


def by_the_rules(item: Item) -> Reason:
    """The verdict of the rules in SPEC.md: OK, FORGED or BAD_KEY."""
    if ed.verifies(item.signature, item.key, item.signed):
        return Reason.OK
    return Reason.FORGED if ed.usable(item.key) else Reason.BAD_KEY


def by_libsodium(item: Item) -> Reason:
    """The verdict of libsodium, which is that of every verifier of bundles, too."""
    reason = Reason.OK
    try:
        verify(item)
    except RefusedError as error:
        reason = Reason(error.code)
    for verifier in VERIFIERS:
        assert verifier([item.signature + item.signed], [item.key]) == (reason is Reason.OK)
    return reason


def signature_vectors() -> list[str]:
    paths = [path for start in ("bad-key", "forged") for path in vectors.FOLDER.glob(f"{start}-*")]
    paths += [*vectors.FOLDER.glob("ok-key-*"), vectors.FOLDER / "ok-report.json"]
    return sorted(path.stem for path in paths if "bytes" in content(path.stem))


def content(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((vectors.FOLDER / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", signature_vectors())
def test_a_vector_of_a_signature_follows_from_the_rules(name: str) -> None:
    vector = content(name)
    item = split(bytes.fromhex(vector["bytes"]))
    assert by_the_rules(item) == by_libsodium(item) == vector["expect"]["reason"]


@pytest.mark.parametrize("name", ["bad-key-mixed", "bad-key-mixed-2", "forged-r-mixed"])
def test_a_signature_valid_only_times_the_cofactor_is_refused(name: str) -> None:
    item = split(bytes.fromhex(content(name)["bytes"]))
    assert ed.holds_with_cofactor(item.signature, item.key, item.signed)
    assert by_the_rules(item) is not Reason.OK


@settings(max_examples=100, deadline=None)
@given(
    torsion=st.integers(0, 7),
    small_key=st.booleans(),
    r_torsion=st.integers(0, 7),
    small_r=st.booleans(),
    form=st.integers(0, 3),
    r_form=st.integers(0, 3),
    multiple=st.sampled_from([0, 0, 0, 1, 14]),
    nonce=st.integers(1, ed.L - 1),
)
def test_the_rules_and_libsodium_agree_on_points_of_every_order(
    torsion: int,
    small_key: bool,
    r_torsion: int,
    small_r: bool,
    form: int,
    r_form: int,
    multiple: int,
    nonce: int,
) -> None:
    a, r = (0 if small_key else 5), (0 if small_r else nonce)
    keys = ed.encodings(ed.add(ed.times(a, ed.BASE), ed.TORSION[torsion]))
    points = ed.encodings(ed.add(ed.times(r, ed.BASE), ed.TORSION[r_torsion]))
    key, point = keys[form % len(keys)], points[r_form % len(points)]
    start = sign_by_hand(protected(key=key), b"x")
    h = ed.challenge(point, key, split(start).signed)
    s = (r + h * a) % ed.L + multiple * ed.L
    item = split(start[:-64] + point + s.to_bytes(32, "little"))
    assert by_the_rules(item) is by_libsodium(item)


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_the_rules_and_libsodium_agree_on_any_bytes_as_key(key: bytes) -> None:
    item = split(sign_by_hand(protected(key=key), b"x"))
    assert by_the_rules(item) is by_libsodium(item)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_points_and_scalars_are_those_of_libsodium(seed: bytes) -> None:
    point = ed.times(ed.secret_of(seed), ed.BASE)
    assert ed.encode(point) == public_key(seed)
    assert ed.decode(public_key(seed)) == point
    assert ed.times(ed.L, point) == ed.IDENTITY


def test_there_are_fourteen_encodings_of_points_of_small_order() -> None:
    found = [data for point in ed.TORSION for data in ed.encodings(point)]
    assert len(set(found)) == len(found) == 14
    assert {ed.decode(data) for data in found} == set(ed.TORSION)


def test_signed_with_makes_the_normal_report_by_default() -> None:
    item = split(signed_with(WORLD))
    assert by_the_rules(item) is by_libsodium(item) is Reason.OK

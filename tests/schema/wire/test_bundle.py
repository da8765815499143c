"""Bundles: strict decoding, limits of size, and the size at which a packer closes a bundle."""

from __future__ import annotations

import tracemalloc

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.schema.errors import RefusedError
from methrics.schema.wire.bundle import Bundle, Packer, pack, pack_notice, unpack
from methrics.schema.wire.codec import decode, head
from methrics.schema.wire.limits import BUNDLE_AIM, BUNDLE_ITEMS_MAX, BUNDLE_MAX, ITEM_MAX
from methrics.schema.wire.verdict import Reason

ABOUT = bytes(range(32))
abouts = st.binary(min_size=32, max_size=32)
items = st.lists(st.binary(max_size=400), min_size=1, max_size=40)
wires = st.lists(st.sampled_from([b"", ABOUT]) | st.binary(max_size=40), max_size=6)


def refusal(data: bytes) -> Reason:
    with pytest.raises(RefusedError) as caught:
        unpack(data)
    return Reason(caught.value.code)


def unpacked(data: bytes) -> Bundle | None:
    """None for a refusal; any other exception is a failure."""
    try:
        return unpack(data)
    except RefusedError:
        return None


@given(abouts, items)
def test_bundles_survive(about: bytes, raws: list[bytes]) -> None:
    bundle = pack(about, raws)
    assert unpack(bundle) == (about, raws)
    assert bundle == cbor2.dumps([about, *raws])


@given(st.binary(max_size=400))
def test_notices_survive(raw: bytes) -> None:
    assert unpack(pack_notice(raw)) == (b"", [raw])
    assert pack_notice(raw) == cbor2.dumps([b"", raw])


@given(st.binary(max_size=100) | wires.map(cbor2.dumps))
def test_any_bytes_are_refused_or_equal_the_bundle_of_their_items(data: bytes) -> None:
    found = unpacked(data)
    if found is not None:
        assert pack(*found) == data
        assert decode(data, limit=BUNDLE_MAX) == [found.about, *found.items]


@given(items, st.data())
def test_a_changed_bundle_is_another_or_refused(raws: list[bytes], data: st.DataObject) -> None:
    raw = pack(ABOUT, raws)
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    found = unpacked(changed)
    assert found is None or pack(*found) == changed


@pytest.mark.parametrize(
    "hex_bytes",
    [
        *("", "80", "a0", "00", "8141", "814100ff", "9f4100ff", "815f4100ff", "98014100"),
        *("81580100", "816100", "8180", "81", "8258", "815900", "81590001ff", "ff", "9c"),
        *("815c", "81f6", "d28100", "8240", "834041004100", "82410041ff", "824040ff"),
    ],
)
def test_malformed_bundles_are_refused(hex_bytes: str) -> None:
    assert refusal(bytes.fromhex(hex_bytes)) is Reason.MALFORMED


@pytest.mark.parametrize("count", [BUNDLE_ITEMS_MAX + 2, 2**16, 2**32, 2**64 - 1])
def test_a_bundle_of_too_many_items_is_refused_without_memory(count: int) -> None:
    bomb = head(4, count) + b"\x40" * 100_000
    tracemalloc.start()
    assert refusal(bomb) is Reason.OVERSIZE
    assert tracemalloc.get_traced_memory()[1] < 50_000
    tracemalloc.stop()


@pytest.mark.parametrize("length", [ITEM_MAX + 1, 2**32, 2**64 - 1])
def test_an_item_too_long_is_refused_before_its_bytes_are_read(length: int) -> None:
    assert refusal(b"\x81" + head(2, length) + b"x") is Reason.OVERSIZE


def test_size_comes_first() -> None:
    assert refusal(bytes(BUNDLE_MAX + 1)) is Reason.OVERSIZE


def test_pack_refuses_a_bundle_that_unpack_would_refuse() -> None:
    for raws in (
        [],
        [b"x" * (ITEM_MAX + 1)],
        [b""] * (BUNDLE_ITEMS_MAX + 1),
        [b"x" * ITEM_MAX] * 2,
    ):
        with pytest.raises(ValueError):
            pack(ABOUT, raws)
    for about in (b"", bytes(31), bytes(33)):
        with pytest.raises(ValueError, match="neither"):
            pack(about, [b"one", b"two"])


@given(st.lists(st.integers(1, ITEM_MAX), min_size=1, max_size=30))
def test_a_packer_bundles_everything_once_and_in_order(sizes: list[int]) -> None:
    raws = [bytes([n]) * size for n, size in enumerate(sizes)]
    packer, found = Packer(ABOUT), []
    for raw in raws:
        if packer.add(raw):
            found += unpack(packer.take()).items
    if len(packer):
        found += unpack(packer.take()).items
    assert found == raws
    assert (len(packer), packer.size) == (0, 0)


def test_a_packer_is_full_at_its_aim_or_at_the_number_of_items() -> None:
    packer = Packer(ABOUT, aim=1000)
    assert [packer.add(b"x" * 300) for _ in range(4)] == [False, False, False, True]
    with pytest.raises(ValueError, match="full"):
        packer.add(b"x")
    packer.take()
    assert [packer.add(b"x") for _ in range(3)] == [False] * 3
    many = Packer(ABOUT)
    assert [many.add(b"x") for _ in range(BUNDLE_ITEMS_MAX)].index(True) == BUNDLE_ITEMS_MAX - 1


def test_a_packer_refuses_items_that_no_bundle_may_hold() -> None:
    for raw in (b"", b"x" * (ITEM_MAX + 1)):
        with pytest.raises(ValueError, match="bytes"):
            Packer(ABOUT).add(raw)
    with pytest.raises(ValueError, match="aims"):
        Packer(ABOUT, aim=BUNDLE_AIM + 1)
    with pytest.raises(ValueError, match="empty"):
        Packer(ABOUT).take()
    with pytest.raises(ValueError, match="32 bytes"):
        Packer(b"")

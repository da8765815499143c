"""The fast packer gives the bytes of the plain encoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methrics.node.record.packing import REMEMBERED_MAX, FieldPacker
from methrics.schema.catalog.catalog import Catalog
from methrics.schema.example import example_catalog
from methrics.schema.wire.codec import encode

RAW = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 3000), st.floats(allow_nan=True), st.text(max_size=8)
)
WORDS = st.sampled_from(["a", "b", "linux", "firefox", "1.4", "v12.3", "de", "DE", "ZZ", "tls"])
EXAMPLE = example_catalog()
PACKERS = {name: FieldPacker(declared) for name, declared in EXAMPLE.types.items()}


@given(st.data(), st.sampled_from(sorted(EXAMPLE.types)))
def test_the_bytes_are_those_of_the_codec(data: st.DataObject, name: str) -> None:
    declared = EXAMPLE.types[name]
    names = [field.name for field in declared.fields]
    values = data.draw(st.dictionaries(st.sampled_from(names), st.one_of(RAW, WORDS)))
    only = data.draw(st.one_of(st.none(), st.frozensets(st.sampled_from(names))))
    try:
        expected = declared.coerce(values, only=only)
    except ValueError:
        with pytest.raises(ValueError):
            PACKERS[name].pack(values, only)
    else:
        assert PACKERS[name].pack(values, only) == (encode(expected), len(expected))


def test_undeclared_fields_are_named(shop: Catalog) -> None:
    with pytest.raises(ValueError, match="shoe_size"):
        FieldPacker(shop.types["view"]).pack({"color": "red", "shoe_size": 43}, None)


def test_the_cache_of_values_is_bounded(shop: Catalog) -> None:
    packer = FieldPacker(EXAMPLE.types["heartbeat"])
    for i in range(3 * REMEMBERED_MAX):
        packer.pack({"version": f"{i % 10}.{i % 50}"}, None)
    assert all(len(slot[1]) <= REMEMBERED_MAX for slot in packer._slots)

"""Key configurations: each survives its encoding, and other bytes are refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methrics.node.ohttp.key_config import (
    CONFIGS_MAX,
    SUITES_MAX,
    ExitKey,
    KeyConfig,
    decode_key_config,
    decode_key_configs,
    encode_key_config,
    encode_key_configs,
)
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

_number = st.integers(0, 65_535)
configs = st.builds(
    KeyConfig,
    st.integers(0, 255),
    st.binary(min_size=32, max_size=32),
    st.just(0x0020),
    st.lists(st.tuples(_number, _number), min_size=1, max_size=SUITES_MAX).map(tuple),
)
OURS = ExitKey.from_seed(7, b"k" * 32).config
OTHER_KEM = b"\x01\x00\x10" + bytes(65) + b"\x00\x04\x00\x01\x00\x03"


@given(configs)
def test_a_configuration_is_read_back(config: KeyConfig) -> None:
    assert decode_key_config(encode_key_config(config)) == config


@given(st.lists(configs, max_size=CONFIGS_MAX))
def test_a_document_is_read_back(found: list[KeyConfig]) -> None:
    assert decode_key_configs(encode_key_configs(found)) == found


@settings(max_examples=300)
@given(st.binary(max_size=80))
@example(b"")
@example(encode_key_config(OURS)[:-1])
@example(encode_key_config(OURS) + b"\x00")
@example(encode_key_config(OURS)[:35] + b"\x00\x00")
@example(encode_key_config(OURS)[:35] + b"\x00\x03\x00\x01\x00")
@example(encode_key_config(KeyConfig(7, OURS.public, suites=((1, 3),) * (SUITES_MAX + 1))))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        decode_key_config(data)
    assert refused.value.code == Reason.MALFORMED


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_document_is_refused_or_is_read(data: bytes) -> None:
    try:
        found = decode_key_configs(data)
    except RefusedError as refused:
        assert refused.code == Reason.MALFORMED
    else:
        assert len(encode_key_configs(found)) <= len(data)


def test_a_configuration_of_another_kem_is_passed_over() -> None:
    other = len(OTHER_KEM).to_bytes(2, "big") + OTHER_KEM
    document = other + encode_key_configs([OURS]) + other
    assert decode_key_configs(document) == [OURS]
    with pytest.raises(RefusedError):
        decode_key_config(OTHER_KEM)


def test_a_document_with_a_broken_configuration_of_our_kem_is_refused() -> None:
    broken = encode_key_config(OURS)[:-1]
    with pytest.raises(RefusedError):
        decode_key_configs(len(broken).to_bytes(2, "big") + broken)


def test_a_document_with_too_many_configurations_is_refused() -> None:
    with pytest.raises(RefusedError):
        decode_key_configs(encode_key_configs([OURS] * (CONFIGS_MAX + 1)))


def test_a_seed_always_gives_the_same_key_and_fresh_ones_differ() -> None:
    assert ExitKey.from_seed(7, b"k" * 32).public == OURS.public
    assert ExitKey.fresh(7).public != ExitKey.fresh(7).public

"""Topics: names that follow from the namespace key and parse into label and short key."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.schema.declarations import labels

from methrics.schema.errors import RefusedError
from methrics.schema.wire.topic import parse_topic, short_key, topic

keys = st.binary(min_size=32, max_size=32)


@given(keys)
def test_short_key_is_base32_of_the_hash(key: bytes) -> None:
    standard = base64.b32encode(hashlib.sha256(key).digest()[:10]).decode().lower()
    assert short_key(key) == standard
    assert len(standard) == 16
    assert "=" not in standard


@given(labels, keys)
def test_topics_parse_back(label: str, key: bytes) -> None:
    assert parse_topic(topic(label, key)) == (label, short_key(key))


def test_the_topic_of_a_known_key() -> None:
    assert topic("example", bytes(32)) == "/methrics/1/example-mzuhvlpymk6xo3ep/cbor"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/methrics/1/example/cbor",
        "/methrics/2/example-mzuhvlpymk6xo3ep/cbor",
        "/methrics/1/example-mzuhvlpymk6xo3ep",
        "/methrics/1/example-mzuhvlpymk6xo3ep/cbor\n",
        "/methrics/1/Example-mzuhvlpymk6xo3ep/cbor",
        "/methrics/1/-mzuhvlpymk6xo3ep/cbor",
        "/methrics/1/example-mzuhvlpymk6xo3e1/cbor",
        "/methrics/1/example-mzuhvlpymk6xo3e/cbor",
        "x/methrics/1/example-mzuhvlpymk6xo3ep/cbor",
        "/methrics/1//methrics/1/example-mzuhvlpymk6xo3ep/cbor",
    ],
)
def test_other_topics_are_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        parse_topic(text)


@given(st.text(max_size=80))
def test_any_text_is_a_topic_or_refused(text: str) -> None:
    try:
        label, short = parse_topic(text)
    except RefusedError:
        return
    assert text == f"/methrics/1/{label}-{short}/cbor"


def test_a_key_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        short_key(b"short")

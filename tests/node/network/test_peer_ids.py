"""Peer ids that hold an Ed25519 key, as text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from methrics.node.network.peer_ids import key_of, peer_id_of

KNOWN = "12D3KooWRBy97UB99e3J6hiPesre1MZeuNQvfan4gBziswrRJsNK"
"""The peer id of the public key of libp2p's specification of peer ids."""


@given(st.binary(min_size=32, max_size=32))
def test_a_key_survives(key: bytes) -> None:
    text = peer_id_of(key)
    assert text.startswith("12D3KooW")
    assert key_of(text) == key


@given(st.text(max_size=60) | st.text("12D3KooWabc", min_size=52, max_size=52))
def test_any_other_text_holds_no_key(text: str) -> None:
    key = key_of(text)
    assert key is None or peer_id_of(key) == text


def test_ids_of_another_form_hold_no_key() -> None:
    assert key_of(KNOWN) is not None
    for text in (
        "",
        KNOWN[:-1],
        KNOWN + "1",
        "z" * 52,
        "1" * 52,
        "QmYyQSo1c1Ym7orWx",
    ):
        assert key_of(text) is None

"""Boxes and their answers: what was sealed opens again, and nothing else does.

The published bytes are those of RFC 9458 Appendix A.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
from aes_cipher import AES_128_GCM
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methrics.node.ohttp import hpke
from methrics.node.ohttp.binary_http import Request, Response, decode_request, decode_response
from methrics.node.ohttp.envelope import ANSWER_OVERHEAD, BOX_OVERHEAD, open_box, seal
from methrics.node.ohttp.key_config import ExitKey, KeyConfig, decode_key_config
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

KEY = ExitKey(7, bytes(range(32)))
KEYS = {7: KEY}

SECRET = bytes.fromhex("3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a")
CONFIG = bytes.fromhex(
    "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003"
)
MESSAGE = bytes.fromhex("00034745540568747470730b6578616d706c652e636f6d012f")
EPHEMERAL = bytes.fromhex("bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73")
BOX = bytes.fromhex(
    "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b4726374e469135906"
    "992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525"
)
RESPONSE = bytes.fromhex("0140c8")
NONCE = bytes.fromhex("c789e7151fcba46158ca84b04464910d")
ANSWER = NONCE + bytes.fromhex("86f9013e404feea014e7be4a441f234f857fbd")


def test_the_example_of_rfc_9458_holds() -> None:
    key = ExitKey(1, SECRET)
    config = decode_key_config(CONFIG)
    assert config == KeyConfig(1, key.public, suites=((1, 1), (1, 3)))
    sealed = seal(config, MESSAGE, ephemeral=EPHEMERAL, cipher=AES_128_GCM)
    assert sealed.box == BOX
    opened = open_box(BOX, {1: key}, cipher=AES_128_GCM)
    assert decode_request(opened.message) == Request(b"GET", b"https", b"example.com", b"/")
    assert opened.seal(RESPONSE, NONCE) == ANSWER
    assert decode_response(sealed.open(ANSWER)) == Response(200)


def test_the_base_install_can_seal() -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('cryptography', 'pyhpke', 'trio', 'libp2p'))\n"
        "from methrics.node.ohttp import envelope, inner, key_config\n"
        "key = key_config.ExitKey.fresh(1)\n"
        "envelope.seal(key.config, inner.encode_question(inner.BOX, b''))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_example_is_for_algorithms_that_an_exit_does_not_take() -> None:
    with pytest.raises(RefusedError) as refused:
        open_box(BOX, {1: ExitKey(1, SECRET)})
    assert refused.value.code == Reason.BAD_KEY


@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_a_message_goes_to_the_exit_and_its_answer_comes_back(
    message: bytes, response: bytes
) -> None:
    sealed = seal(KEY.config, message)
    assert len(sealed.box) == len(message) + BOX_OVERHEAD
    opened = open_box(sealed.box, KEYS)
    assert (opened.message, opened.key_id) == (message, 7)
    answer = opened.seal(response)
    assert len(answer) == len(response) + ANSWER_OVERHEAD
    assert sealed.open(answer) == response


def test_the_same_message_never_gives_the_same_box_or_answer() -> None:
    box = seal(KEY.config, b"message").box
    assert seal(KEY.config, b"message").box[7:39] != box[7:39]
    opened = open_box(box, KEYS)
    assert opened.seal(b"response") != opened.seal(b"response")


def test_an_exit_opens_with_the_key_that_the_box_names() -> None:
    keys = {day: ExitKey.from_seed(day, bytes([day]) * 32) for day in range(4)}
    for key in keys.values():
        assert open_box(seal(key.config, b"message").box, keys).key_id == key.key_id


@pytest.mark.parametrize("keys", [{}, {8: ExitKey(8, KEY.secret)}, {7: ExitKey(8, KEY.secret)}])
def test_a_box_for_a_key_that_is_not_here_is_refused_with_its_reason(
    keys: dict[int, ExitKey],
) -> None:
    with pytest.raises(RefusedError) as refused:
        open_box(seal(KEY.config, b"message").box, keys)
    assert refused.value.code == Reason.BAD_KEY


def test_a_box_for_another_private_key_does_not_open() -> None:
    with pytest.raises(RefusedError) as refused:
        open_box(seal(KEY.config, b"message").box, {7: ExitKey.fresh(7)})
    assert refused.value.code == Reason.MALFORMED


@pytest.mark.parametrize("at", range(7))
def test_a_box_for_other_algorithms_is_refused_with_its_reason(at: int) -> None:
    box = bytearray(seal(KEY.config, b"message").box)
    box[at] ^= 1
    with pytest.raises(RefusedError) as refused:
        open_box(bytes(box), {6: ExitKey(7, KEY.secret), **KEYS})
    assert refused.value.code == Reason.BAD_KEY


@given(st.data())
def test_attack_a_box_with_a_changed_bit_does_not_open(data: st.DataObject) -> None:
    box = bytearray(seal(KEY.config, b"message" * 10).box)
    bit = data.draw(st.integers(0, 8 * len(box) - 1))
    box[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RefusedError):
        open_box(bytes(box), KEYS)


@given(st.data())
def test_attack_an_answer_with_a_changed_bit_does_not_open(data: st.DataObject) -> None:
    sealed = seal(KEY.config, b"message")
    answer = bytearray(open_box(sealed.box, KEYS).seal(b"response"))
    bit = data.draw(st.integers(0, 8 * len(answer) - 1))
    answer[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RefusedError) as refused:
        sealed.open(bytes(answer))
    assert refused.value.code == Reason.MALFORMED


def test_attack_the_answer_to_one_box_is_no_answer_to_another() -> None:
    """An entry that exchanges two answers would tell a node that the wrong report was taken."""
    first, second = seal(KEY.config, b"message"), seal(KEY.config, b"message")
    with pytest.raises(RefusedError):
        second.open(open_box(first.box, KEYS).seal(b"response"))


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x07\x00\x20\x00\x01\x00\x03")
@example(b"\x07\x00\x20\x00\x01\x00\x03" + bytes(48))
def test_other_bytes_are_refused(data: bytes) -> None:
    for box in (data, seal(KEY.config, b"").box[:7] + data):
        with pytest.raises(RefusedError) as refused:
            open_box(box, KEYS)
        assert refused.value.code in {Reason.BAD_KEY, Reason.MALFORMED}
    with pytest.raises(RefusedError) as refused:
        seal(KEY.config, b"message").open(data)
    assert refused.value.code == Reason.MALFORMED


@pytest.mark.parametrize(
    "config",
    [
        KeyConfig(7, KEY.public, kem=0x0010),
        KeyConfig(7, KEY.public, suites=((1, 1),)),
        KeyConfig(7, KEY.public, suites=()),
        KeyConfig(7, bytes(32)),
        KeyConfig(7, b"short"),
    ],
)
def test_nothing_is_sealed_for_a_key_of_no_use(config: KeyConfig) -> None:
    with pytest.raises(RefusedError) as refused:
        seal(config, b"message")
    assert refused.value.code == Reason.BAD_KEY


def test_no_secret_is_shown_when_a_box_or_a_key_is_printed() -> None:
    sealed = seal(KEY.config, b"message", ephemeral=EPHEMERAL)
    opened = open_box(sealed.box, KEYS)
    _, context = hpke.sender(
        KEY.public, b"message/bhttp request\0" + sealed.box[:7], ephemeral=EPHEMERAL
    )
    exported = context.export(b"message/bhttp response", 32)
    assert opened.seal(b"", NONCE * 2)  # the secret below is the one in use
    for shown in (repr(sealed), repr(opened), repr(KEY)):
        assert repr(exported) not in shown
        assert repr(KEY.secret) not in shown

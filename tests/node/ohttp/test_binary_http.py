"""Binary HTTP: the examples of RFC 9292 section 5, and every message survives its encoding."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from methrics.node.ohttp.binary_http import (
    HEADERS_MAX,
    INFORMATIONAL_MAX,
    Headers,
    Request,
    Response,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from methrics.node.ohttp.reading import prefixed, varint
from methrics.schema.errors import RefusedError
from methrics.schema.wire.verdict import Reason

KNOWN_REQUEST = bytes.fromhex("""
    00034745 54056874 74707300 0a2f6865 6c6c6f2e 74787440 6c0a7573 65722d61
    67656e74 34637572 6c2f372e 31362e33 206c6962 6375726c 2f372e31 362e3320
    4f70656e 53534c2f 302e392e 376c207a 6c69622f 312e322e 3304686f 73740f77
    77772e65 78616d70 6c652e63 6f6d0f61 63636570 742d6c61 6e677561 67650665
    6e2c206d 690000""")
INDETERMINATE_REQUEST = bytes.fromhex("""
    02034745 54056874 74707300 0a2f6865 6c6c6f2e 7478740a 75736572 2d616765
    6e743463 75726c2f 372e3136 2e33206c 69626375 726c2f37 2e31362e 33204f70
    656e5353 4c2f302e 392e376c 207a6c69 622f312e 322e3304 686f7374 0f777777
    2e657861 6d706c65 2e636f6d 0f616363 6570742d 6c616e67 75616765 06656e2c
    206d6900 00000000 00000000 00000000""")
INTERIM_RESPONSE = bytes.fromhex("""
    03406607 72756e6e 696e670a 22736c65 65702031 35220040 67046c69 6e6b233c
    2f737479 6c652e63 73733e3b 2072656c 3d707265 6c6f6164 3b206173 3d737479
    6c65046c 696e6b24 3c2f7363 72697074 2e6a733e 3b207265 6c3d7072 656c6f61
    643b2061 733d7363 72697074 0040c804 64617465 1d4d6f6e 2c203237 204a756c
    20323030 39203132 3a32383a 35332047 4d540673 65727665 72064170 61636865
    0d6c6173 742d6d6f 64696669 65641d57 65642c20 3232204a 756c2032 30303920
    31393a31 353a3536 20474d54 04657461 67142233 34616133 38372d64 2d313536
    38656230 30220d61 63636570 742d7261 6e676573 05627974 65730e63 6f6e7465
    6e742d6c 656e6774 68023531 04766172 790f4163 63657074 2d456e63 6f64696e
    670c636f 6e74656e 742d7479 70650a74 6578742f 706c6169 6e003348 656c6c6f
    20576f72 6c642120 4d792063 6f6e7465 6e742069 6e636c75 64657320 61207472
    61696c69 6e672043 524c462e 0d0a0000""")
TRAILER_RESPONSE = bytes.fromhex("""
    0140c800 1d546869 7320636f 6e74656e 7420636f 6e746169 6e732043 524c462e
    0d0a0d07 74726169 6c657204 74657874""")
REQUEST = Request(
    b"GET",
    b"https",
    b"",
    b"/hello.txt",
    (
        (b"user-agent", b"curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"),
        (b"host", b"www.example.com"),
        (b"accept-language", b"en, mi"),
    ),
)

_token = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=20).map(str.encode)
_visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
_value = st.binary(max_size=80).map(lambda text: text.translate(None, b"\0\r\n").strip(b" \t"))
_fields = st.lists(st.tuples(_token.map(bytes.lower), _value), max_size=HEADERS_MAX).map(tuple)
_content = st.binary(max_size=300)
requests = st.builds(
    Request,
    _token,
    st.sampled_from([b"https", b"http"]),
    _visible.map(str.encode),
    _visible.map(lambda text: b"/" + text.encode()),
    _fields,
    _content,
    _fields,
)
responses = st.builds(Response, st.integers(200, 599), _fields, _content, _fields)


def _indeterminate(fields: Headers, content: bytes, trailers: Headers, *, cut: int) -> bytes:
    """Encode the sections with indeterminate length; the content has two chunks."""
    lines = [b"".join(prefixed(a) + prefixed(b) for a, b in one) for one in (fields, trailers)]
    chunks = b"".join(prefixed(one) for one in (content[:cut], content[cut:]) if one)
    return lines[0] + b"\0" + chunks + b"\0" + lines[1] + b"\0"


def test_the_requests_of_rfc_9292_are_read_and_written() -> None:
    assert decode_request(KNOWN_REQUEST) == REQUEST
    assert encode_request(REQUEST) == KNOWN_REQUEST
    assert decode_request(INDETERMINATE_REQUEST) == REQUEST


@pytest.mark.parametrize("cut", range(1, 3))
def test_the_known_request_of_rfc_9292_may_end_early(cut: int) -> None:
    assert decode_request(KNOWN_REQUEST[:-cut]) == REQUEST


@pytest.mark.parametrize("cut", range(1, 13))
def test_the_indeterminate_request_of_rfc_9292_may_end_early(cut: int) -> None:
    assert decode_request(INDETERMINATE_REQUEST[:-cut]) == REQUEST


def test_the_responses_of_rfc_9292_are_read_and_written() -> None:
    response = decode_response(INTERIM_RESPONSE)
    assert response.status == 200
    assert response.headers[0] == (b"date", b"Mon, 27 Jul 2009 12:28:53 GMT")
    assert len(response.headers) == 8
    assert response.content == b"Hello World! My content includes a trailing CRLF.\r\n"
    chunked = Response(200, (), b"This content contains CRLF.\r\n", ((b"trailer", b"text"),))
    assert decode_response(TRAILER_RESPONSE) == chunked
    assert encode_response(chunked) == TRAILER_RESPONSE


@given(requests, st.integers(0, 50))
def test_a_request_is_read_back_with_any_padding(request: Request, padding: int) -> None:
    bare = encode_request(request)
    padded = encode_request(request, len(bare) + padding)
    assert padded == bare + bytes(padding)
    assert decode_request(padded) == request


@given(responses, st.integers(0, 50))
def test_a_response_is_read_back_with_any_padding(response: Response, padding: int) -> None:
    bare = encode_response(response)
    padded = encode_response(response, len(bare) + padding)
    assert padded == bare + bytes(padding)
    assert decode_response(padded) == response


@given(requests, st.integers(0, 300), st.integers(0, 50))
def test_a_request_of_indeterminate_length_is_read(
    request: Request, cut: int, padding: int
) -> None:
    control = (request.method, request.scheme, request.authority, request.path)
    head = b"\x02" + b"".join(prefixed(one) for one in control)
    parts = _indeterminate(request.headers, request.content, request.trailers, cut=cut)
    assert decode_request(head + parts + bytes(padding)) == request


@given(responses, st.integers(0, 300), st.integers(0, INFORMATIONAL_MAX))
def test_a_response_of_indeterminate_length_is_read(
    response: Response, cut: int, interim: int
) -> None:
    head = b"\x03" + (varint(103) + prefixed(b"a") + prefixed(b"b") + b"\0") * interim
    parts = _indeterminate(response.headers, response.content, response.trailers, cut=cut)
    assert decode_response(head + varint(response.status) + parts) == response


def test_a_length_may_be_written_in_more_bytes_than_it_needs() -> None:
    message = b"\x40\x00" + b"\x80\x00\x00\x03GET" + b"\xc0\0\0\0\0\0\0\x05https" + b"\0\x01/"
    assert decode_request(message) == Request(b"GET", b"https", b"", b"/")


@pytest.mark.parametrize("number", [0, 63, 64, 16_383, 16_384, 2**30 - 1, 2**30, 2**62 - 1])
def test_a_number_has_the_least_bytes(number: int) -> None:
    sizes = {63: 1, 16_383: 2, 2**30 - 1: 4, 2**62 - 1: 8}
    assert len(varint(number)) == min(size for most, size in sizes.items() if number <= most)


@pytest.mark.parametrize("number", [-1, 2**62])
def test_a_number_that_does_not_fit_is_not_written(number: int) -> None:
    with pytest.raises(ValueError, match="62 bits"):
        varint(number)


def test_a_message_that_is_too_long_is_not_padded() -> None:
    with pytest.raises(ValueError, match="more than 10"):
        encode_request(REQUEST, 10)


@settings(max_examples=500)
@given(st.binary(max_size=120))
@example(b"")
@example(b"\x04")
@example(b"\x00\xff\xff\xff\xff\xff\xff\xff\xff")
@example(b"\x03" + varint(103) * 200)
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    for read in (decode_request, decode_response):
        for framing in (data[:1], b"\0", b"\1", b"\2", b"\3"):
            try:
                read(framing + data[1:])
            except RefusedError as refused:
                assert refused.code == Reason.MALFORMED


_HEAD = b"\0\3GET\5https\0\1/"


@pytest.mark.parametrize(
    "message",
    [
        encode_request(REQUEST) + b"\0\1",
        encode_request(REQUEST)[:-3],
        b"\1" + encode_request(REQUEST)[1:],
        b"\0\0\5https\0\1/",
        b"\0\3G T\5https\0\1/",
        b"\0\3GET\5ht ps\0\1/",
        b"\0\3GET\5https\1\n\1/",
        b"\0\3GET\5https\0\0",
        b"\0\3GET\5https\0\2/ ",
        _HEAD + prefixed(prefixed(b"") + prefixed(b"value")),
        _HEAD + prefixed(prefixed(b"Host") + prefixed(b"value")),
        _HEAD + prefixed(prefixed(b":path") + prefixed(b"/")),
        _HEAD + prefixed(prefixed(b"na me") + prefixed(b"value")),
        _HEAD + prefixed(prefixed(b"name") + prefixed(b"a\r\nb")),
        _HEAD + prefixed(prefixed(b"name") + prefixed(b"a\0b")),
        _HEAD + prefixed(prefixed(b"name") + prefixed(b" value")),
        _HEAD + prefixed(prefixed(b"name") + prefixed(b"value\t")),
        _HEAD + prefixed(prefixed(b"name")),
        _HEAD + prefixed((prefixed(b"a") + prefixed(b"b")) * (HEADERS_MAX + 1)),
        b"\2" + _HEAD[1:] + prefixed(b"a"),
        b"\2" + _HEAD[1:] + b"\0\5abc",
    ],
)
def test_a_request_that_the_rfc_forbids_is_refused(message: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        decode_request(message)
    assert refused.value.code == Reason.MALFORMED


@pytest.mark.parametrize(
    "message",
    [
        b"\0" + varint(200),
        b"\1",
        b"\1" + varint(99),
        b"\1" + varint(600),
        b"\1" + varint(103) + b"\0",
        b"\1" + (varint(103) + b"\0") * (INFORMATIONAL_MAX + 1) + varint(200),
        b"\1" + varint(200) + b"\0\0\0\1",
    ],
)
def test_a_response_that_the_rfc_forbids_is_refused(message: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        decode_response(message)
    assert refused.value.code == Reason.MALFORMED

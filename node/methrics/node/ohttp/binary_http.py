"""Requests and responses as Binary HTTP (RFC 9292), padded with zeros (pure).

Messages are written with known length, and read with known or indeterminate length. All that the
RFC allows is accepted within the limits of `HEADERS_MAX` and `INFORMATIONAL_MAX`, such as lengths
in more bytes than they need, and messages that end early where only empty parts would follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from methrics.node.ohttp.reading import Reader, malformed, prefixed, varint

REQUEST, RESPONSE, INDETERMINATE = 0, 1, 2
"""Framing indicators of messages of known length; `INDETERMINATE` is added for the other framing
(RFC 9292 section 3.3)."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Pairs of (name in lower case, value)."""

HEADERS_MAX = 64
"""Most lines in a header or trailer section that are read."""

INFORMATIONAL_MAX = 8
"""Most informational responses before a response that are read."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?![\t ])[^\x00\r\n]*(?<![\t ])")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")
_VISIBLE = re.compile(rb"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `authority` may be empty."""

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: Headers = ()
    content: bytes = b""
    trailers: Headers = ()


@dataclass(frozen=True, slots=True)
class Response:
    """One response. `status`: 200 to 599."""

    status: int
    headers: Headers = ()
    content: bytes = b""
    trailers: Headers = ()


def encode_request(request: Request, size: int = 0) -> bytes:
    """Encode a request, padded with zeros to `size` bytes. Raises ValueError if it is longer."""
    control = (request.method, request.scheme, request.authority, request.path)
    head = varint(REQUEST) + b"".join(prefixed(one) for one in control)
    return _padded(head + _sections(request), size)


def encode_response(response: Response, size: int = 0) -> bytes:
    """Encode a response, padded with zeros to `size` bytes. Raises ValueError if it is longer."""
    head = varint(RESPONSE) + varint(response.status)
    return _padded(head + _sections(response), size)


def decode_request(data: bytes) -> Request:
    """Decode a request. Raises RefusedError `malformed` for other bytes."""
    reader = Reader(data)
    framing = reader.varint()
    if framing not in (REQUEST, REQUEST + INDETERMINATE):
        raise malformed("not a request")
    method, scheme, authority, path = (reader.prefixed() for _ in range(4))
    if not (_TOKEN.fullmatch(method) and _SCHEME.fullmatch(scheme)):
        raise malformed("not a method or a scheme of HTTP")
    if not (_VISIBLE.fullmatch(authority) and path and _VISIBLE.fullmatch(path)):
        raise malformed("not an authority or a path of HTTP")
    return Request(method, scheme, authority, path, *_read_sections(reader, framing == REQUEST))


def decode_response(data: bytes) -> Response:
    """Decode a response. Informational responses are passed over.

    Raises RefusedError `malformed` for other bytes."""
    reader = Reader(data)
    framing = reader.varint()
    if framing not in (RESPONSE, RESPONSE + INDETERMINATE):
        raise malformed("not a response")
    known = framing == RESPONSE
    for _ in range(INFORMATIONAL_MAX + 1):
        status = reader.varint()
        if 200 <= status <= 599:
            return Response(status, *_read_sections(reader, known))
        if not 100 <= status <= 199:
            raise malformed("not a status of HTTP")
        _fields(reader, known)
    raise malformed(f"more than {INFORMATIONAL_MAX} informational responses")


def _sections(message: Request | Response) -> bytes:
    return (
        prefixed(_lines(message.headers))
        + prefixed(message.content)
        + prefixed(_lines(message.trailers))
    )


def _lines(fields: Headers) -> bytes:
    return b"".join(prefixed(name) + prefixed(value) for name, value in fields)


def _read_sections(reader: Reader, known: bool) -> tuple[Headers, bytes, Headers]:
    """Read headers, content, trailers and padding. A message may end early where all that follows
    would be empty (RFC 9292 section 3.8)."""
    headers = _fields(reader, known) if reader.left else ()
    content = _content(reader, known) if reader.left else b""
    trailers = _fields(reader, known) if reader.left else ()
    padding = reader.rest()
    if padding.count(0) != len(padding):
        raise malformed("bytes after the end of the message")
    return headers, content, trailers


def _content(reader: Reader, known: bool) -> bytes:
    if known:
        return reader.prefixed()
    chunks: list[bytes] = []
    while chunk := reader.prefixed():
        chunks.append(chunk)
    return b"".join(chunks)


def _fields(reader: Reader, known: bool) -> Headers:
    """Read a section of field lines: a part of known length, or up to an empty name."""
    section = Reader(reader.prefixed()) if known else reader
    found: list[tuple[bytes, bytes]] = []
    while section.left or not known:
        name = section.prefixed()
        if not name and not known:
            break
        value = section.prefixed()
        if len(found) == HEADERS_MAX:
            raise malformed(f"more than {HEADERS_MAX} field lines")
        if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
            raise malformed("not a field line of HTTP")
        found.append((name, value))
    return tuple(found)


def _padded(message: bytes, size: int) -> bytes:
    if size and len(message) > size:
        raise ValueError(f"the message has {len(message)} bytes, more than {size}")
    return message.ljust(size, b"\x00")

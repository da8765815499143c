"""Requests and responses as Binary HTTP of known length (RFC 9292), padded with zeros (pure)."""

from __future__ import annotations

from dataclasses import dataclass

from methrics.node.ohttp.reading import Reader, malformed, prefixed, varint

REQUEST, RESPONSE = 0, 1
"""Framing indicators of messages of known length (RFC 9292 section 3.1)."""

Headers = tuple[tuple[bytes, bytes], ...]
"""Pairs of (name in lower case, value)."""

HEADERS_MAX = 64
"""Most lines in a header or trailer section that are read."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `authority` may be empty."""

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: Headers = ()
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One response. `status`: 200 to 599."""

    status: int
    headers: Headers = ()
    content: bytes = b""


def encode_request(request: Request, size: int = 0) -> bytes:
    """Encode a request, padded with zeros to `size` bytes. Raises ValueError if it is longer."""
    control = (request.method, request.scheme, request.authority, request.path)
    head = varint(REQUEST) + b"".join(prefixed(one) for one in control)
    return _padded(head + _sections(request.headers, request.content), size)


def encode_response(response: Response, size: int = 0) -> bytes:
    """Encode a response, padded with zeros to `size` bytes. Raises ValueError if it is longer."""
    head = varint(RESPONSE) + varint(response.status)
    return _padded(head + _sections(response.headers, response.content), size)


def decode_request(data: bytes) -> Request:
    """Decode a request of known length. Trailers are passed over.

    Raises RefusedError `malformed` for other bytes."""
    reader = Reader(data)
    if reader.varint() != REQUEST:
        raise malformed("not a request of known length")
    method, scheme, authority, path = (reader.prefixed() for _ in range(4))
    return Request(method, scheme, authority, path, *_read_sections(reader))


def decode_response(data: bytes) -> Response:
    """Decode a response of known length. Informational responses and trailers are passed over.

    Raises RefusedError `malformed` for other bytes."""
    reader = Reader(data)
    if reader.varint() != RESPONSE:
        raise malformed("not a response of known length")
    for _ in range(HEADERS_MAX):
        status = reader.varint()
        if 200 <= status <= 599:
            return Response(status, *_read_sections(reader))
        if not 100 <= status <= 199:
            break
        _headers(reader.prefixed())
    raise malformed("not a status of HTTP")


def _sections(headers: Headers, content: bytes) -> bytes:
    lines = b"".join(prefixed(name) + prefixed(value) for name, value in headers)
    return prefixed(lines) + prefixed(content) + prefixed(b"")


def _read_sections(reader: Reader) -> tuple[Headers, bytes]:
    """Read headers, content, trailers and padding. A message may end early where all that follows
    would be empty (RFC 9292 section 3.8)."""
    headers = _headers(reader.prefixed()) if reader.left else ()
    content = reader.prefixed() if reader.left else b""
    if reader.left:
        _headers(reader.prefixed())
    if reader.rest().strip(b"\x00"):
        raise malformed("bytes after the end of the message")
    return headers, content


def _headers(section: bytes) -> Headers:
    reader, found = Reader(section), list[tuple[bytes, bytes]]()
    while reader.left:
        if len(found) == HEADERS_MAX:
            raise malformed(f"more than {HEADERS_MAX} header lines")
        name, value = reader.prefixed(), reader.prefixed()
        if not name or name != name.lower():
            raise malformed("a name of a header is in lower case")
        found.append((name, value))
    return tuple(found)


def _padded(message: bytes, size: int) -> bytes:
    if size and len(message) > size:
        raise ValueError(f"the message has {len(message)} bytes, more than {size}")
    return message.ljust(size, b"\x00")

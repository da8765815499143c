"""Reads the messages by which two sides agree on a protocol (multistream-select 1.0).

A message is a length (an unsigned varint), that many bytes of UTF-8, and a newline, which the
length counts. Strangers send them on new TCP connections, before they have proven any key, and on
every new stream. `compat.py` puts this reader into libp2p. Stock reads any length that the peer
announces, and raises errors that its callers do not expect.
"""

from __future__ import annotations

from methrics._vendor.libp2p.io.abc import Reader
from methrics._vendor.libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError

NAME_MAX = 1024
"""Most bytes of one message. go- and js-libp2p refuse longer ones, too; the names of protocols have
some tens of bytes."""

_LENGTH_MAX = 2
"""Most bytes of a length; two can say 16,383."""


async def read_name(reader: Reader) -> str:
    """Return the next message, and read no byte after it.

    Raises MultiselectCommunicatorError, and nothing else, for any bytes that are no message, and if
    the connection ends or breaks.
    """
    try:
        data = await _exactly(reader, await _length(reader))
        if not data.endswith(b"\n"):
            raise ValueError("a message without a newline")
        return data[:-1].decode()
    except Exception as error:
        raise MultiselectCommunicatorError("the peer sent no message") from error


async def _length(reader: Reader) -> int:
    length = 0
    for at in range(_LENGTH_MAX):
        (byte,) = await _exactly(reader, 1)
        length |= (byte & 0x7F) << (7 * at)
        if not byte & 0x80:
            break
    else:
        raise ValueError("a longer length than any message has")
    if not 0 < length <= NAME_MAX:
        raise ValueError(f"a message of {length} bytes")
    return length


async def _exactly(reader: Reader, n: int) -> bytes:
    data = bytearray()
    while len(data) < n:
        part = await reader.read(n - len(data))
        if not part:
            raise ValueError("the connection ended early")
        data += part
    return bytes(data)

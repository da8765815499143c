"""Reads the packets that tcpdump has captured on Ethernet: who talked to whom. Pure."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import NamedTuple

_MAGIC = 0xA1B2C3D4
_ETHERNET = 1
_IPV6 = 0x86DD
_TCP = 6


class Packet(NamedTuple):
    """One IPv6 packet. `frame`: all its bytes, from the Ethernet header on."""

    source: str
    target: str
    protocol: int
    frame: bytes

    @property
    def is_tcp(self) -> bool:
        """Whether it belongs to a TCP connection."""
        return self.protocol == _TCP


def packets(capture: bytes) -> Iterator[Packet]:
    """Yield the IPv6 packets of a pcap file; its last one may be cut short. Raises ValueError for
    another kind of file, and for a frame that is not IPv6."""
    magic, *_, link = struct.unpack_from("<IHHiIII", capture)
    if (magic, link) != (_MAGIC, _ETHERNET):
        raise ValueError("no pcap file of an Ethernet")
    place = 24
    while place + 16 <= len(capture):
        _, _, size, whole = struct.unpack_from("<IIII", capture, place)
        frame = capture[place + 16 : place + 16 + size]
        place += 16 + size
        if len(frame) < whole:
            return
        if int.from_bytes(frame[12:14]) != _IPV6:
            raise ValueError("a frame that is not IPv6")
        source, target = (str(ipaddress.IPv6Address(frame[at : at + 16])) for at in (22, 38))
        yield Packet(source, target, frame[20], frame)

"""Tokens of the networks that peers come from, which reveal no address (pure)."""

from __future__ import annotations

import hashlib
import ipaddress

_SIZE = 8
"""Bytes of a token. A collision makes two networks share one portion, and does no other harm."""

_PREFIX = {4: 24, 6: 48}
"""Leading bits of an address that name its network: about what one customer of a provider gets."""


class Origins:
    """Makes tokens under one key, which is drawn for this process and never stored."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, host: str | None) -> bytes:
        """Return the token of the network of an IP address.

        It is b"" if `host` is not one, or lies in a private range: behind a proxy, or on one
        machine, all peers have the same such address, which tells nothing about them.
        """
        try:
            address = ipaddress.ip_address((host or "").partition("%")[0])
        except ValueError:
            return b""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if not address.is_global:
            return b""
        network = ipaddress.ip_network((address, _PREFIX[address.version]), strict=False)
        packed = bytes([address.version]) + network.network_address.packed
        return hashlib.blake2b(packed, digest_size=_SIZE, key=self._key).digest()

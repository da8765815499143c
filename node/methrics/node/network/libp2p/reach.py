"""Which addresses of other peers' records this node may dial, and what a record says (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import islice

from multiaddr import Multiaddr  # type: ignore[import-untyped]

from methrics._vendor.libp2p.peer.envelope import consume_envelope
from methrics._vendor.libp2p.peer.id import ID
from methrics._vendor.libp2p.peer.peer_record import PEER_RECORD_ENVELOPE_DOMAIN

_ADDRESSES_MAX = 4
"""Most addresses of one record that are dialled, so that a record does not make us scan."""

_EXAMINED_MAX = 32
"""Most addresses of one record that are looked at. A record has room for hundreds, and each takes
a fifth of a millisecond; honest peers name a few."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")


class Reach(Enum):
    """How far this node's own network reaches.

    A record is written by a stranger. Outside private networks it could make us connect to a
    service that only our machine or our network can reach.
    """

    LOOPBACK = "loopback"
    """This node listens on the loopback interface only, as in tests."""
    PRIVATE = "private"
    """This node listens on private addresses only."""
    PUBLIC = "public"

    def allows(self, host: str) -> bool:
        """Whether an IP address may be dialled."""
        address = ipaddress.ip_address(host)
        if address.is_loopback:
            return self is Reach.LOOPBACK
        if address.is_multicast or address.is_unspecified or address.is_link_local:
            return False
        if self is Reach.PRIVATE and address.is_private:
            return True
        if isinstance(address, ipaddress.IPv4Address):
            return address.is_global
        # Other ranges, and these two, translate to IPv4 addresses, which may be private.
        translated = address.sixtofour or address.teredo
        return address.is_global and address in _GLOBAL_UNICAST and not translated


def reach_of(hosts: Iterable[str]) -> Reach:
    """Return the reach of a node that listens on these IP addresses."""
    addresses = [ipaddress.ip_address(host) for host in hosts]
    if addresses and all(one.is_loopback for one in addresses):
        return Reach.LOOPBACK
    private = (one.is_private and not one.is_unspecified for one in addresses)
    return Reach.PRIVATE if addresses and all(private) else Reach.PUBLIC


def dialable(record: bytes, peer_id: bytes, reach: Reach) -> list[Multiaddr]:
    """Return the TCP addresses in a signed peer record that may be dialled; none if the record is
    not validly signed by `peer_id`. Never raises."""
    try:
        envelope, content = consume_envelope(record, PEER_RECORD_ENVELOPE_DOMAIN)
        signer = ID.from_pubkey(envelope.public_key)
        if not signer.to_bytes() == content.peer_id.to_bytes() == peer_id:
            return []
        found = (_tcp_address(addr, reach) for addr in content.addrs[:_EXAMINED_MAX])
        return list(islice((addr for addr in found if addr is not None), _ADDRESSES_MAX))
    except Exception:  # noqa: BLE001 - several parsers that do not document their errors
        return []


def named(addrs: Sequence[str], peer: str, reach: Reach) -> list[Multiaddr]:
    """Return those TCP addresses of `peer` (a peer id in text form) that may be dialled, of
    addresses that a stranger has written. Never raises."""
    found = (_tcp_address(addr, reach) for text in addrs if (addr := _parsed(text, peer)))
    return list(islice((addr for addr in found if addr is not None), _ADDRESSES_MAX))


def _parsed(text: str, peer: str) -> Multiaddr | None:
    """Return an address, or None if it is none, or names another peer."""
    try:
        addr = Multiaddr(text)
        names = [protocol.name for protocol in addr.protocols()]
        known = "p2p" not in names or addr.value_for_protocol("p2p") == peer
        return addr if known else None
    except Exception:  # noqa: BLE001 - several parsers that do not document their errors
        return None


def _tcp_address(addr: Multiaddr, reach: Reach) -> Multiaddr | None:
    """Return a TCP address without the peer id behind it; None if it may not be dialled."""
    names = [protocol.name for protocol in addr.protocols()]
    if names not in (["ip4", "tcp"], ["ip6", "tcp"], ["ip4", "tcp", "p2p"], ["ip6", "tcp", "p2p"]):
        return None  # a host name would make us ask a name server that a stranger chose
    host, port = addr.value_for_protocol(names[0]), int(addr.value_for_protocol("tcp"))
    if not port or not reach.allows(host):
        return None
    return Multiaddr(f"/{names[0]}/{host}/tcp/{port}")

"""Finds the relays and peers to connect to; the user's choice comes before the app's (DEB-8).

    METHRICS_RELAYS    addresses of relays, separated by spaces or commas: https://relay.example/
                       or multiaddresses
    METHRICS_PEERS     multiaddresses of peers of the topic, which only the route `direct` uses
    <config>/network.json   {"relays": ["/ip4/..."], "peers": [...]}, for a variable that is not set

If the user names no relay, the app's relays are used (`methrics.node.open(..., relays=[...])`).
A multiaddress contains the id of its peer (/p2p/...), so that no other peer can answer in its
place; the certificate of an https:// address does the same. http:// is for this machine only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from methrics.node.paths import Paths
from methrics.node.process.regular import read_regular
from methrics.schema.errors import ConfigError

ADDRESSES_MAX = 64
"""Most relays, and most peers, that one machine may be given. `WayRoute` uses one of the
relays for months, `DirectRoute` connects to all of the peers."""

ADDRESS_MAX = 256
"""Characters of the longest address that is accepted."""

FILE_MAX = 65_536
"""Bytes of network.json that are read."""


class Entry(NamedTuple):
    """`relays` get sealed reports: multiaddresses and URLs. `peers` are for the route `direct`:
    multiaddresses. All are complete. `by_app`: whether the app named the relays, not the user."""

    relays: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    by_app: bool = False


def entry_peers(
    paths: Paths, env: Mapping[str, str] = os.environ, *, default_relays: Sequence[str] = ()
) -> Entry:
    """Return the relays and peers to use. `default_relays`: the app's relays, used if the user
    names no relay.

    Raises ConfigError `bad-address` or `bad-network-file`; the message names the address or file.
    """
    named = {kind: _listed(env.get(f"METHRICS_{kind.upper()}", "")) for kind in ("relays", "peers")}
    filed = {} if all(named.values()) else _read(os.path.join(paths.config, "network.json"))
    own = named["relays"] or _array(filed, "relays")
    return Entry(
        relays=check_relays(own or tuple(default_relays)),
        peers=check_addresses(named["peers"] or _array(filed, "peers")),
        by_app=bool(default_relays) and not own,
    )


def check_relays(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the addresses of relays as `check_addresses` does. URLs are allowed, too, and get
    their one written form."""
    return _bounded([_checked_url(one) if is_url(one) else _checked(one) for one in addresses])


def is_url(address: str) -> bool:
    """Whether an address is one of an HTTP door."""
    return address.lower().startswith(("https://", "http://"))


def _checked_url(address: str) -> str:
    from methrics.node.http.url import read_address

    return read_address(address).url


def check_addresses(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the multiaddresses in order, without repetitions. Raises ConfigError `bad-address` if
    one has the wrong form, or if there are more than `ADDRESSES_MAX`."""
    return _bounded([_checked(one) for one in addresses])


def _checked(address: str) -> str:
    if len(address) > ADDRESS_MAX or not address.startswith("/") or "/p2p/" not in address:
        raise ConfigError(
            "bad-address",
            f"{address[:80]!r} is not the address of a peer",
            "it looks like /ip4/192.0.2.7/tcp/4001/p2p/12D3KooW...",
        )
    return address


def _bounded(addresses: Sequence[str]) -> tuple[str, ...]:
    if len(addresses) > ADDRESSES_MAX:
        raise ConfigError("bad-address", f"at most {ADDRESSES_MAX} addresses are allowed")
    return tuple(dict.fromkeys(addresses))


def _listed(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _read(path: str) -> dict[str, object]:
    try:
        document = json.loads(read_regular(path, FILE_MAX).decode("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_file(path, str(error)) from error
    if not isinstance(document, dict):
        raise _bad_file(path, "not an object")
    return document


def _array(document: Mapping[str, object], name: str) -> list[str]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _bad_file("network.json", f"{name} must be a list of addresses")
    return value


def _bad_file(path: str, what: str) -> ConfigError:
    return ConfigError(
        "bad-network-file", f"cannot use {path}: {what}", "correct it, or move it away"
    )

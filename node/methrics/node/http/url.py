"""Reads the address of an HTTP server, and finds the proxy that leads to it (pure)."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from methrics.schema.errors import ConfigError, UnreachableError

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.ASCII)

TEXT_MAX = 512
"""Characters of the longest address that is read: a host name has at most 253."""

_PORTS = {"https": 443, "http": 80}


class Address(NamedTuple):
    """A server. `host` is in lower case, an IPv6 address without brackets."""

    secure: bool
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """The value of the header Host: without a port that goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _PORTS["https" if self.secure else "http"]
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")

    @property
    def url(self) -> str:
        """The address in its one written form, with a slash at its end."""
        return f"http{'s' * self.secure}://{self.authority.decode()}/"


class Proxy(NamedTuple):
    """An HTTP proxy. `authorization` is the value of its header, or b""."""

    host: str
    port: int
    authorization: bytes = b""


def read_address(text: str) -> Address:
    """Read `https://host[:port]/`, or `http://` for an address of this machine. Raises ConfigError
    `bad-address` for everything else: a path, a query or a name of a user, too."""
    if len(text) > TEXT_MAX:
        raise _bad(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _bad(text) from None
    host = (parts.hostname or "").lower()
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment
    if not text.isascii() or text != text.strip() or not plain or "@" in parts.netloc:
        raise _bad(text)
    if parts.scheme not in _PORTS or port == 0 or not _is_host(host):
        raise _bad(text)
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            "bad-address", f"{text[:80]!r} is not encrypted", "use https:// for another machine"
        )
    secure = parts.scheme == "https"
    return Address(secure, host, _PORTS[parts.scheme] if port is None else port)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as far as its text tells."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def proxy_of(address: Address, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that the environment names for an address, as other programs read it:
    `HTTPS_PROXY` or `ALL_PROXY`, unless `NO_PROXY` excludes the host. Both cases are read, lower
    first. This machine is never asked through a proxy.

    Raises UnreachableError `proxy` for a proxy of another kind than HTTP: to go past it would show
    an address that its user wants to hide.
    """
    if is_loopback(address.host) or not address.secure:
        return None
    text = _first(env, "https_proxy", "all_proxy")
    if not text or _excluded(address.host, _first(env, "no_proxy")):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    if parts.scheme != "http" or not _is_host(host):
        raise UnreachableError(
            "proxy", "the proxy of the environment is not an HTTP proxy", "see HTTPS_PROXY"
        )
    login = b""
    if parts.username is not None:
        words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = b"Basic " + base64.b64encode(words.encode())
    return Proxy(host, port or 80, login)


def _first(env: Mapping[str, str], *names: str) -> str:
    found = (env.get(one) for name in names for one in (name, name.upper()))
    return next((text.strip() for text in found if text), "")


def _excluded(host: str, listed: str) -> bool:
    for one in listed.lower().replace(",", " ").split():
        name = one.lstrip("*").lstrip(".").partition(":")[0] if one.count(":") < 2 else one
        if one == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            return ip_address(host).version == 6 and "%" not in host
        except ValueError:
            return False
    return len(host) <= 253 and _HOST.fullmatch(host) is not None


def _bad(text: str) -> ConfigError:
    return ConfigError(
        "bad-address",
        f"{text[:80]!r} is not the address of a relay",
        "it looks like https://relay.example/",
    )

"""Decides who may ask the live endpoint: programs of this machine, not web pages. Pure.

A web page may send requests to loopback from the browser of whoever looks at it. It cannot set
`Host` to a name that is not its own (DNS rebinding), leave out `Origin`, or send JSON to another
origin without asking first, which is never allowed here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address

from methrics.schema.errors import ConfigError

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names by which loopback may be asked."""

JSON = "application/json"


def refusal(
    headers: Iterable[tuple[bytes, bytes]], names: Collection[str], *, posted: bool
) -> str | None:
    """Return why a request is refused, or None.

    `names` are the host names by which the endpoint may be asked, in lower case; empty for any.
    """
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    hosts = found.get("host", [])
    if len(hosts) != 1:
        return "a request names exactly one host"
    if names and host_of(hosts[0]) not in names:
        return f"the host {hosts[0]!r} is not known here"
    if "origin" in found:
        return "a web page cannot ask here"
    if any(one not in ("same-origin", "none") for one in found.get("sec-fetch-site", [])):
        return "a web page cannot ask here"
    kinds = [one.partition(";")[0].strip().lower() for one in found.get("content-type", [])]
    if posted and kinds != [JSON]:
        return f"a question has the header Content-Type: {JSON}"
    return None


def host_of(value: str) -> str:
    """Return the host in a `Host` header, in lower case, without port and brackets."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0] if value.count(":") == 1 else value


def parse_listen(text: str, *, open_to_others: bool) -> tuple[str, int]:
    """Return host and port of `HOST:PORT`.

    Raises ConfigError `http-address` for another form, and for an address other machines can reach
    unless `open_to_others`.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ip_address("127.0.0.1" if host == "localhost" else host)
        number = int(port) if port.isascii() and port.isdigit() else -1
    except ValueError:
        number = -1
    if not colon or not 0 <= number <= 65_535:
        raise ConfigError(
            "http-address", f"{text} is no address to serve at", "give one like 127.0.0.1:8417"
        )
    if not address.is_loopback and not open_to_others:
        raise ConfigError(
            "http-address",
            f"{text} can be reached by other machines",
            "serve at 127.0.0.1, or add --http-open if you mean it",
        )
    return str(address), number

"""Opens doors of either kind. If only URLs may be used, libp2p is not loaded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from methrics.node.network.swarm import Swarm
from methrics.node.publish.doors.interface import Door
from methrics.node.publish.entries import KeptEntry, Source
from methrics.node.publish.entry import is_url
from methrics.schema.errors import ConfigError, UnreachableError

OpenDoor = Callable[[KeptEntry], Door]
"""Returns the door of an entry. Raises UnreachableError if its address cannot be used."""


@asynccontextmanager
async def open_doors(*, libp2p: bool) -> AsyncIterator[OpenDoor]:
    """Yield a function that opens doors, while it is needed. `libp2p`: whether doors of libp2p are
    among them; then a swarm is opened, with a new host key and peer id."""
    if not libp2p:
        yield lambda entry: door(entry, None)
        return
    from methrics.node.network.libp2p import open_swarm

    async with open_swarm() as swarm:
        yield lambda entry: door(entry, swarm)


def door(entry: KeptEntry, swarm: Swarm | None) -> Door:
    """Return the door of an entry. Raises UnreachableError if its address cannot be used here."""
    if is_url(entry.address):
        from methrics.node.publish.doors.http import HttpDoor

        try:
            return HttpDoor(entry.address)
        except ConfigError as error:
            raise UnreachableError(error.code, error.message) from error
    if swarm is None:
        raise UnreachableError("no-libp2p", "this address needs the extra `node`")
    from methrics.node.publish.doors.libp2p import Libp2pDoor

    return Libp2pDoor(swarm, entry.address, stranger=entry.source is Source.FOUND)

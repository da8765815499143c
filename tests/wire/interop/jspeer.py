"""A stock js-libp2p peer in a process of its own: `peer.mjs`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from driving import StockPeer, driven


@contextlib.asynccontextmanager
async def js_peer(script: Path, naming: str, degree: int = 6) -> AsyncIterator[StockPeer]:
    """A running peer of this mesh degree; `naming` of messages is "content" or "default"."""
    async with driven(["node", str(script), naming, str(degree)]) as peer:
        peer.floods = True
        yield peer

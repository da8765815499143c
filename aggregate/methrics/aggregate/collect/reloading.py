"""Takes in the catalogs and records that an operator gives while the aggregator runs."""

from __future__ import annotations

from collections.abc import Callable

import trio

from methrics.aggregate.collect.ingest import Ingest
from methrics.node.clock import Clock
from methrics.node.relay.given import Given, Reloaded, take_given
from methrics.schema.judging.book import CatalogBook
from methrics.schema.judging.gate import BundleVerdict
from methrics.schema.wire.verdict import Decision, Reason

Reloads = trio.MemoryReceiveChannel[Given]
"""The channel by which changed files arrive."""


async def take_reloads(
    reloads: Reloads,
    ingest: Ingest,
    book: CatalogBook,
    clock: Clock,
    notify: Callable[[Reloaded], None],
) -> None:
    """Take what arrives on the channel, like items from the network, until cancelled.

    `notify` gets one `Reloaded` for each. A bad or foreign file is named there, and changes
    nothing.
    """
    async for given in reloads:
        accepted, done = take_given(given, book, clock.now())
        if accepted:
            await ingest.take(BundleVerdict(Decision.ACCEPT, Reason.OK, accepted))
        notify(done)

"""The option that makes an aggregator a shard, and the settings that follow from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from methrics.aggregate.collect.service import AggregatorSettings
from methrics.node.cli.typed import Typed
from methrics.node.mesh.limits import MeshSettings
from methrics.node.network.libp2p.settings import GossipSettings
from methrics.schema.errors import ConfigError
from methrics.schema.wire.shard import WHOLE, Shard, parse_shard


def read_shard(text: str) -> Shard:
    """Return the shard that an option such as `2/4` means. Raises ValueError with a sentence for
    the person."""
    try:
        return parse_shard(text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


SHARD = click.option(
    "--shard",
    type=Typed("shard", Shard, read_shard),
    default=str(WHOLE),
    metavar="I/N",
    help="Store only shard I of N of all reports, by their ids; N is 2, 4, 8 or 16. The aggregator "
    "then passes nothing on to peers. FILE keeps to its shard.",
)
"""The option `--shard`; without it, an aggregator stores everything."""


LAKE = click.option(
    "--lake",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --shard: the directory, local or mounted, to which all shards write their Parquet.",
)
"""The option `--lake`."""


def as_leaf(
    settings: AggregatorSettings, shard: Shard, lake: Path | None = None
) -> AggregatorSettings:
    """Return the settings of an aggregator of a shard. Raises ConfigError for a lake of one."""
    if lake is not None and shard.is_whole:
        raise ConfigError("no-shard", "a lake is written by shards", "give --shard I/N, too")
    return replace(settings, ingest=replace(settings.ingest, leaf=not shard.is_whole))


def gossip_of(shard: Shard) -> GossipSettings | None:
    """Return the settings of the swarm: that of a shard is a leaf. None for the usual ones."""
    return None if shard.is_whole else GossipSettings(mesh=MeshSettings(leaf=True))

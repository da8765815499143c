"""SQL for the rows of a shard. Pure."""

from __future__ import annotations

from methrics.schema.wire.shard import Shard


def within(column: str, shard: Shard) -> str:
    """Return SQL for the condition that an id of 32 bytes, such as `i.id`, is one of a shard."""
    low, high = ((shard.number - part) * 256 // shard.count for part in (1, 0))
    parts = [f"{column} >= '\\x{low:02X}'::BLOB"] if low else []
    parts += [f"{column} < '\\x{high:02X}'::BLOB"] if high < 256 else []
    return " AND ".join(parts) or "true"

"""The DuckDB file: tables, the single writer, erasures, quarantine, refusals, digests."""

__all__: list[str] = []

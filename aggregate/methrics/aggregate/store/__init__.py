"""The DuckDB file: tables, the single writer, records, erasures, refusals, digests."""

__all__: list[str] = []

"""The DuckDB file: tables, the one writer, erasures, quarantine, refusals and digests."""

__all__: list[str] = []

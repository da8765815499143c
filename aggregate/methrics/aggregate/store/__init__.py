"""The DuckDB file: tables, the one writer, erasures, quarantine, refusals and digests."""

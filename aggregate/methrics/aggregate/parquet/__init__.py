"""Parquet exports: writing them beside the DuckDB file, fetching them from an address."""

__all__: list[str] = []

"""Parquet exports: this package writes them beside the DuckDB file, and fetches published ones."""

__all__: list[str] = []

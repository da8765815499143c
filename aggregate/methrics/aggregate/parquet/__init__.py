"""Parquet: exports beside the file, and fetching them from elsewhere."""

__all__: list[str] = []

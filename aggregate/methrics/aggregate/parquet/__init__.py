"""Parquet: exports beside the file, and fetching them from elsewhere."""

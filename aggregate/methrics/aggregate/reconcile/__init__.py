"""Aggregators compare their sets of items and fetch from each other what they lack."""

__all__: list[str] = []

"""Verdicts: whether an item or a bundle is accepted, given the known catalogs and the time."""

__all__: list[str] = []

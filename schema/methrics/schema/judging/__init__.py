"""The verdict on an item or a bundle, given the known catalogs and the time."""

__all__: list[str] = []

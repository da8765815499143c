"""Functions for notebooks: they open data from a path or an address, make examples, and plot."""

__all__: list[str] = []

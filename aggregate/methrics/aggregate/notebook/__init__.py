"""Functions for notebooks: open data from a path or an address, example data, plots."""

__all__: list[str] = []

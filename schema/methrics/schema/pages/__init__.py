"""Pages generated from a catalog: privacy notice, data dictionary."""

__all__: list[str] = []

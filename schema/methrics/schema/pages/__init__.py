"""Pages generated from a catalog: consent text, privacy notice, data dictionary."""

__all__: list[str] = []

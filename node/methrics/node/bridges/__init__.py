"""Bridges: an app keeps its calls of another metrics library, and this package records them."""

__all__: list[str] = []

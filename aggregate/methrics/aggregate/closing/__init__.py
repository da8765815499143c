"""Closed days: when a day is over, who may still add to it, and the manifests that say so."""

__all__: list[str] = []

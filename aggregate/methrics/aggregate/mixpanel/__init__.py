"""Mixpanel exports: a catalog draft made from one, and the same metrics computed on both sides."""

__all__: list[str] = []

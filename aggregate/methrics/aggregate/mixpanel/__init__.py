"""Helps to move from Mixpanel: drafts a catalog from an export, and compares metrics."""

__all__: list[str] = []

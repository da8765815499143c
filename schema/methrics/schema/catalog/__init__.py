"""Catalogs: event types, fields, rules, privacy lint, and the difference between two catalogs."""

__all__: list[str] = []

"""Catalogs: event types, fields, the rules and the lint they must pass, and what changed"""

__all__: list[str] = []

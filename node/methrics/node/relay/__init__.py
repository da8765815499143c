"""The relay: accepts sealed reports, checks and mixes them, and publishes them in bundles."""

__all__: list[str] = []

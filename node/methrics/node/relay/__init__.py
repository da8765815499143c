"""Relays: accept sealed reports, check and mix them, publish them in bundles."""

__all__: list[str] = []

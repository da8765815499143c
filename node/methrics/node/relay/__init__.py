"""Relays: take sealed reports in, check and mix them, publish them in bundles."""

__all__: list[str] = []

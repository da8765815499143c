"""Migrations: each brings a file of one layout to the next, in one transaction."""

__all__: list[str] = []

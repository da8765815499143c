"""Bridges: apps that count with another library keep their calls, and report here instead."""

__all__: list[str] = []

"""The demo job: the whole path as real processes on this machine, ending in tables."""

__all__: list[str] = []

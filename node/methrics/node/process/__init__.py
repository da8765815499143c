"""Process-level helpers: file locks, worker threads, forks, exit hooks, logging."""

__all__: list[str] = []

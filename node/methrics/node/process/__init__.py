"""What the process and its machine need care with: locks, threads, forks, exit, logging."""

__all__: list[str] = []

"""`methrics demo`: relay, aggregators and apps as real processes on one machine, then tables."""

__all__: list[str] = []

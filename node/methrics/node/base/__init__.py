"""The command of the base install, which needs no extra: `python -m methrics.node consent`."""

__all__: list[str] = []

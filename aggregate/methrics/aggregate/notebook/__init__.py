"""What notebooks call: opening data from anywhere, example data, plots."""

__all__: list[str] = []

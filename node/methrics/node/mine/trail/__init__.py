"""What trails a person's reports leave, measured on their own machine, before and after sending."""

__all__: list[str] = []

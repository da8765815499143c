"""The local page on which a person decides: `methrics consent --web`."""

__all__: list[str] = []

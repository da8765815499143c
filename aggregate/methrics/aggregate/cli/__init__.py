"""The `methrics` command, and the subcommands that read or collect data."""

__all__: list[str] = []

"""The `methrics` command and those of its subcommands that need a data set."""

__all__: list[str] = []

"""Defines the groups of commands, which suggest a command for a misspelt name."""

from __future__ import annotations

import click

from methrics.node.cli.naming import check_names


class CommandGroup(click.Group):
    """A group of commands that suggests one for a misspelt name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does. Raises WrongNameError for a name that no command has."""
        word = args[0]
        unknown = not word.startswith("-") and self.get_command(ctx, word) is None
        if unknown and not ctx.resilient_parsing:
            names = self.list_commands(ctx)
            check_names([word], names, kind="command", owner=ctx.command_path)
        return super().resolve_command(ctx, args)

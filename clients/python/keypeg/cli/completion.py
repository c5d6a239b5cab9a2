"""`keypeg completion`: the script that teaches a shell to complete keypeg's commands."""

from __future__ import annotations

import click

from keypeg.cli.lazy import Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for a shell.

    \b
    Examples:
      bash:  keypeg completion bash > ~/.local/share/bash-completion/completions/keypeg
      zsh:   keypeg completion zsh > ~/.zfunc/_keypeg
      fish:  keypeg completion fish > ~/.config/fish/completions/keypeg.fish
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "keypeg", "_KEYPEG_COMPLETE").source())

"""`harness completion`: what a shell needs to complete commands, options and studies."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL; it completes commands, options, suites and study files.

    \b
    harness completion bash   >> ~/.bashrc
    harness completion zsh   >> ~/.zshrc
    harness completion fish   > ~/.config/fish/completions/harness.fish
    """
    from harness.cli import group

    found = get_completion_class(shell)
    assert found is not None  # click.Choice has seen to it
    click.echo(found(group, {}, "harness", "_HARNESS_COMPLETE").source())

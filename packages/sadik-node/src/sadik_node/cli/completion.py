"""``completion``: the few lines by which a shell asks this command how a word may go on."""

from __future__ import annotations

import click

from sadik_node.cli.common import print_json

__all__ = ["completion"]

_VARIABLE = "_SADIK_NODE_COMPLETE"
_FILES = {
    "bash": "~/.local/share/bash-completion/completions/sadik-node",
    "zsh": "a file _sadik-node in a directory of $fpath",
    "fish": "~/.config/fish/completions/sadik-node.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_FILES)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def completion(*, shell: str, as_json: bool) -> None:
    """Print what makes SHELL complete verbs, options and files of sadik-node.

    To have it in every new shell, write it to where the shell looks:
    bash ~/.local/share/bash-completion/completions/sadik-node, zsh a file _sadik-node in a
    directory of $fpath, fish ~/.config/fish/completions/sadik-node.fish.

    \b
    Example:
      eval "$(sadik-node completion bash)"
      sadik-node completion zsh > ~/.zfunc/_sadik-node
      sadik-node completion fish > ~/.config/fish/completions/sadik-node.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only this verb

    from sadik_node.cli.root import cli  # noqa: PLC0415 - the root loads this module

    made = get_completion_class(shell)
    assert made is not None, shell
    script = made(cli, {}, "sadik-node", _VARIABLE).source()
    if as_json:
        print_json({"shell": shell, "for": _FILES[shell], "script": script})
    else:
        click.echo(script)

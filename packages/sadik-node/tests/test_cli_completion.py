"""The completion that is printed for a shell works in that very shell."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from sadik_node.cli.root import cli

BIN = Path(sys.executable).parent

ASK = {
    "bash": """
        eval "$(sadik-node completion bash)"
        complete -p sadik-node >/dev/null || exit 9
        COMP_WORDS=(sadik-node st); COMP_CWORD=1; _sadik_node_completion sadik-node
        printf '%s\\n' "${COMPREPLY[@]}"
        COMP_WORDS=(sadik-node top --ev); COMP_CWORD=2; _sadik_node_completion sadik-node
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    # What zsh's own completion would call is set to print; the function is the printed one.
    "zsh": """
        compdef() { true; }
        _describe() { print -l -- ${(P)3} ; }
        compadd() { print -l -- "$@"; }
        eval "$(sadik-node completion zsh)"
        words=(sadik-node st); CURRENT=2; _sadik_node_completion
        words=(sadik-node top --ev); CURRENT=3; _sadik_node_completion
    """,
    "fish": """
        sadik-node completion fish | source
        complete -C 'sadik-node st'
        complete -C 'sadik-node top --ev'
    """,
}


@pytest.mark.parametrize("shell", ASK)
def test_a_script_is_printed_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert "_SADIK_NODE_COMPLETE" in result.stdout
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == 2


@pytest.mark.system
@pytest.mark.parametrize("shell", ASK)
def test_the_shell_completes_verbs_and_options(
    shell: str, require_program: Callable[..., str], tmp_path: Path
) -> None:
    program = require_program(shell, package=shell)
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    result = subprocess.run([program, *options, "-c", ASK[shell]], capture_output=True, text=True,
                            env=environment, check=False)  # fmt: skip
    assert result.returncode == 0, result
    for word in ("status", "storage", "--every"):
        assert word in result.stdout, result
    assert "put" not in result.stdout.split()

"""`sadik-node token`."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sadik_node.cli.root import cli
from sadik_node.client_security import ClientSecurity
from sadik_node.errors import NodeError
from sadik_node.http.access import Access
from sadik_node.log import Log
from sadik_node.private_files import FileWatch
from sadik_node.settings import Auth, Settings
from sadik_node.tokens import Action, TokenFile


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["token", *map(str, arguments)])


def test_a_token_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    added = run("add", file, "app", "--scope", "read", "--scope", "write:app-", "--days", 30)
    assert added.exit_code == 0, added.output
    text = added.stdout.strip()
    assert text.split("_", 2)[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    grant, _ = TokenFile.parse(file.read_bytes()).check(text.encode(), 0)
    assert grant is not None
    assert grant.allows(Action.WRITE, "app-1")
    assert not grant.allows(Action.WRITE, "other")
    assert run("add", file, "app", "--scope", "read").exit_code == 1, "the name is taken"
    shown = json.loads(run("list", file, "--json").stdout)["tokens"]
    assert [(each["name"], each["scopes"]) for each in shown] == [("app", ["read", "write:app-"])]
    assert "app" in run("list", file).stdout
    assert run("revoke", file, "nobody").exit_code == 3
    assert run("revoke", file, "app").exit_code == 0
    assert TokenFile.parse(file.read_bytes()).check(text.encode(), 0)[0] is None


@pytest.mark.parametrize(("name", "scope"), [("a b", "read"), ("a", "own"), ("a", "read:/")])
def test_what_is_none_is_refused(tmp_path: Path, name: str, scope: str) -> None:
    file = tmp_path / "tokens.toml"
    assert run("add", file, name, "--scope", scope).exit_code == 2
    assert not file.exists()


def test_a_node_reads_the_file_again_and_keeps_it_where_it_cannot(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    text = run("add", file, "app", "--scope", "read").stdout.strip().encode()
    security = ClientSecurity(Settings(auth=Auth(tokens=file)))
    files = FileWatch(Log("n1"))
    access = Access(security.tokens, lambda: 0, lambda: 0)
    security.watch(files, access, lambda _tls, _context: None)
    file.write_text("half a f")
    files.look()
    assert access.tokens is not None
    assert access.tokens.check(text, 0)[0] is not None
    run_after = tmp_path / "other.toml"
    run("add", run_after, "other", "--scope", "read")
    run_after.replace(file)
    files.look()
    assert access.tokens.check(text, 0)[0] is None


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    run("add", file, "app", "--scope", "read")
    file.chmod(0o644)
    with pytest.raises(NodeError, match=r"auth\.tokens: .*chmod 600"):
        ClientSecurity(Settings(auth=Auth(tokens=file)))

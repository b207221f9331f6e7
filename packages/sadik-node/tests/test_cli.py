"""What each verb prints, where, and the exit code that scripts rely on."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from contract_server import Cluster, Server, serving
from sadik_node.cli.next_steps import next_step
from sadik_node.cli.root import cli
from sadik_node.testing import start_cluster


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Cluster()) as server:
        yield server


def run(*arguments: str, node: str | None = None, stdin: bytes | None = None) -> Result:
    environment = {"SADIK_NODE": node, "SADIK_CONFIG": None}
    return CliRunner().invoke(cli, arguments, input=stdin, env=environment, prog_name="sadik-node")


def _every_command() -> list[tuple[str, ...]]:
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, each) for each in command.list_commands(context)]
    return found


def test_the_verbs_of_the_contract_are_there() -> None:
    verbs = {" ".join(each) for each in _every_command()}
    assert verbs >= {
        "dev", "serve", "put", "get", "delete", "list", "import", "export", "status", "members",
        "ring", "hints", "explain", "bucket show", "bucket set", "bucket list", "config check",
        "version",
    }  # fmt: skip


@pytest.mark.parametrize("command", [(), *_every_command()], ids=" ".join)
def test_help_has_an_example(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    _, _, example = result.stdout.partition("Example:\n")
    assert f"sadik-node {' '.join(command)}".rstrip() in example


# They run until they are told to end, and say what they do as they go.
_WITHOUT_AN_END = {("dev",), ("serve",)}


@pytest.mark.parametrize("command", _every_command(), ids=" ".join)
def test_every_verb_prints_json_if_asked(command: tuple[str, ...]) -> None:
    found: click.Command = cli
    for name in command:
        assert isinstance(found, click.Group)
        step = found.get_command(click.Context(found), name)
        assert step is not None
        found = step
    if not isinstance(found, click.Group) and command not in _WITHOUT_AN_END:
        assert "--json" in [option for each in found.params for option in each.opts]


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "--token-file"), (503, "sadik-node members"), (428, "--context"), (507, "doctor"),
     (504, "explain")],
)  # fmt: skip
def test_a_refusal_names_the_next_step(server: Server, status: int, told: str) -> None:
    server.fault = lambda method, path: str(status)
    result = run("put", "b", "k", "v", node=server.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert told in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("get", "b", "k", "--r", "9"), 400, "`sadik-node get --help`"),
        (("bucket", "set", "b", "foo=1"), 400, "`sadik-node bucket set --help`"),
    ],
)
def test_the_next_step_is_one_of_the_verb(
    server: Server, arguments: tuple[str, ...], status: int, told: str
) -> None:
    server.fault = lambda method, path: str(status)
    result = run(*arguments, node=server.url)
    assert result.exit_code == 1
    assert told in result.stderr.splitlines()[-1]


def test_changes_of_members_that_cannot_be_name_the_next_step() -> None:
    with start_cluster(nodes=1) as cluster:
        for arguments, said in (
            (("remove", "n9"), "no member is called"),
            (("plan", "--leave", "n9"), "no member is called"),
            (("plan", "--join", "n1"), "n1 is a member already"),
        ):
            result = run(*arguments, node=cluster.urls[0])
            assert result.exit_code == 1
            assert said in result.stderr
            assert "sadik-node members" in result.stderr.splitlines()[-1]
    assert "sadik-node leave" in next_step("sadik-node remove", 409)


def test_a_mistyped_verb_is_told_what_it_may_have_been() -> None:
    result = run("stauts")
    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.stderr
    assert "Did you mean" not in run("frobnicate").stderr


def test_nothing_to_list_is_told_beside_the_data(server: Server) -> None:
    nothing = run("list", "empty", node=server.url)
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "no key in empty\n")
    assert run("list", "empty", "--json", node=server.url).stderr == ""


def test_tls_to_a_port_without_it_is_told_so(server: Server) -> None:
    result = run("get", "b", "k", node=server.url.replace("http:", "https:"))
    assert result.exit_code == 1
    assert f"speaks no TLS: give --node {server.url}" in result.stderr


def test_put_get_delete(server: Server) -> None:
    assert run("put", "notes", "hello", "world", node=server.url).exit_code == 0
    found = run("get", "notes", "hello", node=server.url)
    assert (found.exit_code, found.stdout_bytes, found.stderr) == (0, b"world", "")
    deleted = run("delete", "notes", "hello", node=server.url)
    assert (deleted.exit_code, deleted.stdout) == (0, "")
    gone = run("get", "notes", "hello", node=server.url)
    assert (gone.exit_code, gone.stdout) == (3, "")
    assert "notes/hello is not there" in gone.stderr
    assert run("delete", "notes", "other", node=server.url).exit_code == 3


def test_a_value_is_any_bytes_from_a_file_or_standard_input(server: Server, tmp_path: Path) -> None:
    value = bytes(range(256))
    (tmp_path / "v").write_bytes(value)
    assert run("put", "b", "f", f"@{tmp_path / 'v'}", node=server.url).exit_code == 0
    assert run("put", "b", "s", "-", node=server.url, stdin=value).exit_code == 0
    assert run("put", "b", "e", "", node=server.url).exit_code == 0
    for key, expected in (("f", value), ("s", value), ("e", b"")):
        assert run("get", "b", key, node=server.url).stdout_bytes == expected
    missing = run("put", "b", "f", "@/nowhere/file", node=server.url)
    assert missing.exit_code == 2
    assert "No such file" in missing.stderr


def test_a_key_is_any_bytes(server: Server) -> None:
    for key in ("../etc/passwd", "a//b", "100%", "grüße", "?x=1#y", " "):
        assert run("put", "b", key, key, node=server.url).exit_code == 0
        assert (b"%s" % key.encode()) == server.cluster.value("b", key.encode())
        assert run("get", "b", key, node=server.url).stdout == key
    assert run("put", "b", "a%00%FF", "v", "--percent", node=server.url).exit_code == 0
    assert server.cluster.value("b", b"a\0\xff") == b"v"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("get", "b", ""), "1 to 400 bytes"),
        (("get", "b", "k" * 401), "1 to 400 bytes"),
        (("get", "a/b", "k"), "A-Z a-z 0-9 . _ -"),
        (("get", "", "k"), "1 to 64 characters"),
        (("get", "b"), "Missing argument"),
        (("get", "b", "k", "--node", "ftp://x"), "http://host:port"),
        (("get", "b", "k", "--token-file", "/no"), "--token-file"),
        (("get", "b", "k", "--ca", "/no"), "--ca"),
        (("list", "b", "--limit", "0"), "--limit"),
        (("put", "b", "k", "v", "--content-type", "ü€"), "cannot be sent"),
        (("put", "b", "k", "v", "--context", "a\nb"), "cannot be sent"),
        (("bucket", "set", "b"), "Missing argument"),
        (("bucket", "set", "b", "w"), "PROPERTY=VALUE"),
        (("import", "/nowhere", "b"), "no directory"),
        (("serve", "--http", "0.0.0.0:1"), "listen.insecure"),
        (("serve", "--join", "x"), "--join"),
        (("frobnicate",), "No such command"),
        (("dev", "--base-port", "65400", "--nodes", "20", "--dir", "/dev/null"), "--base-port"),
    ],
)
def test_wrong_usage_is_exit_code_2(server: Server, arguments: tuple[str, ...], told: str) -> None:
    result = run(*arguments, node=server.url)
    assert server.requests == []
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in " ".join(result.stderr.split())


def test_what_a_put_is_told_reaches_the_node(server: Server) -> None:
    run("put", "b", "k", "1", "--w", "all", "--no-sloppy", "--content-type", "text/plain",
        "--context", "1", node=server.url)  # fmt: skip
    assert server.requests[-1] == ("PUT", "/v1/kv/b/k?w=all&sloppy=false")
    assert server.headers[-1]["content-type"] == "text/plain"
    assert server.headers[-1]["sadik-context"] == "1"
    run("get", "b", "k", "--r", "2", "--no-sloppy", node=server.url)
    assert server.requests[-1] == ("GET", "/v1/kv/b/k?r=2&sloppy=false")


def test_json_gives_scripts_what_they_need(server: Server) -> None:
    put = json.loads(run("put", "b", "k", "\x00ü", "--json", node=server.url).stdout)
    assert put["acks"] == {"needed": 2, "got": 2, "durable": 2, "primaries": 1, "hinted": 1}
    got = json.loads(run("get", "b", "k", "--json", node=server.url).stdout)
    assert got["context"] == put["context"]
    assert base64.b64decode(got["value_b64"]).decode() == got["text"] == "\x00ü"
    again = run("put", "b", "k", "2", "--context", got["context"], "--json", node=server.url)
    assert again.exit_code == 0
    missing = run("get", "b", "other", "--json", node=server.url)
    assert missing.exit_code == 3
    assert json.loads(missing.stdout) == {"found": False, "deleted": False, "context": None}


def test_siblings_are_all_printed_and_made_one_with_what_was_told(server: Server) -> None:
    server.cluster.add("b", b"k", b"one")
    server.cluster.add("b", b"k", b"two")
    several = run("get", "b", "k", node=server.url)
    assert (several.exit_code, several.stdout) == (4, "one\ntwo\n")
    line = several.stderr.splitlines()[-1].split()
    assert line[:2] == ["sadik-node", "put"]
    assert run(*("merged" if each == "VALUE" else each for each in line[1:]),
               node=server.url).exit_code == 0  # fmt: skip
    assert run("get", "b", "k", node=server.url).stdout == "merged"
    server.cluster.add("b", b"k", b"three")
    shown = run("get", "b", "k", "--json", node=server.url)
    assert shown.exit_code == 4
    assert len(json.loads(shown.stdout)["siblings"]) == 2


def test_list_goes_through_all_pages_in_byte_order(server: Server) -> None:
    keys = [b"\x00", b"a", b"a/b", b"a\nb", b"b c", b"\xff", b"z" * 400]
    for key in keys:
        server.cluster.add("b", key, b"")
    listed = run("list", "b", "-0", node=server.url)
    assert listed.stdout_bytes.split(b"\0\0") == [b"", b"\0".join(sorted(keys)[1:]) + b"\0"]
    lines = run("list", "b", "--json", node=server.url).stdout.splitlines()
    assert [json.loads(line)["key"] for line in lines[:3]] == ["%00", "a", "a%0Ab"]
    assert len(lines) == len(keys)
    assert run("list", "b", "--prefix", "a", "--limit", "2", node=server.url).stdout_bytes == (
        b"a\na\nb\n"
    )
    assert run("list", "empty", node=server.url).stdout == ""


def test_the_node_comes_from_the_variable_unless_it_is_said(server: Server) -> None:
    assert run("status", node=server.url).exit_code == 0
    assert run("status", "--node", server.url, node="http://127.0.0.1:1").exit_code == 0


def test_views_are_tables_or_json(server: Server) -> None:
    members = run("members", node=server.url).stdout.splitlines()
    assert members[0].split() == ["name", "state", "http", "peer", "zone", "id"]
    assert members[1].split()[:2] == ["n1", "up"]
    ring = run("ring", node=server.url)
    assert [line.split() for line in ring.stdout.splitlines()[1:]] == [
        ["n1", "3", "2"],
        ["n2", "3", "1"],
    ]
    assert run("ring", "--partitions", node=server.url).stdout.splitlines()[2].split() == [
        "1", "n2", "n1"
    ]  # fmt: skip
    assert "store.keys  3" in run("status", node=server.url).stdout
    assert "n2   4" in run("hints", node=server.url).stdout
    explained = run("explain", "b", "k", node=server.url)
    assert "A  a:1:1  5 bytes" in explained.stdout
    assert "a hint on n3, to bring n2 up to date" in explained.stdout
    for verb in (["members"], ["ring"], ["status"], ["hints"], ["explain", "b", "k"]):
        assert isinstance(json.loads(run(*verb, "--json", node=server.url).stdout), dict)


def test_bucket_properties_are_set_shown_listed_and_reset(server: Server) -> None:
    changed = run("bucket", "set", "b", "w=all", "value_bytes=100", "ttl_seconds=null", "--json",
                  node=server.url)  # fmt: skip
    expected = {"bucket": "b", "r": "quorum", "w": "all", "value_bytes": 100, "ttl_seconds": None}
    assert json.loads(changed.stdout) == expected
    assert "value_bytes  100" in run("bucket", "show", "b", node=server.url).stdout
    assert run("bucket", "list", node=server.url).stdout == "b\n"
    assert run("bucket", "reset", "b", node=server.url).exit_code == 0
    assert run("bucket", "list", node=server.url).stdout == ""


def test_a_refusal_is_exit_code_1_with_the_nodes_reason(server: Server) -> None:
    refused = run("put", "b", "k", "x" * 2000, node=server.url)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "413 Refused: 1000 bytes are accepted" in refused.stderr
    for status, told in (("503", "nothing was applied"), ("504", "may or may not")):
        server.fault = lambda method, path, status=status: status  # type: ignore[misc]
        failed = run("put", "b", "k", "x", node=server.url)
        assert failed.exit_code == 1
        assert told in failed.stderr


def test_a_node_that_is_not_there_or_breaks_off_is_told(server: Server) -> None:
    server.fault = lambda method, path: "apply and drop"
    broken = run("put", "b", "k", "x", node=server.url)
    assert broken.exit_code == 1
    assert "may or may not have been applied" in broken.stderr
    server.end()
    for verb in (["get", "b", "k"], ["status"], ["list", "b"], ["bucket", "list"]):
        absent = run(*verb, node=server.url)
        assert (absent.exit_code, absent.stdout) == (1, "")
        assert f"nothing answers at {server.url}" in absent.stderr
        assert "sadik-node dev" in absent.stderr


def test_config_check(tmp_path: Path) -> None:
    file = tmp_path / "sadik.toml"
    file.write_text("[cluster]\nreplicas = 3\n")
    assert run("config", "check", str(file)).exit_code == 0
    file.write_text("[cluster]\nreplicas = 0\nfoo = 1\n")
    refused = run("config", "check", str(file))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "cluster.replicas" in refused.stderr
    assert "cluster.foo" in refused.stderr
    found = json.loads(run("config", "check", str(file), "--json").stdout)
    assert [each["key"] for each in found["findings"]] == ["cluster.replicas", "cluster.foo"]


def test_version() -> None:
    assert run("version").stdout.startswith("sadik-node 0.")
    assert "version" in json.loads(run("version", "--json").stdout)


@pytest.mark.parametrize("verb", [["get", "b", "k"], ["put", "b", "k", "v"], ["list", "b"],
                                  ["status"], ["bucket", "list"], ["--help"]])  # fmt: skip
def test_client_verbs_start_without_the_weight_of_a_node(server: Server, verb: list[str]) -> None:
    # Names, not times: these are what a start would wait for.
    server.cluster.add("b", b"k", b"v")
    script = (
        "import sys, atexit\n"
        "heavy = {'trio', 'rich', 'lmdb', 'http.client', 'cattrs', 'attr', 'asyncio',"
        " 'sadik_vnode', 'ssl', 'sadik_hashing', 'dataclasses',"
        " 'sadik_storage', 'sadik_members', 'prometheus_client', 'sadik_node.config'}\n"
        "atexit.register(lambda: sys.stderr.write(f'heavy: {sorted(heavy & set(sys.modules))}'))\n"
        "from sadik_node.cli import main\n"
        f"sys.argv = ['sadik-node', *{verb!r}]\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"SADIK_NODE": server.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr.endswith("heavy: []")


def test_the_module_is_the_command(server: Server) -> None:
    server.cluster.add("b", b"k", b"v")
    done = subprocess.run(
        [sys.executable, "-m", "sadik_node", "get", "b", "k", "--node", server.url],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"v", b"")


def test_a_reader_that_goes_away_is_no_traceback(server: Server) -> None:
    server.cluster.page = 1000
    for number in range(5000):
        server.cluster.add("b", b"%0400d" % number, b"")
    line = f"{sys.executable} -m sadik_node list b --node {server.url} | head -n 1"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=60, check=False)
    assert done.stdout == b"0" * 400 + b"\n"
    assert b"Traceback" not in done.stderr

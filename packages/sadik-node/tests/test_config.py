"""What an operator's configuration means, and how a wrong one is refused."""

from pathlib import Path

import pytest

from sadik_node.config import Address, ConfigError, Settings, load_settings
from sadik_node.exposure import unprotected

GOOD = """
[node]
name = "n1"
data_dir = "/var/lib/sadik"
zone = "eu-1"
weight = 2
[listen]
http = "127.0.0.1:7070"
peer = "[::1]:7071"
advertise = "n1.example:7071"
advertise_http = "n1.example:7070"
insecure = false
[cluster]
name = "sadik"
join = ["n2.example:7071", "[::1]:7081"]
partitions = 256
replicas = 3
[storage]
backend = "lmdb"
sync = "interval"
interval_ms = 50
[storage.options]
map_bytes = 1073741824
[limits]
value_bytes = 4194304
connections = 10000
hint_bytes = 1073741824
[repair]
tombstone_seconds = 60
[tls.http]
[tls.peer]
[auth]
[log]
format = "json"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sadik.toml"


def test_every_key_of_the_contract_is_read(file: Path) -> None:
    file.write_text(GOOD)
    settings = load_settings(file)
    assert settings.node.name == "n1"
    assert settings.node.data_dir == Path("/var/lib/sadik")
    assert (settings.node.zone, settings.node.weight) == ("eu-1", 2.0)
    assert settings.listen.http == Address("127.0.0.1", 7070)
    assert settings.listen.peer == Address("::1", 7071)
    assert settings.listen.advertised_peer(1) == Address("n1.example", 7071)
    assert settings.listen.advertised_http(1) == Address("n1.example", 7070)
    assert [str(seed) for seed in settings.cluster.join] == ["n2.example:7071", "[::1]:7081"]
    assert (settings.cluster.partitions, settings.cluster.replicas) == (256, 3)
    assert (settings.storage.sync, settings.storage.interval_ms) == ("interval", 50)
    assert settings.storage.options == {"map_bytes": 1073741824}
    assert settings.log.format == "json"


def test_nothing_said_means_loopback_one_durable_node() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert str(settings.listen.http) == "127.0.0.1:7070"
    assert str(settings.listen.peer) == "127.0.0.1:7071"
    assert settings.cluster.join == ()
    assert settings.cluster.partitions is None, "not said, so that a joining node takes what is"
    assert (settings.storage.backend, settings.storage.sync) == ("lmdb", "commit")
    assert settings.limits.value_bytes == 4 * 2**20


def test_a_flag_goes_before_a_variable_before_the_file_before_the_default(file: Path) -> None:
    file.write_text('[node]\nname = "file"\nzone = "file"\n[log]\nformat = "json"\n')
    env = {"SADIK_NODE__NAME": "variable", "SADIK_NODE__ZONE": "variable"}
    settings = load_settings(file, env, {"node.name": "flag"})
    assert (settings.node.name, settings.node.zone) == ("flag", "variable")
    assert settings.log.format == "json"
    assert settings.listen.insecure is False


def test_variables_are_text_of_every_type() -> None:
    settings = load_settings(
        None,
        {
            "SADIK_CLUSTER__JOIN": "a:1, [::1]:2",
            "SADIK_CLUSTER__PARTITIONS": "64",
            "SADIK_NODE__WEIGHT": "0.5",
            "SADIK_LISTEN__INSECURE": "true",
            "SADIK_LISTEN__HTTP": "0.0.0.0:80",
            "SADIK_STORAGE__OPTIONS__MAP_BYTES": "4096",
            "SADIK_STORAGE__OPTIONS__READAHEAD": "false",
            "SADIK_STORAGE__OPTIONS__MODE": "fast",
        },
    )
    assert settings.cluster.join == (Address("a", 1), Address("::1", 2))
    assert (settings.cluster.partitions, settings.node.weight) == (64, 0.5)
    assert settings.listen.http.is_wildcard
    assert settings.storage.options == {"map_bytes": 4096, "readahead": False, "mode": "fast"}


def test_an_empty_list_overrides_the_files() -> None:
    assert load_settings(None, {"SADIK_CLUSTER__JOIN": ""}).cluster.join == ()


def test_variables_of_others_are_let_be() -> None:
    load_settings(
        None,
        {
            "SADIK_NODE": "http://n1:7070",
            "SADIK_CONFIG": "x",
            "PATH": "/bin",
            # What Kubernetes sets beside a service called sadik.
            "SADIK_SERVICE_HOST": "10.0.0.1",
            "SADIK_SERVICE_PORT_HTTP": "7070",
            "SADIK_PORT": "tcp://10.0.0.1:7070",
            "SADIK_PORT_7070_TCP_ADDR": "10.0.0.1",
            "SADIK_HTTP_SERVICE_HOST": "10.0.0.1",
        },
    )


# A line of TOML, the key that the message names, and what it says is accepted.
BAD = [
    ("[nod]\nx = 1", "nod", "node, listen, cluster"),
    ("[node]\nnam = 'a'", "node.nam", "name, data_dir, zone, weight"),
    ("node = 3", "node", "a table"),
    ("[node]\nname = ''", "node.name", "1 to 64 characters"),
    (f"[node]\nname = '{'a' * 65}'", "node.name", "1 to 64 characters"),
    ("[node]\nname = 'a b'", "node.name", "A-Z a-z 0-9 . _ -"),
    ("[node]\nname = 'ä'", "node.name", "A-Z a-z 0-9 . _ -"),
    ("[node]\nname = 'a\\n'", "node.name", "A-Z a-z 0-9 . _ -"),
    ("[node]\nname = 3", "node.name", "1 to 64 characters"),
    ("[node]\nzone = 'eu/1'", "node.zone", "1 to 64 characters"),
    ("[node]\nweight = 0", "node.weight", "a number above 0"),
    ("[node]\nweight = nan", "node.weight", "a number above 0"),
    ("[node]\nweight = true", "node.weight", "a number above 0"),
    ("[node]\ndata_dir = ''", "node.data_dir", "a directory"),
    ("[listen]\nhttp = 7070", "listen.http", "host:port"),
    ("[listen]\nhttp = '127.0.0.1'", "listen.http", "host:port"),
    ("[listen]\nhttp = ':7070'", "listen.http", "host:port"),
    ("[listen]\nhttp = '::1:7070'", "listen.http", "in brackets"),
    ("[listen]\nhttp = '[n1]:7070'", "listen.http", "in brackets"),
    ("[listen]\nhttp = '127.0.0.1:65536'", "listen.http", "host:port"),
    ("[listen]\nhttp = '127.0.0.1:-1'", "listen.http", "host:port"),
    ("[listen]\nhttp = '127.0.0.1:7_0'", "listen.http", "host:port"),
    ("[listen]\nhttp = '300.0.0.1:7070'", "listen.http", "host:port"),
    ("[listen]\nhttp = '0.0.0.0:7070'", "listen.http", "insecure = true"),
    ("[listen]\npeer = 'n1.example:7071'", "listen.peer", "insecure = true"),
    ("[listen]\npeer = '[::]:7071'", "listen.peer", "insecure = true"),
    ("[listen]\npeer = '127.0.0.1:7070'", "listen.peer", "another port"),
    ("[listen]\nadmin = '127.0.0.1'", "listen.admin", "host:port"),
    ("[listen]\nadmin = '0.0.0.0:7072'", "listen.admin", "insecure = true"),
    ("[listen]\nadmin = '127.0.0.1:7070'", "listen.admin", "another port"),
    ("[listen]\nadmin = '127.0.0.1:7071'", "listen.admin", "another port"),
    (
        "[listen]\nadmin = '127.0.0.1:7072'\nadvertise_admin = '0.0.0.0:7072'",
        "listen.advertise_admin",
        "a name or an address",
    ),
    ("[listen]\nadvertise_admin = 'n1:7072'", "listen.advertise_admin", "listen.admin is not"),
    ("[tls.admin]\nca = '/ca'\ncert = '/c'\nkey = '/k'", "tls.admin.cert", "listen.admin is not"),
    (
        "[listen]\nadmin = '127.0.0.1:7072'\n[tls.admin]\ncert = '/c'",
        "tls.admin.key",
        "is not said",
    ),
    ("[listen]\nadvertise = 'n1:0'", "listen.advertise", "port 1 to 65535"),
    ("[listen]\nadvertise = '0.0.0.0:7071'", "listen.advertise", "a name or an address"),
    ("[listen]\ninsecure = 'yes'", "listen.insecure", "true or false"),
    ("[cluster]\njoin = 'n2:7071'", "cluster.join", "a list of host:port"),
    ("[cluster]\njoin = ['n2']", "cluster.join", "a list of host:port"),
    ("[cluster]\njoin = ['0.0.0.0:7071']", "cluster.join", "peer addresses of members"),
    ("[cluster]\npartitions = 100", "cluster.partitions", "a power of two from 8 to 4096"),
    ("[cluster]\npartitions = 4", "cluster.partitions", "a power of two from 8 to 4096"),
    ("[cluster]\npartitions = 8192", "cluster.partitions", "a power of two from 8 to 4096"),
    ("[cluster]\npartitions = true", "cluster.partitions", "a power of two"),
    ("[cluster]\nreplicas = 0", "cluster.replicas", "an integer from 1"),
    ("[cluster]\nreplicas = 3.0", "cluster.replicas", "an integer from 1"),
    ("[storage]\nbackend = 'floppy'", "storage.backend", "lmdb, memory"),
    ("[storage]\nsync = 'never'", "storage.sync", '"commit" or "interval"'),
    ("[storage]\ninterval_ms = 0", "storage.interval_ms", "milliseconds"),
    ("[storage]\noptions = 3", "storage.options", "a table"),
    ("[limits]\nvalue_bytes = 0", "limits.value_bytes", "an integer from 1 to 67108864"),
    ("[limits]\nvalue_bytes = 67108865", "limits.value_bytes", "an integer from 1 to 67108864"),
    ("[limits]\nconnections = '9'", "limits.connections", "an integer from 1"),
    ("[limits]\nhint_bytes = -1", "limits.hint_bytes", "an integer from 0"),
    ("[repair]\ntombstone_seconds = -1", "repair.tombstone_seconds", "seconds"),
    ("[tls.http]\ncert = 'x'", "tls.http.key", "private to this node"),
    ("[tls.peer]\nca = 'x'\ncert = 'y'", "tls.peer.key", "a file with its key"),
    ("[tls.peer]\ncert = 3\n", "tls.peer.cert", "names node.name"),
    ("[tls.peer]\npin = 'x'", "tls.peer.pin", "cert, key, ca"),
    ("[auth]\ntokens = 3", "auth.tokens", "hashes of clients' tokens"),
    ("[auth]\ncluster_secret_file = 3", "auth.cluster_secret_file", "private to this node"),
    ("[log]\nformat = 'xml'", "log.format", '"console" or "json"'),
]


@pytest.mark.parametrize(("text", "key", "accepted"), BAD)
def test_a_wrong_file_is_refused_by_key_with_what_is_accepted(
    file: Path, text: str, key: str, accepted: str
) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_settings(file)
    assert [finding.key for finding in refusal.value.findings] == [key]
    assert accepted in str(refusal.value)
    assert str(file) in str(refusal.value), "it says where"


BAD_VARIABLES = [
    ("SADIK_LISTEN__HTTP", "7070", "host:port"),
    ("SADIK_CLUSTER__PARTITIONS", "many", "a power of two"),
    ("SADIK_CLUSTER__REPLICAS", "", "an integer"),
    ("SADIK_NODE__WEIGHT", "heavy", "a number"),
    ("SADIK_LISTEN__INSECURE", "1", "true or false"),
    ("SADIK_AUTH__TOKENS", "", "hashes of clients' tokens"),
    ("SADIK_STORAGE__OPTIONS", "x", "SADIK_STORAGE__OPTIONS__<NAME>"),
    ("SADIK_LISTEN__HTP", "127.0.0.1:1", "did you mean SADIK_LISTEN__HTTP?"),
    ("SADIK_HTTP", "127.0.0.1:1", "SADIK_SECTION__KEY"),
    ("SADIK_LISTEN__PORT", "1", "SADIK_SECTION__KEY"),
]


@pytest.mark.parametrize(("variable", "value", "accepted"), BAD_VARIABLES)
def test_a_wrong_variable_is_refused_by_name(variable: str, value: str, accepted: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_settings(None, {variable: value})
    assert len(refusal.value.findings) == 1
    assert variable in str(refusal.value)
    assert accepted in str(refusal.value)


def test_everything_wrong_is_told_at_once(file: Path) -> None:
    file.write_text("[node]\nname = 3\n[cluster]\nreplicas = 0\nfoo = 1\n")
    with pytest.raises(ConfigError) as refusal:
        load_settings(file, {"SADIK_LOG__FORMAT": "xml"}, {"listen.http": "0.0.0.0:1"})
    assert [finding.key for finding in refusal.value.findings] == [
        "node.name",
        "cluster.replicas",
        "cluster.foo",
        "log.format",
        "listen.http",
    ]


def test_a_wrong_value_is_refused_though_a_flag_overrides_it(file: Path) -> None:
    file.write_text("[listen]\nhttp = 7070\n")
    with pytest.raises(ConfigError, match=r"listen\.http"):
        load_settings(file, {}, {"listen.http": "127.0.0.1:7070"})


@pytest.mark.parametrize("text", ["[node", "name = ", "\xff\xfe", "a = 1\na = 2"])
def test_what_is_not_toml_is_refused_with_its_name(file: Path, text: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(file)


def test_a_file_that_is_not_there_is_refused_with_its_name(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"sadik\.toml: cannot be read: No such file"):
        load_settings(file)


def test_beyond_loopback_is_the_operators_own_word() -> None:
    flags = {"listen.http": "0.0.0.0:7070", "listen.peer": "[::]:7071", "listen.insecure": True}
    listen = load_settings(None, {}, flags).listen
    assert listen.http.is_wildcard
    assert not listen.advertised_peer(7071).is_wildcard, "peers are told something they can dial"


@pytest.mark.parametrize(
    "asked",
    [
        {"auth.cluster_secret_file": "/s"},
        {"tls.peer.cert": "/c", "tls.peer.key": "/k", "tls.peer.ca": "/a"},
    ],
)
def test_peers_that_are_asked_who_they_are_may_come_from_anywhere(asked: dict[str, str]) -> None:
    settings = load_settings(None, {}, {"listen.peer": "[::]:7071", **asked})
    assert not settings.listen.insecure
    assert ("encrypts nothing" in unprotected(settings)) == ("tls.peer.cert" not in asked)
    with pytest.raises(ConfigError, match=r"listen\.http"):
        load_settings(None, {}, {"listen.http": "0.0.0.0:7070", **asked})


_TOKENS = {"auth.tokens": "/t"}
_CLIENTS_TLS = {"tls.http.cert": "/c", "tls.http.key": "/k"}
_OPERATORS_TLS = {"tls.admin.cert": "/c", "tls.admin.key": "/k"}


@pytest.mark.parametrize(
    ("asked", "is_enough"),
    [
        (_TOKENS, False),
        (_CLIENTS_TLS, False),
        (_OPERATORS_TLS, False),
        ({**_CLIENTS_TLS, **_TOKENS}, True),
        ({**_OPERATORS_TLS, **_TOKENS}, True),
        ({**_OPERATORS_TLS, "tls.admin.ca": "/a"}, True),
        # A certificate of operators' own takes the place of all of the clients' table.
        ({**_OPERATORS_TLS, **_CLIENTS_TLS, "tls.http.ca": "/a"}, False),
        ({**_CLIENTS_TLS, "tls.http.ca": "/a"}, True),
    ],
)
def test_operators_too_are_asked_who_they_are(asked: dict[str, str], is_enough: bool) -> None:
    flags = {"listen.admin": "0.0.0.0:7072", **asked}
    if is_enough:
        assert load_settings(None, {}, flags).listen.admin == Address("0.0.0.0", 7072)
        return
    with pytest.raises(ConfigError, match=r"listen\.admin .*operators are not asked"):
        load_settings(None, {}, flags)
    listen = load_settings(None, {}, {**flags, "listen.insecure": True})
    assert "0.0.0.0:7072 can read" in unprotected(listen)


def test_what_nothing_protects_is_named() -> None:
    flags = {"listen.http": "0.0.0.0:7070", "listen.peer": "[::]:7071", "listen.insecure": True}
    told = unprotected(load_settings(None, {}, flags))
    assert "0.0.0.0:7070 or [::]:7071" in told
    assert "everything" in told
    assert unprotected(load_settings()) == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_word(host: str) -> None:
    listen = load_settings(None, {}, {"listen.http": f"{host}:0", "listen.peer": f"{host}:0"})
    assert listen.listen.http.is_loopback
    assert listen.listen.advertised_peer(4711).port == 4711


def test_a_host_name_that_cannot_be_a_nodes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "bad host")
    with pytest.raises(ConfigError, match="host name"):
        load_settings()

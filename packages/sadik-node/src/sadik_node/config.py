"""What an operator has decided, read once at start: flag over environment over file over default.

The keys, their defaults and what they accept are `sadik_node.settings`; this is the reader. It
gathers everything that is wrong, in all places at once, and refuses it in one message, so that an
operator mends a file in one go. A value that another place overrides must be right as well: a file
that is wrong today would otherwise fail on the day the variable goes away.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import frozen

from sadik_node import settings_rules as rules
from sadik_node.address import Address
from sadik_node.exposure import exposures
from sadik_node.settings import (
    PARTITIONS_DEFAULT,
    REPLICAS_DEFAULT,
    Listen,
    Settings,
    build,
    rules_by_key,
)

__all__ = [
    "CLIENT_VARIABLES",
    "PARTITIONS_DEFAULT",
    "REPLICAS_DEFAULT",
    "Address",
    "ConfigError",
    "Finding",
    "Settings",
    "load_settings",
]

CLIENT_VARIABLES = ("SADIK_NODE", "SADIK_TOKEN_FILE", "SADIK_CA", "SADIK_CONFIG")
"""Variables that belong to the command line and are no configuration keys."""

# The test suite's own switch, which a node that a test starts inherits.
_TEST_VARIABLES = ("SADIK_REQUIRE_ALL",)

_IGNORED_VARIABLES = (*CLIENT_VARIABLES, *_TEST_VARIABLES)

# Kubernetes and old Docker links hand every container the addresses of the services around it
# (SADIK_SERVICE_HOST, SADIK_PORT_7070_TCP_ADDR ...). Nobody wrote those, so nobody can mend them.
_SERVICE_LINK = re.compile(
    r"(?!.*__)SADIK_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


@frozen
class Finding:
    """One thing that is wrong with the configuration."""

    key: str
    """The dotted key, or the file or variable when it names none."""
    source: str
    """Where it was said: a file, a variable, a flag, or "default"."""
    problem: str

    def __str__(self) -> str:
        said_elsewhere = self.source not in ("", self.key)
        return f"{self.key}{f' ({self.source})' if said_elsewhere else ''}: {self.problem}"


class ConfigError(Exception):
    """The configuration is refused. ``findings`` holds everything that is wrong with it."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        lines = "".join(f"\n  {finding}" for finding in findings)
        super().__init__(f"the configuration is refused:{lines}")


def load_settings(
    file: Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Read a TOML file, variables ``SADIK_SECTION__KEY`` and flags by dotted key, and judge them.

    Text in ``flags`` is read like a variable's, other values like TOML's. Nothing is touched but
    ``file``; the environment counts only if it is passed.

    Raises:
        ConfigError: something in any of the three is wrong; it holds every finding.
    """
    reader = _Reader()
    if file is not None:
        reader.read_file(file)
    reader.read_environment(env or {})
    for key, value in (flags or {}).items():
        reader.take(key, value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    settings = reader.settings()
    findings = [*reader.findings, *_contradictions(settings, reader)]
    if findings:
        raise ConfigError(findings)
    return settings


_RULES = rules_by_key()
_TABLES = frozenset(
    key.rsplit(".", depth)[0] for key in _RULES for depth in range(1, key.count(".") + 1)
)
_VARIABLES: dict[str, str] = {f"SADIK_{key.replace('.', '__').upper()}": key for key in _RULES}
_OPTION_VARIABLE = "SADIK_STORAGE__OPTIONS__"


class _Reader:
    """Gathers values and findings; later values of a key replace earlier ones."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._values: dict[str, object] = {}
        self._sources: dict[str, str] = {}

    def read_file(self, file: Path) -> None:
        try:
            with file.open("rb") as stream:
                tree = tomllib.load(stream)
        except OSError as error:
            self._find(str(file), "", f"cannot be read: {error.strerror}")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self._find(str(file), "", f"is not TOML: {error}")
        else:
            self._read_table(tree, "", str(file))

    def _read_table(self, tree: Mapping[str, object], prefix: str, source: str) -> None:
        for word, value in tree.items():
            key = f"{prefix}{word}"
            if key not in _TABLES:
                self.take(key, value, source, is_text=False)
            elif isinstance(value, dict):
                self._read_table(value, f"{key}.", source)
            else:
                self._find(key, source, f"is {value!r}; accepts a table: {_keys_below(key)}")

    def read_environment(self, env: Mapping[str, str]) -> None:
        for variable in sorted(env):
            if not variable.startswith("SADIK_") or variable in _IGNORED_VARIABLES:
                continue
            if variable in _VARIABLES:
                self.take(_VARIABLES[variable], env[variable], variable)
            elif variable.startswith(_OPTION_VARIABLE) and len(variable) > len(_OPTION_VARIABLE):
                self._take_option(variable, env[variable])
            elif not _SERVICE_LINK.fullmatch(variable):
                self._find(
                    variable,
                    "",
                    "is no key; variables are named SADIK_SECTION__KEY, "
                    f"for example SADIK_LISTEN__HTTP{_nearest(variable, list(_VARIABLES))}",
                )

    def _take_option(self, variable: str, text: str) -> None:
        options = self._values.setdefault("storage.options", {})
        assert isinstance(options, dict)
        options[variable.removeprefix(_OPTION_VARIABLE).lower()] = rules.option_from_text(text)

    def take(self, key: str, value: object, source: str, *, is_text: bool = True) -> None:
        """Judge one value and keep it if it is right."""
        rule = _RULES.get(key)
        if rule is None:
            table = key.rpartition(".")[0]
            accepted = f"accepts {_keys_below(table)}"
            self._find(key, source, f"is no key; {table or 'the file'} {accepted}")
            return
        try:
            raw = rule.from_text(value) if is_text and isinstance(value, str) else value
            found = rule.read(raw)
        except ValueError as error:
            accepted = f"; accepts {rule.accepts}" if rule.accepts else ""
            self._find(key, source, f"{error}{accepted}")
        else:
            self._values[key] = found
            self._sources[key] = source

    def source(self, key: str) -> str:
        """Where the present value of a key comes from."""
        return self._sources.get(key, "default")

    def settings(self) -> Settings:
        """The settings from what was right; meaningful only if there are no findings."""
        made = build(self._values)
        if "node.name" not in self._values and not rules.NAME_PATTERN.fullmatch(made.node.name):
            rule = _RULES["node.name"]
            self._find(
                "node.name",
                "the machine's host name",
                f"{made.node.name!r} does not do as a node's name; accepts {rule.accepts}",
            )
        return made

    def _find(self, key: str, source: str, problem: str) -> None:
        self.findings.append(Finding(key, source, problem))


def _contradictions(settings: Settings, reader: _Reader) -> Iterator[Finding]:
    """Values that are right alone and impossible together."""
    listen = settings.listen
    for key, problem in exposures(settings):
        yield Finding(key, reader.source(key), problem)
    yield from _missing_files(settings, reader)
    yield from _shared_addresses(listen, reader)
    yield from _without_admin(settings, reader)
    for key in ("advertise", "advertise_http", "advertise_admin"):
        told: Address | None = getattr(listen, key)
        if told is not None and told.is_wildcard:
            yield Finding(
                f"listen.{key}",
                reader.source(f"listen.{key}"),
                f"{told} stands for all addresses, which nobody can dial;"
                " accepts a name or an address of this machine",
            )
    for seed in settings.cluster.join:
        if seed.is_wildcard:
            yield Finding(
                "cluster.join",
                reader.source("cluster.join"),
                f"{seed} stands for all addresses; accepts the peer addresses of members",
            )


def _shared_addresses(listen: Listen, reader: _Reader) -> Iterator[Finding]:
    """Listeners at one address; port 0 is another one for each."""
    seen: dict[Address, str] = {}
    for key, where in (
        ("listen.http", listen.http), ("listen.peer", listen.peer), ("listen.admin", listen.admin)
    ):  # fmt: skip
        if where is None or not where.port:
            continue
        first = seen.setdefault(where, key)
        if first != key:
            problem = f"{where} is the address of {first} too; accepts another port"
            yield Finding(key, reader.source(key), problem)


def _without_admin(settings: Settings, reader: _Reader) -> Iterator[Finding]:
    """What was said about the operators' listener though there is none."""
    if settings.listen.admin is not None:
        return
    files = settings.tls.admin
    told = settings.listen.advertise_admin
    of_tls = {"tls.admin.cert": files.cert, "tls.admin.key": files.key, "tls.admin.ca": files.ca}
    for said in ({"listen.advertise_admin": told}, of_tls):
        key = next((key for key, value in said.items() if value is not None), None)
        if key is not None:
            problem = "is said, though listen.admin is not; accepts nothing without it"
            yield Finding(key, reader.source(key), problem)


def _missing_files(settings: Settings, reader: _Reader) -> Iterator[Finding]:
    peer = settings.tls.peer
    all_of_peer = {"cert": peer.cert, "key": peer.key, "ca": peer.ca}
    yield from _missing_beside("tls.peer", all_of_peer, ("cert", "key", "ca"), reader)
    for table, files in (("tls.http", settings.tls.http), ("tls.admin", settings.tls.admin)):
        said = {"cert": files.cert, "key": files.key, "ca": files.ca}
        yield from _missing_beside(table, said, ("cert", "key"), reader)


def _missing_beside(
    table: str, said: Mapping[str, Path | None], needed: Iterable[str], reader: _Reader
) -> Iterator[Finding]:
    found = [f"{table}.{word}" for word, file in said.items() if file is not None]
    for word in needed:
        if found and said[word] is None:
            key = f"{table}.{word}"
            problem = f"is not said, though {found[0]} is; accepts {_RULES[key].accepts}"
            yield Finding(key, reader.source(found[0]), problem)


def _keys_below(table: str) -> str:
    prefix = f"{table}." if table else ""
    words = [key.removeprefix(prefix).split(".")[0] for key in _RULES if key.startswith(prefix)]
    return ", ".join(dict.fromkeys(words))


def _nearest(word: str, words: list[str]) -> str:
    import difflib  # noqa: PLC0415 - only for a message

    nearest = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""

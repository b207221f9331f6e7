"""The reference pages of the manual, each made from the code that it describes.

Nothing here is prose of its own beyond a heading and a line: what a page says is what the code, or
the configuration that operators copy, says of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sadik_client import errors as client_errors
from sadik_metrics import FAMILIES, Kind
from sadik_node.cli.root import cli
from sadik_node.http.openapi import openapi_document
from sadik_node.http.routes import ROUTES
from sadik_node.settings import Settings, build, rules_by_key

__all__ = ["reference_pages"]

_ROOT = Path(__file__).resolve().parents[1]


def reference_pages() -> dict[str, str]:
    """The text of every page, by its name without ``.md``."""
    return {
        "verbs": "\n".join(_verbs()),
        "configuration": "\n".join(_configuration()),
        "metrics": "\n".join(_metrics()),
        "api": "\n".join(_api()),
        "errors": "\n".join(_errors()),
    }


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(titles: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"| {' | '.join('---' for _ in titles)} |"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


# The command line


def _verbs() -> Iterator[str]:
    yield "# Verbs of `sadik-node`\n"
    yield "As `--help` prints them.\n"
    yield from _verb(cli, "sadik-node")


def _verb(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name, terminal_width=96, max_content_width=96)
    yield f"## `{name}`\n"
    yield "```text"
    yield command.get_help(context)
    yield "```\n"
    if isinstance(command, click.Group):
        for word in command.list_commands(context):
            found = command.get_command(context, word)
            assert found is not None, word
            yield from _verb(found, f"{name} {word}")


# The configuration


def _configuration() -> Iterator[str]:
    yield "# Configuration keys\n"
    yield (
        "A TOML file (`sadik-node serve --config FILE`), in which every key is optional. Each is "
        "a variable too: `SADIK_LISTEN__HTTP` for `listen.http`, lists comma-separated. "
        "A flag wins over the variable, that over the file, that over the default. Whatever is "
        "wrong is refused at once, all of it in one message; `sadik-node config check FILE` does "
        "that beforehand.\n"
    )
    told = _told_in(_ROOT / "deploy" / "sadik.example.toml")
    defaults = build({})
    section = ""
    rows: list[tuple[object, ...]] = []
    for key, rule in rules_by_key().items():
        table, _, _ = key.rpartition(".")
        if table != section:
            if rows:
                yield from _table(("key", "default", "accepts", "what it decides"), iter(rows))
            yield f"## `[{table}]`\n"
            section, rows = table, []
        default = _default(defaults, key)
        rows.append((f"`{key}`", default, rule.accepts or "nothing yet", told.get(key, "")))
    yield from _table(("key", "default", "accepts", "what it decides"), iter(rows))


def _default(settings: Settings, key: str) -> str:
    if key == "node.name":
        return "the host's name"
    found: Any = settings
    for word in key.split("."):
        found = getattr(found, word)
    if found is None or found in ((), {}):
        return ""
    return f"`{str(found).lower() if isinstance(found, bool) else found}`"


def _told_in(file: Path) -> dict[str, str]:
    """The comment above each key of the example."""
    told: dict[str, str] = {}
    table, comment = "", [""]
    is_open = False
    for line in file.read_text("utf-8").splitlines():
        header = re.match(r"#?\[([a-z.]+)\]", line)
        key = re.match(r"#?([a-z_]+) *=", line)
        if header:
            table, comment, is_open = header[1], [], False
        elif key:
            told[f"{table}.{key[1]}"] = " ".join(comment)
            is_open = False
        elif line.startswith("# "):
            comment = [*comment, line[2:]] if is_open else [line[2:]]
            is_open = True
        elif not line.strip():
            comment, is_open = [], False
    return told


# Metrics


def _metrics() -> Iterator[str]:
    yield "# Metrics\n"
    yield (
        "`GET /metrics` in Prometheus' text format. Label values are closed sets, and every series "
        "is there from the start. Figures of the process (`process_cpu_seconds_total`, "
        "`process_resident_memory_bytes` …) are there too, and `sadik_build_info{version}`, always "
        "1. Rules, alerts and a dashboard are in [deploy](../../deploy/README.md).\n"
    )
    for kind in Kind:
        yield f"## {kind.value.capitalize()}s\n"
        yield from _table(
            ("name", "labels", "help"),
            (
                (
                    f"`{family.name}`",
                    "; ".join(f"`{k}`: {', '.join(v)}" for k, v in family.labels.items()),
                    family.help,
                )
                for family in FAMILIES
                if family.kind is kind
            ),
        )


# The API


def _api() -> Iterator[str]:
    document = openapi_document(ROUTES)
    yield "# HTTP API\n"
    yield f"{document['info']['description']}\n"
    yield (
        "Every node serves this description as OpenAPI 3.1 at `GET /v1/openapi.json`; what a "
        "description cannot say is in [HTTP, beyond single objects](../http.md).\n"
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"## `{method.upper()} {path}`\n"
            yield f"{operation['summary'].capitalize()}.\n"
            parameters = operation.get("parameters", ())
            if parameters:
                yield from _table(
                    ("parameter", "in", "what"),
                    (
                        (f"`{each['name']}`", each["in"], each.get("description", ""))
                        for each in parameters
                    ),
                )
            yield from _table(
                ("status", "means"),
                (
                    (status, answer.get("description", ""))
                    for status, answer in operation["responses"].items()
                ),
            )


# Errors


def _errors() -> Iterator[str]:
    from sadik_node.cli.next_steps import next_step  # noqa: PLC0415 - beside what it explains
    from sadik_node.http.api_schemas import STATUSES  # noqa: PLC0415 - see above

    yield "# Errors\n"
    yield "## What a node answers\n"
    yield (
        "Bodies of errors are `application/problem+json` (RFC 9457): `type`, `title`, `status`, "
        "`detail`, and of a quorum that was not reached `needed`, `got`, `durable`, `primaries`, "
        "`hinted`, `outcome` (`not_applied`: it was not; `indeterminate`: nobody can tell) and "
        "`retry`.\n"
    )
    yield from _table(
        ("status", "means", "what to do next"),
        (
            (status, text, next_step("sadik-node VERB", int(status), is_write=True))
            for status, text in sorted(STATUSES.items())
            if int(status) >= 400
        ),
    )
    yield "## What the client raises\n"
    yield (
        "All derive from `sadik_client.SadikError`. Its `outcome` says whether a write was "
        "provably not applied.\n"
    )
    yield from _table(
        ("class", "is a", "when"),
        (
            (
                f"`{name}`",
                ", ".join(f"`{base.__name__}`" for base in found.__bases__),
                (found.__doc__ or "").split("\n\n")[0],
            )
            for name, found in vars(client_errors).items()
            if isinstance(found, type)
            and issubclass(found, client_errors.SadikError)
            and name in client_errors.__all__
        ),
    )
    yield "## How the command ends\n"
    yield "Exit codes and what they mean are in [The command line](../command-line.md).\n"

"""``doctor``: is this machine fit for a node, is its configuration right, is its cluster well."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sadik_client import AnswerError, BrokenAnswerError, NoAnswerError
from sadik_client import Settings as ClientSettings
from sadik_node.cli.common import (
    EXIT_FAILED,
    EXIT_USAGE,
    Session,
    client_options,
    print_json,
    print_table,
    say,
)
from sadik_node.config import ConfigError, Settings, load_settings
from sadik_node.following import follow

if TYPE_CHECKING:
    from sadik_node.doctor import Finding, Told

__all__ = ["doctor"]

_ASKING = ClientSettings(
    ring=False, retries=False, timeout_s=5, node_timeout_s=5, connect_timeout_s=2
)
_MARKS = {"ok": "ok", "warn": "WARN", "fail": "FAIL", "skip": "-"}


@click.command()
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="SADIK_CONFIG",
    show_envvar=True,
    help="The node's configuration; default: variables and defaults alone.",
)
@click.option("--data-dir", metavar="DIR", help="The data directory, if not as configured.")
@client_options
@click.pass_context
def doctor(
    context: click.Context, *, session: Session, file: Path | None, data_dir: str | None
) -> None:
    """Check what a node needs on this machine, and the cluster if a node runs; say what to do.

    Looks at versions, the configuration, the data directory and the speed of its disk, the clock,
    ports, limits, the seeds to join, certificates and secrets. If a node answers at the configured
    address (or --node), also at each member: reachable, alike, at the same time, with room.
    Changes nothing.

    Exit codes: 0 nothing fails; 1 something does; 2 the configuration is wrong.

    \b
    Example:
      sadik-node doctor
      sadik-node doctor --config /etc/sadik/sadik.toml
      sadik-node doctor --node http://127.0.0.1:7080 --json
    """
    findings: list[Finding] = []
    code = 0
    for finding in _examine(context, session, file, data_dir):
        findings.append(finding)
        if finding.verdict.value == "fail":
            code = EXIT_USAGE if finding.what == "configuration" else code or EXIT_FAILED
    if session.as_json:
        print_json({"ok": code == 0, "findings": [each.document() for each in findings]})
    else:
        _show(findings)
    sys.exit(code)


def _examine(
    context: click.Context, session: Session, file: Path | None, data_dir: str | None
) -> Iterator[Finding]:
    from sadik_node import doctor  # noqa: PLC0415 - only this verb needs it

    yield from doctor.examine_versions()
    flags = {} if data_dir is None else {"node.data_dir": data_dir}
    settings: Settings | None = None
    try:
        settings = load_settings(file, os.environ, flags)
    except ConfigError as error:
        yield from (_wrong(str(each)) for each in error.findings)
    else:
        yield doctor.Finding(
            "configuration",
            doctor.Verdict.OK,
            f"{file}" if file is not None else "no file: variables and defaults",
        )
    yield from doctor.examine_clock()
    url = session.url
    is_said = context.get_parameter_source("node") is not click.core.ParameterSource.DEFAULT
    if settings is not None and not is_said:
        url = _own_url(settings)
    own = _ask(session, "", url, "/v1/status")
    if settings is not None:
        yield from doctor.examine_limits(settings)
        yield from doctor.examine_disk(settings)
        # Another node may have been named: who has this configuration's ports is asked there.
        home = (
            own
            if url == _own_url(settings)
            else _ask(session, "", _own_url(settings), "/v1/status")
        )
        name = None if home.status is None else str(home.status.get("name"))
        yield from doctor.examine_ports(settings, name)
        yield from doctor.examine_seeds(settings)
        yield from doctor.examine_secrets(settings)
    if own.status is not None:
        yield from _cluster(session, own, url)
    elif is_said:
        yield doctor.Finding(
            "node",
            doctor.Verdict.FAIL,
            f"{url}: {own.reason}",
            "start it, or name another node with --node",
        )
    else:
        yield doctor.Finding("node", doctor.Verdict.SKIP, f"none answers at {url}")


def _wrong(problem: str) -> Finding:
    from sadik_node import doctor  # noqa: PLC0415 - see above

    return doctor.Finding(
        "configuration", doctor.Verdict.FAIL, problem, "mend it, then run doctor again"
    )


def _own_url(settings: Settings) -> str:
    """Where this configuration's node tells operators how it is."""
    address = settings.listen.admin or settings.listen.http
    files = settings.tls.http if settings.listen.admin is None else settings.tls.of_admin
    port = f":{address.port}"
    host = str(address).removesuffix(port)
    if address.is_wildcard:
        host = "[::1]" if ":" in address.host else "127.0.0.1"
    scheme = "http" if files.cert is None else "https"
    return f"{scheme}://{host}{port}"


def _cluster(session: Session, own: Told, url: str) -> Iterator[Finding]:
    from sadik_node import doctor  # noqa: PLC0415 - see above

    assert own.status is not None
    found = _ask(session, "", url, "/v1/members")
    if found.status is None:
        yield doctor.Finding("members", doctor.Verdict.FAIL, found.reason, "ask another node")
        return
    members: list[dict[str, Any]] = found.status["members"]
    there = [member for member in members if member["state"] not in ("left", "down")]
    scheme = url.partition("://")[0]
    with ThreadPoolExecutor(max_workers=16) as pool:
        told = list(
            pool.map(
                lambda member: _ask(
                    session, member["name"], f"{scheme}://{member['http']}", "/v1/status"
                ),
                there,
            )
        )
    yield from doctor.examine_members(own.status, members, told)


def _ask(session: Session, name: str, url: str, path: str) -> Told:
    from sadik_node.doctor import Told  # noqa: PLC0415 - see above

    client = session.connect_to(url, _ASKING)
    before = time.time()
    try:
        answer = client.request("GET", path)
        elsewhere = follow(answer, name, partial(session.connect_to, settings=_ASKING))
        if elsewhere is not None:
            client.close()
            client = elsewhere
            before = time.time()
            answer = client.request("GET", path)
        between = (before + time.time()) / 2
        if answer.status != 200:
            return Told(name, url, None, reason=answer.complaint)
        return Told(name, url, answer.json(), answer.header("date"), between)
    except NoAnswerError as error:
        return Told(name, url, None, reason=error.reason)
    except (AnswerError, BrokenAnswerError) as error:
        return Told(name, url, None, reason=str(error))
    finally:
        client.close()


def _show(findings: list[Finding]) -> None:
    print_table(
        ("what", "", "found"),
        [(each.what, _MARKS[each.verdict.value], each.found) for each in findings],
    )
    to_do = [each for each in findings if each.advice]
    if not to_do:
        say("nothing to do")
        return
    say("")
    say("to do:")
    for each in to_do:
        say(f"  {_MARKS[each.verdict.value]}  {each.what}: {each.advice}")

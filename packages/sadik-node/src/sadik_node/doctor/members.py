"""What a running node and its cluster tell: is every member there, alike, and at the same time.

Whoever asks the nodes is the caller's business; here their documents are judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import frozen

from sadik_node.address import Address
from sadik_node.doctor.finding import Finding, Verdict
from sadik_node.doctor.network import dial
from sadik_node.doctor.secrets import SOON_DAYS

__all__ = ["Told", "examine_members"]

_APART_S = 2.0
_FAR_APART_S = 60.0
_GONE = ("left",)


@frozen
class Told:
    """One member's answer to ``/v1/status``. ``status`` is None where it gave none."""

    name: str
    http: str
    status: Mapping[str, Any] | None
    date: str | None = None
    """The answer's Date header."""
    asked_at_s: float = 0.0
    """This machine's wall clock, in the middle between question and answer."""
    reason: str = ""
    """Why there is no answer."""


def examine_members(
    own: Mapping[str, Any], members: Sequence[Mapping[str, Any]], told: Sequence[Told]
) -> Iterator[Finding]:
    """Judge a node's own status, its member table, and what each member answered."""
    yield _readiness(own)
    yield _states(members)
    yield from _reached(members, told)
    answered = [each for each in told if each.status is not None]
    yield from _versions(answered)
    yield from _clocks(answered)
    yield from _state_of_data(answered)
    yield from _certificates(answered)


def _readiness(own: Mapping[str, Any]) -> Finding:
    if own.get("ready"):
        return Finding("node", Verdict.OK, f"{own['name']} is ready")
    return Finding(
        "node",
        Verdict.FAIL,
        f"{own['name']} is not ready: {own.get('waits_for')}",
        "see its log (docs/logs.md) and `sadik-node members`",
    )


def _states(members: Sequence[Mapping[str, Any]]) -> Finding:
    away = [
        f"{member['name']} is {member['state']}"
        for member in members
        if member["state"] in ("down", "suspect")
    ]
    if away:
        return Finding(
            "members",
            Verdict.WARN,
            ", ".join(away),
            "start it again; if it is lost for good: sadik-node remove NAME",
        )
    present = sum(member["state"] not in _GONE for member in members)
    return Finding("members", Verdict.OK, f"{present}, and none is down")


def _reached(members: Sequence[Mapping[str, Any]], told: Sequence[Told]) -> Iterator[Finding]:
    missed = {each.name: each.reason for each in told if each.status is None}
    is_well = not missed
    for member in members:
        if member["state"] in (*_GONE, "down"):
            continue
        name = member["name"]
        if name in missed:
            advice = "open its HTTP port to this machine, or set its listen.advertise_http"
            if "listen.admin" in missed[name]:
                advice = (
                    "run doctor on its machine, or open its operators' port to this one "
                    "(listen.admin, listen.advertise_admin)"
                )
            yield Finding(
                "reachability", Verdict.WARN, f"{name} at {member['http']}: {missed[name]}", advice
            )
        address = Address.parse(member["peer"])
        reason = dial(address.host, address.port)
        if reason is not None:
            is_well = False
            yield Finding(
                "reachability",
                Verdict.FAIL,
                f"{name} at {address}, where its peers dial it: {reason}",
                "open its peer port to this machine, or set its listen.advertise",
            )
    if is_well:
        yield Finding("reachability", Verdict.OK, "every member that is up answers")


def _versions(answered: Sequence[Told]) -> Iterator[Finding]:
    by_version: dict[str, list[str]] = {}
    for each in answered:
        assert each.status is not None
        by_version.setdefault(str(each.status.get("version")), []).append(each.name)
    if len(by_version) > 1:
        found = ", ".join(f"{' '.join(names)} run {v}" for v, names in sorted(by_version.items()))
        yield Finding(
            "versions",
            Verdict.WARN,
            found,
            "finish the upgrade: versions work beside each other for as long as one takes",
        )
    elif by_version:
        yield Finding("versions", Verdict.OK, f"every member runs {next(iter(by_version))}")


def _clocks(answered: Sequence[Told]) -> Iterator[Finding]:
    worst, who = 0.0, ""
    for each in answered:
        if each.date is None:
            continue
        # The header counts whole seconds: up to one of the difference is its rounding.
        apart = each.asked_at_s - parsedate_to_datetime(each.date).timestamp()
        rounded = max(0.0, apart - 1.0) if apart > 0 else apart
        if abs(rounded) > abs(worst) or not who:
            worst, who = rounded, each.name
    if not who:
        return
    if abs(worst) > _APART_S:
        verdict = Verdict.FAIL if abs(worst) > _FAR_APART_S else Verdict.WARN
        yield Finding(
            "members' clocks",
            verdict,
            f"{who}'s is {abs(worst):.0f} s {'behind' if worst > 0 else 'ahead of'} this machine's",
            "keep clocks right with chrony; above 60 s a node does not adopt another's time",
        )
    else:
        yield Finding("members' clocks", Verdict.OK, "within 2 s of this machine's")


def _state_of_data(answered: Sequence[Told]) -> Iterator[Finding]:
    short = [each.name for each in answered if _of(each, "store", "short_of_space")]
    if short:
        yield Finding(
            "members' disks",
            Verdict.FAIL,
            f"{' '.join(short)} refuse writes for want of space",
            "make room there, or add a node (docs/operations.md)",
        )
    lossy = [each.name for each in answered if not _of(each, "store", "durable")]
    if lossy:
        yield Finding(
            "durability",
            Verdict.WARN,
            f"{' '.join(lossy)} may lose acknowledged writes with the power",
            'storage.sync = "commit" on a backend that is on disk loses none',
        )
    waiting = sum(int(_of(each, "hints", "pending") or 0) for each in answered)
    yield Finding("hints", Verdict.OK, f"{waiting} wait for nodes that are or were away")
    held = {name for each in answered for name in _of(each, "tombstones", "waits_for") or ()}
    if held:
        yield Finding(
            "reaping",
            Verdict.WARN,
            f"deleted keys wait for {' '.join(sorted(held))}",
            "bring it back, or remove it (docs/reaping.md)",
        )


def _certificates(answered: Sequence[Told]) -> Iterator[Finding]:
    ends = [
        (each.name, listener, shown)
        for each in answered
        if each.status is not None
        for listener, shown in each.status.get("certificates", {}).items()
    ]
    soon = [
        (shown["days_left"], f"{name} at listen.{listener}: {shown['expires']}")
        for name, listener, shown in ends
        if shown["days_left"] < SOON_DAYS
    ]
    if soon:
        yield Finding(
            "members' certificates",
            Verdict.FAIL if min(soon)[0] < 0 else Verdict.WARN,
            "have ended or end soon: " + ", ".join(text for _, text in sorted(soon)),
            "issue new ones and copy them there (docs/security.md); running nodes read them",
        )
    elif ends:
        yield Finding("members' certificates", Verdict.OK, f"none ends within {SOON_DAYS} days")


def _of(told: Told, section: str, name: str) -> Any:
    assert told.status is not None
    return told.status.get(section, {}).get(name)

"""A key's explanation as a picture of its preference list, for a terminal of 80 columns.

Versions are long to name, so each gets a letter. The list goes down from the first owner to the
last fallback, in the order in which a coordinator goes through them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

__all__ = ["explanation"]

_COLUMNS = 80
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explanation(found: dict[str, Any]) -> Iterator[str]:
    """The lines of the picture of a document of ``/v1/explain``."""
    replicas = {replica["node"]: replica for replica in found["replicas"]}
    versions = {each["dot"]: each for replica in replicas.values() for each in replica["versions"]}
    letters = {dot: _letter(number) for number, dot in enumerate(sorted(versions))}
    whole = [_dots(replica) for replica in replicas.values() if replica["state"] == "ok"]
    # Whoever is in order holds what is to be held; if nobody is, nobody knows which is outdated.
    truth = whole[0] if whole else set(versions)
    yield from _wrapped(f"{found['bucket']}/{found['key']}", "", "  ")
    epoch = f", epoch {found['epoch']}" if "epoch" in found else ""
    yield f"partition {found['partition']}{epoch}"
    place = 0
    listed = [*found["owners"], *found["fallbacks"]]
    wide = max([len(name) for name in listed], default=0)
    for title, names in (("owners", found["owners"]), ("fallbacks", found["fallbacks"])):
        yield ""
        yield f"{title}:" if names else f"{title}: none"
        for name in names:
            place += 1
            replica = replicas.get(name)
            yield from _row(place, name.ljust(wide), replica, letters, truth)
    if versions:
        yield ""
        yield "versions:"
        for dot, letter in letters.items():
            yield from _wrapped(_version(versions[dot]), f"  {letter}  ", "     ")
    yield ""
    hints = found.get("hints") or ()
    yield "waiting:" if hints else "waiting: nothing"
    for hint in hints:
        yield from _wrapped(
            f"a hint on {hint['on']}, to bring {hint['for']} up to date", "  ", "  "
        )


def _row(
    place: int, name: str, replica: dict[str, Any] | None, letters: dict[str, str], truth: set[str]
) -> Iterator[str]:
    start = f"  {place:>2}  {name}  "
    if replica is None:
        yield f"{start}holds nothing".rstrip()
        return
    held = _dots(replica)
    shown = " ".join(letters[dot] for dot in sorted(held)) or "-"
    if replica["state"] == "unreachable":
        shown = "?"
    yield f"{start}{replica['state']:<11}  {shown}"
    indent = " " * min(len(start), _COLUMNS // 2)
    if replica.get("behind"):
        lacks = " ".join(letters[dot] for dot in sorted(truth - held))
        outdated = " ".join(letters[dot] for dot in sorted(held - truth))
        words = [f"lacks {lacks}" if lacks else "", f"{outdated} is outdated" if outdated else ""]
        yield from _wrapped("; ".join(filter(None, words)), indent, indent)
    if replica.get("why"):
        yield from _wrapped(str(replica["why"]), indent, indent)


def _dots(replica: dict[str, Any]) -> set[str]:
    return {each["dot"] for each in replica["versions"]}


def _letter(number: int) -> str:
    rounds, place = divmod(number, len(_LETTERS))
    return _LETTERS[place] + (str(rounds) if rounds else "")


def _version(version: dict[str, Any]) -> str:
    words = ["deleted" if version.get("deleted") else f"{version.get('bytes')} bytes"]
    if version.get("time"):
        words.append(f"written {version['time']}")
    if version.get("replaced"):
        words.append("replaced")
    if version.get("expires"):
        words.append(f"expires {version['expires']}")
    return f"{version['dot']}  {', '.join(words)}"


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, _COLUMNS, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )

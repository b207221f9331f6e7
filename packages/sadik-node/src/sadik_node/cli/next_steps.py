"""What to do about an answer that is no success: the next command to type, by its status."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["next_step"]

_BY_STATUS: Mapping[int, str] = {
    400: "see `{verb} --help`",
    401: "give a token: --token-file FILE, or the variable SADIK_TOKEN_FILE",
    403: "this token may not do that: use another with --token-file",
    404: "see what there is with `sadik-node list BUCKET`, or `sadik-node members`",
    409: "see all with `sadik-node get BUCKET KEY --json`, and put one value with its --context",
    412: "it has changed: get it again, and decide anew",
    413: "see limits.value_bytes, and `sadik-node bucket show BUCKET`",
    421: "ask where it says: --node URL",
    428: "get the key first, and put with the --context that it prints",
    429: "there is too much to do: try again in a moment; `sadik-node top` shows where",
    431: "send less metadata; see limits.meta_bytes",
    507: "a disk is full: `sadik-node doctor` there, or add a node",
}
_MEMBERS = "see who there is with `sadik-node members`"
# Where the same status has another reason.
_BY_VERB: Mapping[tuple[str, int], str] = {
    ("sadik-node plan", 404): _MEMBERS,
    ("sadik-node plan", 409): _MEMBERS,
    ("sadik-node leave", 404): _MEMBERS,
    ("sadik-node leave", 409): _MEMBERS,
    ("sadik-node remove", 404): _MEMBERS,
    ("sadik-node remove", 409): "see who is away with `sadik-node members`; a node that runs goes "
    "with `sadik-node leave`; --force is for when a majority is lost for good",
}
_NOT_ENOUGH = "see who is away with `sadik-node members`; `sadik-node doctor` looks for the reason"
_NOBODY_KNOWS = "read it back before writing again: `sadik-node explain BUCKET KEY`"


def next_step(verb: str, status: int, *, is_write: bool = False) -> str:
    """One sentence, or nothing where the answer says it all. ``verb`` is what was typed."""
    if (verb, status) in _BY_VERB:
        return _BY_VERB[verb, status]
    if status == 503:
        return _NOT_ENOUGH
    if status in (500, 502, 504):
        return _NOBODY_KNOWS if is_write else _NOT_ENOUGH
    return _BY_STATUS.get(status, "").format(verb=verb)

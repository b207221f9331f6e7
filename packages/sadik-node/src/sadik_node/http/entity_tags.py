"""Entity tags and the conditions that name them (RFC 9110, sections 8.8.3 and 13.1).

A tag of this API is strong and always of the whole object, all siblings together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sadik_node.http.target import BadTarget
from sadik_vnode.requests import Condition

__all__ = ["parse_condition"]

_TAG = re.compile(rb'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_ONE_OR_MORE = re.compile(
    rb'\s*(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"(?:[ \t]*,[ \t]*'
    rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*")*\s*'
)


def parse_condition(headers: Mapping[bytes, bytes]) -> Condition | None:
    """The condition of a request; None where it has none."""
    if_match, if_none_match = headers.get(b"if-match"), headers.get(b"if-none-match")
    if if_match is None and if_none_match is None:
        return None
    return Condition(
        # If-Match compares strongly: a weak tag matches nothing.
        None if if_match is None else _tags("If-Match", if_match, weak=False),
        None if if_none_match is None else _tags("If-None-Match", if_none_match, weak=True),
    )


def _tags(field: str, value: bytes, *, weak: bool) -> tuple[str, ...]:
    if value.strip() == b"*":
        return ("*",)
    if not _ONE_OR_MORE.fullmatch(value):
        raise BadTarget(f'{field} must be * or entity tags in quotes, such as "0123", "4567"')
    # Nothing but an asterisk alone means any: one in quotes is a tag that no object has.
    found = (tag.decode("latin-1") for is_weak, tag in _TAG.findall(value) if weak or not is_weak)
    return tuple(tag for tag in found if tag != "*")

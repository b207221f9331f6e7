"""The HTTP target: bytes as a client sends them, through a node's server and engine, and back.

How the bytes are cut into reads, how the connection ends and whether its client reads slowly are
drawn from a checksum of the bytes, so that an input says all of it and a corpus is plain HTTP. One
input in eight is put to two new nodes, whole and cut: what is answered and what is stored may not
depend on the network's packets.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Sequence

from http_host import LIMITS, TOKEN, Ending, Heard, HttpHost, Taken
from http_oracle import Asked, Rest, Said, answers_of, requests_of

from sadik_node.http.limits import HttpLimits

__all__ = ["http"]

_INPUTS_PER_HOST = 500
_COPIES = 12
_OPEN_TO_ALL = re.compile(
    rb"(?:https?://[^/?]*)?/?(?:healthz|readyz|v1/openapi\.json|console/[a-z.-]+)?(?:\?.*)?",
    re.IGNORECASE,
)
"""Targets that nobody needs a token for."""

# Which of two limits an overlong header meets first may depend on the reads, and only that.
_WIDE = HttpLimits(**{
    name: getattr(LIMITS, name) for name in ("json_bytes", "batch_lines", "list_keys", "pipelined")
})  # fmt: skip


class _Hosts:
    """An open and a guarded node, made anew after so many inputs."""

    def __init__(self) -> None:
        self._left = [0, 0]
        self._hosts: list[HttpHost | None] = [None, None]

    def next(self, *, guarded: bool) -> HttpHost:
        """The node for the next input."""
        host = self._hosts[guarded]
        if host is None or not self._left[guarded]:
            if host is not None:
                host.close()
            self._left[guarded] = _INPUTS_PER_HOST
            self._hosts[guarded] = host = HttpHost(guarded=guarded)
        self._left[guarded] -= 1
        return host


_hosts = _Hosts()


def http(data: bytes) -> None:
    """No bytes break the server, have it answer what was not asked, or make it see two ways."""
    drawn = zlib.crc32(data)
    chance = random.Random(drawn)
    if drawn >> 8 & 7 == 0:
        _compare(data, chance)
        return
    guarded = drawn >> 11 & 7 == 0
    ending = (Ending.ENDS, Ending.ENDS, Ending.IS_SILENT, Ending.GOES)[drawn & 3]
    if drawn >> 14 & 15 == 0:
        # The same over and over: what adds up over the requests of a connection meets its bound.
        data *= _COPIES
    heard = _hosts.next(guarded=guarded).converse(
        [data] if drawn >> 20 & 1 else _cut(data, chance),
        ending,
        takes=chance.choice((1 << 30, 1 << 30, 1000, 50)),
        is_busy=chance.random() < 0.5,
    )
    judge(data, heard, is_gone=ending is Ending.GOES)
    if guarded and TOKEN not in data:
        for taken in heard.taken:
            assert taken.status >= 400 or _OPEN_TO_ALL.fullmatch(taken.target), taken


def _cut(data: bytes, chance: random.Random) -> list[bytes]:
    """The data in some pieces."""
    if chance.random() < 0.1 and len(data) < 512:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 5)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _compare(data: bytes, chance: random.Random) -> None:
    """Cut in any way, read slowly, and answered late: the same is answered, and the same stored."""
    whole, cut = HttpHost(limits=_WIDE), HttpHost(limits=_WIDE)
    try:
        one = whole.converse([data], Ending.ENDS)
        other = cut.converse(
            _cut(data, chance), Ending.ENDS, takes=chance.choice((1 << 30, 100)),
            is_busy=chance.random() < 0.5,
        )  # fmt: skip
    finally:
        whole.close()
        cut.close()
    said, other_said = judge(data, one), judge(data, other)
    assert len(said) == len(other_said), (said, other_said)
    pairs = zip(one.taken, other.taken, said, other_said, strict=True)
    for taken, other_taken, mine, others in pairs:
        assert (taken.body, taken.closes) == (other_taken.body, other_taken.closes)
        if taken.body is None and taken.closes:
            # Which of several faults is named may depend on how far it has read.
            assert 400 <= others.status < 500, (mine, others)
        elif taken.operation == "view":
            # Some views tell of the moment.
            assert mine.status == others.status, (mine, others)
        else:
            assert mine == others, (mine, others)
    assert whole.engine.rows == cut.engine.rows


def judge(data: bytes, heard: Heard, *, is_gone: bool = False) -> list[Said]:
    """What was answered to these bytes, if it is what may be.

    Raises:
        AssertionError: it is not.
    """
    asked, rest = requests_of(data)
    taken = heard.taken
    methods = [each.method for each in taken]
    if is_gone and heard.data:
        # The connection broke before all that was asked was answered, but within no answer.
        methods += [each.method for each in asked[len(taken) :]]
    said, interim = answers_of(heard.data, methods)
    assert len(said) == len(taken)
    assert interim <= sum(each.expects for each in asked) + (rest is not Rest.NOTHING)
    for at, each in enumerate(taken):
        assert each.status == said[at].status
        assert each.closes is (said[at].fields.get(b"connection") == b"close")
        assert not each.closes or at == len(taken) - 1, "it answers behind an end"
        _judge_one(each, at, asked, rest)
    if rest is Rest.BROKEN and len(taken) > len(asked):
        assert taken[-1].closes, "it goes on behind broken framing"
    if not is_gone and not any(each.closes for each in taken):
        assert len(taken) == len(asked), "a request without an answer"
    return said


def _judge_one(taken: Taken, at: int, asked: Sequence[Asked], rest: Rest) -> None:
    if at < len(asked):
        was = asked[at]
        if taken.body is not None:
            assert (taken.method, taken.target, taken.body) == (was.method, was.target, was.body)
        else:
            assert 400 <= taken.status < 500 or taken.status == 503, taken
    else:
        assert at == len(asked), "more answers than requests"
        assert rest is not Rest.NOTHING, "an answer to nothing"
        assert taken.body is None, "it took what is no request"
        assert taken.status >= 400
        assert taken.closes

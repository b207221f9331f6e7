"""``POST /v1/batch``: many operations in one request, each with an outcome of its own.

A batch is not a transaction: it saves round trips. Its lines are read as their turn comes, so many
at once as the window admits; operations on one key wait for each other, in the order of the lines,
and no others do. Gets that may begin together are one request of the engine, and so are puts.
Nothing per line is a task or a timer: the engine ends each operation by the deadline of the whole
batch, and what was not begun by then is answered as not applied.

Each bound is of one batch, in operations and in bytes: requests under way, values under way, and
results that wait for the last one. A line that meets a bound of the node is a 503 of its own, and
the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial

from sadik_machine import RequestId
from sadik_node.http.access import forbidden
from sadik_node.http.answers import Answer, outcome_of, problem
from sadik_node.http.batch_lines import Operation, parse_line, request_of, result_line
from sadik_node.http.exchange import Exchange
from sadik_node.http.kv import DELETE_PARAMETERS, NO_OPTIONS, Options, parse_options
from sadik_node.http.service import Service
from sadik_node.http.target import BadTarget
from sadik_node.tokens import Action
from sadik_vnode.requests import (
    GETS_MAX,
    PUTS_MAX,
    Get,
    GetMany,
    ManyFound,
    ManyWritten,
    Put,
    PutMany,
    Request,
    Result,
)

__all__ = ["BATCH_PARAMETERS", "admit_batch"]

BATCH_PARAMETERS: dict[str, str] = {
    **DELETE_PARAMETERS,
    "timeout": "milliseconds for the whole batch, 1 to 60000",
}

# The last ones are what common programs say of a body when they are told nothing.
_TYPES = (
    b"application/x-ndjson", b"application/ndjson", b"application/jsonl", b"application/json",
    b"application/x-www-form-urlencoded", b"application/octet-stream", b"text/plain", b"",
)  # fmt: skip
_NDJSON = b"Content-Type: application/x-ndjson\r\n"


def admit_batch(service: Service, exchange: Exchange, query: bytes) -> Answer | None:
    """Judge a batch by its header."""
    exchange.operation = "batch"
    exchange.context = parse_options(query, BATCH_PARAMETERS) if query else NO_OPTIONS
    headers = exchange.headers
    if not exchange.has_body and b"content-length" not in headers:
        return problem(
            411, "a batch needs Content-Length or chunked Transfer-Encoding",
            reason="length_required",
        )  # fmt: skip
    media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media not in _TYPES:
        return problem(
            415, "a batch is one JSON object a line: send application/x-ndjson", reason="other"
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return problem(415, "a batch comes without Content-Encoding", reason="other")
    exchange.body_max = service.limits.batch_bytes
    exchange.handler = _start
    return service.hindrance()


def _start(service: Service, exchange: Exchange) -> None:
    body, exchange.body = exchange.body, b""
    most = service.limits.batch_lines
    count = body.count(b"\n") + (body[-1:] not in (b"\n", b""))
    if count > most:
        exchange.answer(
            problem(413, f"a batch of {count} lines; {most} are accepted", reason="value_too_large")
        )
        return
    lines = [line for line in body.split(b"\n") if line and not line.isspace()]
    if lines and not any(line.lstrip()[:1] == b"{" for line in lines):
        exchange.answer(
            problem(
                400,
                'the body is not NDJSON: a batch has one JSON object a line, such as {"op": "get", '
                '"bucket": "b", "key": "k"}',
                reason="malformed",
            )
        )
        return
    _Batch(service, exchange, lines, exchange.context).go_on()


class _Batch:
    """One batch under way."""

    __slots__ = (
        "_answer_bytes", "_busy", "_deadline_ns", "_exchange", "_gets", "_has_room", "_is_going",
        "_largest", "_left", "_lines", "_next", "_options", "_outcomes", "_puts", "_ready",
        "_results", "_service", "_under_way", "_value_bytes",
    )  # fmt: skip

    def __init__(
        self, service: Service, exchange: Exchange, lines: list[bytes], options: Options
    ) -> None:
        self._service = service
        self._exchange = exchange
        self._lines = lines
        self._options = options
        self._deadline_ns = service.clock_ns() + options.timeout_ns
        self._next = 0
        """The line to be read next."""
        self._ready: deque[tuple[int, Operation]] = deque()
        """Lines that were read and whose key is free."""
        self._busy: dict[tuple[str, bytes], deque[tuple[int, Operation]]] = {}
        """By key with an operation ready or under way, those that wait for it."""
        self._gets: list[tuple[int, Operation, Get]] = []
        """Gets that are about to begin together."""
        self._puts: list[tuple[int, Operation, Put]] = []
        """The same of puts."""
        self._under_way: dict[int, RequestId] = {}
        self._value_bytes = 0
        """Encoded values of lines that were read and are not done."""
        self._largest = 0
        """The longest result so far: what a read under way may bring."""
        self._results: list[bytes] = [b""] * len(lines)
        self._left = len(lines)
        self._answer_bytes = 0
        self._has_room = True
        self._outcomes: dict[tuple[str, str], int] = {}
        self._is_going = False
        exchange.cancel = self._cancel

    def go_on(self) -> None:
        """Begin what may be begun; answer when nothing is left."""
        if self._is_going:
            return
        self._is_going = True
        limits = self._service.limits
        while (count := self._begun) < limits.batch_window:
            if count * self._largest > limits.batch_window_bytes:
                break
            if self._ready:
                self._begin(*self._ready.popleft())
            elif self._next < len(self._lines) and self._value_bytes < limits.batch_window_bytes:
                self._read_next()
            else:
                break
        self._begin_gets()
        self._begin_puts()
        self._is_going = False
        if not self._left and self._exchange.answered is None:
            self._exchange.lines = self._outcomes
            self._exchange.answered_by = self._service.view.own_name
            self._exchange.answer(Answer(200, _NDJSON, b"".join(self._results)))

    @property
    def _begun(self) -> int:
        """Operations that are under way, or about to be."""
        return len(self._under_way) + len(self._gets) + len(self._puts)

    def _read_next(self) -> None:
        index = self._next
        self._next += 1
        line, self._lines[index] = self._lines[index], b""
        try:
            operation = parse_line(line, self._service.limits)
        except BadTarget as error:
            self._settle(index, "invalid", problem(400, str(error), reason="malformed"))
            return
        self._value_bytes += len(operation.value_b64)
        waiting = self._busy.get((operation.bucket, operation.key))
        if waiting is None:
            self._busy[operation.bucket, operation.key] = deque()
            self._ready.append((index, operation))
        else:
            waiting.append((index, operation))

    def _begin(self, index: int, operation: Operation) -> None:
        service = self._service
        timeout_ns = self._deadline_ns - service.clock_ns()
        request = self._hindrance(operation, timeout_ns) or request_of(
            operation, self._options, timeout_ns, self._exchange.trace, service.limits.value_bytes
        )
        if isinstance(request, Answer):
            self._done(index, operation, request)
            return
        if isinstance(request, Get):
            self._gets.append((index, operation, request))
            if len(self._gets) == GETS_MAX:
                self._begin_gets()
            return
        if isinstance(request, Put):
            self._puts.append((index, operation, request))
            if len(self._puts) == PUTS_MAX:
                self._begin_puts()
            return
        self._begin_alone(index, operation, request)

    def _begin_gets(self) -> None:
        gets, self._gets = self._gets, []
        if len(gets) == 1:
            self._begin_alone(*gets[0])
        elif gets:
            self._begin_many(GetMany([get for _, _, get in gets]), gets)

    def _begin_puts(self) -> None:
        puts, self._puts = self._puts, []
        if len(puts) == 1:
            self._begin_alone(*puts[0])
        elif puts:
            self._begin_many(PutMany([put for _, _, put in puts]), puts)

    def _begin_alone(self, index: int, operation: Operation, request: Request) -> None:
        done = partial(self._conclude, index, operation)
        self._under_way[index] = self._service.host.request(request, done)

    def _begin_many(
        self, request: GetMany | PutMany, lines: Sequence[tuple[int, Operation, Request]]
    ) -> None:
        indices = [(index, operation) for index, operation, _ in lines]
        request_id = self._service.host.request(request, partial(self._conclude_many, indices))
        self._under_way.update([(index, request_id) for index, _ in indices])

    def _hindrance(self, operation: Operation, timeout_ns: int) -> Answer | None:
        if timeout_ns <= 0:
            return _not_begun("the time of the batch was over before this line's turn", "timeout")
        if operation.op == "get" and (
            self._answer_bytes > self._service.limits.batch_answer_bytes or not self._has_room
        ):
            return _not_begun(
                "the results before this one are as many bytes as one answer may have; ask for it "
                "in another batch",
                "overloaded",
            )
        action = Action.READ if operation.op == "get" else Action.WRITE
        refusal = forbidden(self._exchange.grant, action, operation.bucket)
        return refusal or self._service.hindrance()

    def _conclude(self, index: int, operation: Operation, result: Result) -> None:
        """Called from the host's loop, which a defect met by one client must not stop."""
        self._take_result(index, operation, result)
        self.go_on()

    def _conclude_many(self, lines: list[tuple[int, Operation]], result: Result) -> None:
        """Where they were refused together, each was."""
        is_each = isinstance(result, ManyFound | ManyWritten)
        results = result.results if is_each else [result] * len(lines)  # type: ignore[union-attr]
        for (index, operation), each in zip(lines, results, strict=True):
            self._take_result(index, operation, each)
        self.go_on()

    def _take_result(self, index: int, operation: Operation, result: Result) -> None:
        del self._under_way[index]
        try:
            answer = result_line(result)
        except Exception as error:  # noqa: BLE001 - see above
            self._service.defect(error)
            answer = problem(500, "this node could not say what became of it")
        self._done(index, operation, answer)

    def _done(self, index: int, operation: Operation, answer: Answer) -> None:
        self._value_bytes -= len(operation.value_b64)
        self._settle(index, operation.op, answer)
        key = operation.bucket, operation.key
        waiting = self._busy[key]
        if waiting:
            self._ready.append(waiting.popleft())
        else:
            del self._busy[key]

    def _settle(self, index: int, op: str, answer: Answer) -> None:
        line = answer.body
        self._results[index] = line
        self._left -= 1
        self._answer_bytes += len(line)
        self._largest = max(self._largest, len(line))
        self._has_room = self._exchange.hold(len(line))
        outcome = op, outcome_of(answer.status, answer.reason)
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1

    def _cancel(self) -> None:
        """The client has gone: begin nothing more, and wait for nothing."""
        self._next = len(self._lines)
        self._ready.clear()
        self._busy.clear()
        under_way, self._under_way = self._under_way, {}
        for request_id in dict.fromkeys(under_way.values()):
            self._service.host.cancel(request_id)


def _not_begun(detail: str, reason: str) -> Answer:
    return problem(503, detail, reason=reason, outcome="not_applied", retry=True)

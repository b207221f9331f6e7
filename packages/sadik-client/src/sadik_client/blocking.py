"""The client for threads: a shell that performs the core's actions on blocking sockets.

A client may be used by any number of threads. The core is stepped by one of them at a time, which
takes microseconds; whatever waits (connecting, an answer, a pause, the caller's resolver) is done
outside the lock.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, assert_never

from sadik_client.actions import (
    Action,
    Broken,
    Enter,
    Entered,
    Event,
    Exchange,
    Open,
    Opened,
    Outcome,
    Receive,
    Received,
    Resolve,
    Resolved,
    Sleep,
    Steps,
)
from sadik_client.calls import BatchOperation
from sadik_client.encoding import key_bytes
from sadik_client.errors import StoppedError
from sadik_client.options import (
    DeleteOptions,
    GetOptions,
    HeadOptions,
    PutOptions,
    SessionDeleteOptions,
    SessionGetOptions,
    SessionPutOptions,
)
from sadik_client.response import Response
from sadik_client.results import BatchResult, Deleted, Entry, Head, Page, Resolver, Written
from sadik_client.settings import Settings
from sadik_client.shell import (
    CHUNK_BYTES,
    NO_PLACE,
    TIMED_OUT,
    default_ssl_context,
    make_core,
    not_opened,
    reason_of,
)

if TYPE_CHECKING:
    import ssl

__all__ = ["Client", "Session"]

_T = TypeVar("_T")


class Client:
    """Talks to a cluster. Use it as a context manager, or `close` it."""

    def __init__(
        self,
        urls: str | Sequence[str] = "http://127.0.0.1:7070",
        *,
        settings: Settings | None = None,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        """Know some nodes of a cluster; nothing is connected yet.

        Args:
            urls: one node or several: ``http://host:port`` or ``https://host:port``. Any will do.
            settings: bounds of time and size; see `Settings`.
            token: what is sent as bearer token, to every node of the cluster.
            token_file: a file that holds it; read now, and not again.
            ssl_context: for ``https``; by default the system's authorities are trusted.
            resolver: called whenever a `get` finds siblings; see there.

        Raises:
            InvalidRequestError: one of these is wrong.
        """
        self._core = make_core(urls, settings, token, token_file, resolver)
        self._ssl_context = ssl_context
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._places = threading.Semaphore(self._core.settings.connections_max)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. Requests under way in other threads go on."""
        with self._lock:
            self._core.close()

    def stop(self) -> None:
        """End what other threads do with this client, now and from now on.

        A request that waits for another try or for its place ends with `StoppedError`; one that
        waits for a node ends with its answer, if it has one.
        """
        self._stopped.set()

    def learn(self, *, timeout_s: float | None = None) -> None:
        """Ask the node given first for the others, so that there are some to turn to.

        With ``settings.ring`` the client does so by itself.

        Raises:
            SadikError: it does not answer, or not as a node does.
        """
        self._run(self._core.learn(timeout_s))

    @property
    def urls(self) -> list[str]:
        """The nodes that the client knows by now."""
        with self._lock:
            return self._core.nodes.urls

    # Objects.

    def get(self, bucket: str, key: bytes | str, **options: Unpack[GetOptions]) -> Entry:
        """Read a key.

        With a resolver (the client's, or the option ``resolver``) siblings are made one: it is
        called with the entry, what it returns is written with the entry's context, and the result
        is the entry as written. A sibling that came about meanwhile survives; the next `get` meets
        it. If that write fails its error is raised, and the siblings stay.

        Raises:
            UnavailableError: too few replicas answered within the budget.
            AnswerError: it was refused.
            NoAnswerError: no node answered.
        """
        return self._run(self._core.get(bucket, key, **options))

    def head(self, bucket: str, key: bytes | str, **options: Unpack[HeadOptions]) -> Head:
        """Read what there is to know of a key without its value. Raises as `get` does."""
        return self._run(self._core.head(bucket, key, **options))

    def put(
        self, bucket: str, key: bytes | str, value: bytes | str, **options: Unpack[PutOptions]
    ) -> Written:
        """Write a key; text is stored as UTF-8, with a content type that says so.

        It is tried again only where it was provably not applied.

        Raises:
            UnavailableError: too few replicas; not applied.
            IndeterminateError, UnansweredError: nobody can tell whether it was applied; read before
                you write again.
            PreconditionFailedError: ``if_match`` or ``if_none_match`` did not hold.
            ConflictError: the key has as many siblings as it may.
            ContextRequiredError: the bucket refuses blind writes.
            UnreachableError: no node was reached; not applied.
        """
        return self._run(self._core.put(bucket, key, value, **options))

    def delete(self, bucket: str, key: bytes | str, **options: Unpack[DeleteOptions]) -> Deleted:
        """Delete a key, or what ``context`` covers of it. Raises as `put` does."""
        return self._run(self._core.delete(bucket, key, **options))

    def batch(
        self,
        operations: Sequence[BatchOperation],
        *,
        repeat_indeterminate: bool = False,
        timeout_s: float | None = None,
    ) -> list[BatchResult]:
        """Do up to 1,000 operations in one request; the results are in their order.

        Operations on one key apply in order. It is not a transaction: each result says for itself
        what became of its operation.

        Raises:
            SadikError: the batch as a whole was refused or not answered, as with `put`.
        """
        return self._run(
            self._core.batch(
                operations, repeat_indeterminate=repeat_indeterminate, timeout_s=timeout_s
            )
        )

    def list_keys(self, bucket: str, *, prefix: bytes | str | None = None) -> Iterator[bytes]:
        """The keys of a bucket in byte order, page by page as they are taken.

        What is written or deleted meanwhile may or may not show.

        Raises:
            SadikError: as `get`; each page has a budget of its own.
        """
        after: str | None = None
        while True:
            page = self.list_page(bucket, prefix=prefix, after=after)
            yield from page.keys
            after = page.next
            if after is None:
                return

    def list_page(
        self,
        bucket: str,
        *,
        prefix: bytes | str | None = None,
        after: bytes | str | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> Page:
        """One page of keys: up to ``limit`` (1 to 10000, default 1000), after ``after``."""
        return self._run(
            self._core.list_page(
                bucket, prefix=prefix, after=after, limit=limit, timeout_s=timeout_s
            )
        )

    def session(self) -> Session:
        """Begin a session: what reads through it never goes back behind what it has seen."""
        return Session(self)

    # Buckets and views.

    def get_bucket(self, bucket: str) -> dict[str, Any]:
        """The properties of a bucket."""
        return self._run(self._core.get_bucket(bucket))

    def set_bucket(self, bucket: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Set some properties of a bucket; all of them, as they are now."""
        return self._run(self._core.set_bucket(bucket, properties))

    def reset_bucket(self, bucket: str) -> None:
        """Give a bucket the default properties again; its data stay."""
        self._run(self._core.reset_bucket(bucket))

    def list_buckets(self) -> list[dict[str, Any]]:
        """The buckets that have properties of their own."""
        return self._run(self._core.list_buckets())

    def members(self) -> dict[str, Any]:
        """``/v1/members``: who belongs to the cluster, as one node sees it."""
        return self._run(self._core.view("members"))

    def ring(self) -> dict[str, Any]:
        """``/v1/ring``: who owns what."""
        return self._run(self._core.view("ring"))

    def status(self) -> dict[str, Any]:
        """``/v1/status``: how one node is."""
        return self._run(self._core.view("status"))

    def hints(self) -> dict[str, Any]:
        """``/v1/hints``: what waits on one node for nodes that were away."""
        return self._run(self._core.view("hints"))

    def transfers(self) -> dict[str, Any]:
        """``/v1/transfers``: what moves, and why something does not."""
        return self._run(self._core.view("transfers"))

    def explain(self, bucket: str, key: bytes | str) -> dict[str, Any]:
        """``/v1/explain``: where a key lives, and what each replica holds."""
        return self._run(self._core.explain(bucket, key))

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """Any request, for what has no name here. GET and HEAD count as reads.

        Returns:
            The answer that is final, whatever its status.
        """
        return self._run(
            self._core.request(method, target, headers=headers, body=body, timeout_s=timeout_s)
        )

    # The shell.

    def _run(self, steps: Steps[_T]) -> _T:
        event: Event | None = None
        has_place = False
        try:
            while True:
                if self._stopped.is_set() and (event is None or not _is_answer(event.outcome)):
                    raise StoppedError("the client was stopped")
                with self._lock:
                    try:
                        # The first step takes None, as generators want it.
                        action = steps.send(event)  # type: ignore[arg-type]
                    except StopIteration as end:
                        result: _T = end.value
                        return result
                if isinstance(action, Enter):
                    began = time.monotonic_ns()
                    has_place = has_place or self._places.acquire(timeout=action.budget_ns / 1e9)
                    outcome: Outcome = Entered(began) if has_place else NO_PLACE
                else:
                    outcome = self._perform(action)
                event = Event(time.monotonic_ns(), outcome)
        finally:
            # After an interrupt, or an error of the caller's own function, it is not at its end.
            with self._lock:
                steps.close()
            if has_place:
                self._places.release()

    def _perform(self, action: Action) -> Outcome:
        match action:
            case Exchange(link, data, deadline_ns):
                assert isinstance(link, _SocketLink)
                return link.exchange(data, deadline_ns)
            case Receive(link, deadline_ns):
                assert isinstance(link, _SocketLink)
                return link.receive(deadline_ns)
            case Open():
                return self._open(action)
            case Sleep(until_ns):
                self._stopped.wait(max(until_ns - time.monotonic_ns(), 0) / 1e9)
                return None
            case Resolve(resolver, entry):
                return Resolved(resolver(entry))
            case Enter():
                raise AssertionError("entering is the loop's own")
            case _:
                assert_never(action)

    def _open(self, action: Open) -> Opened | Broken:
        host, port, is_tls = action.address
        try:
            sock = socket.create_connection((host, port), _left_s(action.deadline_ns))
        except OSError as error:
            return not_opened(error, reason_of(error))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if is_tls:
                if self._ssl_context is None:
                    self._ssl_context = default_ssl_context()
                sock.settimeout(_left_s(action.deadline_ns))
                sock = self._ssl_context.wrap_socket(sock, server_hostname=host)
        except OSError as error:
            sock.close()
            return not_opened(error, reason_of(error))
        except BaseException:
            sock.close()
            raise
        return Opened(_SocketLink(sock))


class Session:
    """Reads that never go back, and see what was written through the session.

    It remembers the latest context of each key that it used. Its reads are at least as new as that,
    or fail (504); its writes replace all that it has seen of the key, siblings included. It does
    one thing at a time with a key; with several keys, as many as you like. Memory is bounded:
    ``forgotten`` counts the keys of which the promise has lapsed.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._memory = client._core.new_session()

    @property
    def forgotten(self) -> int:
        """Keys that were given up for want of room."""
        return self._memory.forgotten

    def get(self, bucket: str, key: bytes | str, **options: Unpack[SessionGetOptions]) -> Entry:
        """Read a key; see `Client.get`."""
        core = self._client._core
        return self._client._run(core.session_get(self._memory, bucket, key, **options))

    def put(
        self,
        bucket: str,
        key: bytes | str,
        value: bytes | str,
        **options: Unpack[SessionPutOptions],
    ) -> Written:
        """Write a key, in place of what the session has seen of it; see `Client.put`."""
        core = self._client._core
        return self._client._run(core.session_put(self._memory, bucket, key, value, **options))

    def delete(
        self, bucket: str, key: bytes | str, **options: Unpack[SessionDeleteOptions]
    ) -> Deleted:
        """Delete what the session has seen of a key; see `Client.delete`."""
        core = self._client._core
        return self._client._run(core.session_delete(self._memory, bucket, key, **options))

    def forget(self, bucket: str, key: bytes | str) -> None:
        """Forget what was seen of a key: as if the session had not used it."""
        with self._client._lock:
            self._memory.forget(bucket, key_bytes(key))


class _SocketLink:
    """A connected socket. Used by one thread at a time."""

    __slots__ = ("_poll", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def close(self) -> None:
        self._sock.close()

    def is_stale(self) -> bool:
        return bool(self._poll.poll(0))

    def exchange(self, data: bytes, deadline_ns: int) -> Received | Broken:
        sent = 0
        try:
            while sent < len(data):
                self._sock.settimeout(_left_s(deadline_ns))
                sent += self._sock.send(memoryview(data)[sent:] if sent else data)
        except TimeoutError:
            return TIMED_OUT._replace(nothing_sent=not sent)
        except OSError as error:
            return Broken(reason_of(error), nothing_sent=not sent)
        return self.receive(deadline_ns)

    def receive(self, deadline_ns: int) -> Received | Broken:
        try:
            self._sock.settimeout(_left_s(deadline_ns))
            return Received(self._sock.recv(CHUNK_BYTES))
        except TimeoutError:
            return TIMED_OUT
        except OSError as error:
            return Broken(reason_of(error))


def _is_answer(outcome: Outcome) -> bool:
    return isinstance(outcome, Received | Resolved)


def _left_s(deadline_ns: int) -> float:
    """The seconds until a deadline, and never 0, which sockets take for "do not wait"."""
    return max((deadline_ns - time.monotonic_ns()) / 1e9, 1e-6)

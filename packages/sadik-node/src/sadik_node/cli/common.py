"""What client verbs share: their options, the node they talk to, and how they end.

Results go to standard output, everything said about them to standard error, so that a pipe gets
data alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from sadik_client import (
    Address,
    AnswerError,
    BrokenAnswerError,
    InvalidRequestError,
    Quorum,
    Settings,
    UnansweredError,
    UnreachableError,
    decode_percent,
    encode_key,
)
from sadik_client.blocking import Client
from sadik_node.following import follow

if TYPE_CHECKING:
    import ssl

__all__ = [
    "DEFAULT_NODE",
    "EXIT_FAILED",
    "EXIT_NOT_FOUND",
    "EXIT_SIBLINGS",
    "EXIT_USAGE",
    "KeyParameter",
    "Session",
    "check_bucket",
    "client_options",
    "fail",
    "fail_answered",
    "fail_unreachable",
    "key_label",
    "percent_option",
    "print_json",
    "print_table",
    "quorum_of",
    "read_key",
    "say",
    "text_or_none",
]

DEFAULT_NODE = "http://127.0.0.1:7070"
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_FOUND = 3
EXIT_SIBLINGS = 4

# One node and one try: a person sees what went wrong, and scripts try again as they see fit. The
# budget is for the largest value over a slow line; a node that is silent is given up long before.
_SETTINGS = Settings(ring=False, retries=False, timeout_s=300, connect_timeout_s=5)

_BUCKET_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_BUCKET_CHARACTERS_MAX = 64
_KEY_BYTES_MAX = 400

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Session:
    """One verb's talk with its node: what it asks is answered, or the verb ends."""

    def __init__(
        self, node: str, *, as_json: bool, token_file: str | None = None, ca: str | None = None
    ) -> None:
        self.as_json = as_json
        self._token_file = token_file
        self._ca = ca
        try:
            address = Address.parse(node)
        except InvalidRequestError as error:
            raise click.BadParameter(str(error), param_hint="--node") from error
        self.url = address.url
        self._tls = None if ca is None else _trusting(ca)
        self.client = self.connect(_SETTINGS)

    def connect(self, settings: Settings) -> Client:
        """A client of the session's node, with its token and trusting its authority."""
        return self.connect_to(self.url, settings)

    def reach(self, address: str, settings: Settings) -> Client:
        """A client of another node, by its URL or the host and port that members show."""
        return self.connect_to(self.url_of(address), settings)

    def url_of(self, address: str) -> str:
        """The URL of a node; where no scheme is said, it is that of this session's."""
        return address if "://" in address else f"{self.url.partition('://')[0]}://{address}"

    def at(self, member: Mapping[str, Any]) -> Session:
        """A session with another member that is up, at its operators' listener if it has one."""
        other = Session(
            self.url_of(member["http"]),
            as_json=self.as_json,
            token_file=self._token_file,
            ca=self._ca,
        )
        with other.asking() as client:
            answer = client.request("GET", "/v1/status")
        found = follow(answer, member["name"], lambda url: other.connect_to(url, _SETTINGS))
        if found is not None:
            client.close()
            other.client = found
        return other

    def connect_to(self, url: str, settings: Settings) -> Client:
        """A client of another node of the same cluster."""
        try:
            return Client(
                url,
                settings=settings,
                token_file=self._token_file,
                ssl_context=self._tls,
            )
        except InvalidRequestError as error:
            raise click.BadParameter(str(error), param_hint="--token-file") from error

    @contextlib.contextmanager
    def asking(self) -> Iterator[Client]:
        """The client, for as long as it is asked: whatever it raises ends the verb."""
        try:
            yield self.client
        except UnreachableError as error:
            fail_unreachable(error)
        except UnansweredError as error:
            unsure = "; it may or may not have been applied" if error.outcome else ""
            fail(f"{error.url} broke off without an answer ({error.reason}){unsure}")
        except AnswerError as error:
            fail_answered(str(error), error.status, is_write=error.outcome is not None)
        except BrokenAnswerError as error:
            fail(str(error))
        except InvalidRequestError as error:
            raise click.UsageError(f"this cannot be sent: {error}") from error


def client_options(command: _Command) -> _Command:
    """Add the options of every client verb; the verb takes a `Session` as ``session``."""

    def with_session(
        *args: Any, node: str, as_json: bool, token_file: str | None, ca: str | None, **rest: Any
    ) -> Any:
        session = Session(node, as_json=as_json, token_file=token_file, ca=ca)
        try:
            return command(*args, session=session, **rest)
        finally:
            session.client.close()

    with_session.__name__ = command.__name__
    with_session.__doc__ = command.__doc__
    with_session.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    decorated: Any = with_session
    for option in (
        click.option(
            "--ca",
            metavar="FILE",
            envvar="SADIK_CA",
            show_envvar=True,
            help="Authorities to trust for https; default: the system's.",
        ),
        click.option(
            "--token-file",
            metavar="FILE",
            envvar="SADIK_TOKEN_FILE",
            show_envvar=True,
            help="A file with the bearer token to send.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--node",
            metavar="URL",
            envvar="SADIK_NODE",
            default=DEFAULT_NODE,
            show_default=True,
            show_envvar=True,
            help="The node to ask; any will do.",
        ),
    ):
        decorated = option(decorated)
    result: _Command = decorated
    return result


def _trusting(ca: str) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - slow to import, and most verbs talk to loopback

    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        why = "no authority is in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise click.BadParameter(f"{ca}: {why}", param_hint="--ca") from error


class KeyParameter(click.ParamType[bytes]):
    """A key from the command line: its bytes as the terminal sent them."""

    name = "key"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        """Refuse what no node would take."""
        if isinstance(value, bytes):
            return value
        assert isinstance(value, str)
        key = os.fsencode(value)
        if not key:
            self.fail("a key has 1 to 400 bytes; this one is empty", param, ctx)
        return key


def percent_option(command: _Command) -> _Command:
    """Add ``--percent``: KEY is given percent-encoded, so that it can be any bytes."""
    option = click.option(
        "--percent", is_flag=True, help="KEY is percent-encoded, as `list --json` prints keys."
    )
    return option(command)


def read_key(key: bytes, *, percent: bool) -> bytes:
    """The key that was meant, checked for its length."""
    if percent:
        key = decode_percent(key)
    if not 1 <= len(key) <= _KEY_BYTES_MAX:
        raise click.BadParameter(
            f"a key has 1 to {_KEY_BYTES_MAX} bytes; this one has {len(key)}", param_hint="KEY"
        )
    return key


def check_bucket(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a name that no bucket can have."""
    del ctx, param
    if not 1 <= len(value) <= _BUCKET_CHARACTERS_MAX or not _BUCKET_ALPHABET.issuperset(value):
        raise click.BadParameter(
            f"{value!r} is no bucket's name: 1 to {_BUCKET_CHARACTERS_MAX} characters of "
            "A-Z a-z 0-9 . _ -"
        )
    return value


def quorum_of(text: str | None) -> Quorum | None:
    """A quorum as it was typed; whether it is one the node judges."""
    if text is None:
        return None
    return int(text) if text.isascii() and text.isdigit() else cast(Quorum, text)


def say(text: str) -> None:
    """Tell the person something, beside the data."""
    click.echo(text, err=True)


def fail(text: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the verb with a sentence."""
    say(f"sadik-node: {text}")
    sys.exit(code)


def fail_answered(complaint: str, status: int, *, is_write: bool = False) -> NoReturn:
    """End the verb because a node would not, with what to do about it."""
    from sadik_node.cli.next_steps import next_step  # noqa: PLC0415 - only where it is shown

    verb = click.get_current_context().command_path
    advice = next_step(verb, status, is_write=is_write)
    fail(f"{complaint}\n  {advice}" if advice else complaint)


def fail_unreachable(error: UnreachableError) -> NoReturn:
    """End the verb because there is no node, or none that speaks so."""
    if "wrong_version_number" in error.reason:
        fail(f"{error.url} speaks no TLS: give --node {error.url.replace('https:', 'http:', 1)}")
    fail(
        f"nothing answers at {error.url} ({error.reason}); is a node running? "
        "Start some with: sadik-node dev"
    )


def key_label(key: bytes) -> str:
    """A key as a person can read it on any terminal; for messages, not for scripts."""
    text = key.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else encode_key(each.encode()) for each in text)


def text_or_none(value: bytes) -> str | None:
    """The value as text if it is UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def print_json(document: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns, aligned by spaces."""
    lines = [list(titles), *([_cell(each) for each in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or value == "" else str(value)

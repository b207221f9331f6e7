"""What one configuration key accepts, in words and in code.

A rule reads a key's value from either form that an operator can write it in: a TOML value, or
the text of an environment variable or a flag. Both end in the same check, and every refusal can be
completed with ``accepts``, so that the file can be mended from the message alone.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from attrs import frozen

from sadik_node.address import Address

__all__ = [
    "NAME_PATTERN",
    "Rule",
    "address",
    "addresses",
    "backend",
    "choice",
    "flag",
    "integer",
    "later",
    "name",
    "number",
    "option_from_text",
    "path",
    "power_of_two",
    "table",
]

NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
"""Names of nodes, zones and clusters."""

_TEXT_CHARACTERS_SHOWN = 80


@frozen
class Rule:
    """What a key accepts. Both functions raise ValueError with what is wrong with a value."""

    accepts: str
    """Completes "accepts ..."; empty where nothing is."""
    read: Callable[[object], object]
    """Turns a TOML value into the setting."""
    from_text: Callable[[str], object]
    """Turns the text of a variable or a flag into what TOML would have held."""


def name(what: str) -> Rule:
    """A name of 1 to 64 characters that is safe in a path, a URL and a label."""

    def read(value: object) -> object:
        text = _text(value)
        if not NAME_PATTERN.fullmatch(text):
            raise ValueError(f"{_shown(text)} is not {what}")
        return text

    return Rule(f"{what}: 1 to 64 characters of A-Z a-z 0-9 . _ -", read, str)


def path(accepts: str) -> Rule:
    """A path in the file system."""

    def read(value: object) -> object:
        text = _text(value)
        if not text or "\0" in text:
            raise ValueError(f"{_shown(text)} is no path")
        return Path(text)

    return Rule(accepts, read, str)


def integer(lowest: int, highest: int, unit: str = "") -> Rule:
    """An integer within bounds, both inclusive."""

    def read(value: object) -> object:
        found = _integer(value)
        if not lowest <= found <= highest:
            raise ValueError(f"{found} is out of range")
        return found

    return Rule(f"an integer from {lowest} to {highest}{unit}", read, _integer_from_text)


def power_of_two(lowest: int, highest: int) -> Rule:
    """A power of two within bounds, both inclusive."""

    def read(value: object) -> object:
        found = _integer(value)
        if not lowest <= found <= highest or found & (found - 1):
            raise ValueError(f"{found} is not one")
        return found

    return Rule(f"a power of two from {lowest} to {highest}", read, _integer_from_text)


def number(highest: float) -> Rule:
    """A number above 0."""

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_type(value)
        if not math.isfinite(value) or not 0 < value <= highest:
            raise ValueError(f"{value} is out of range")
        return float(value)

    def from_text(text: str) -> object:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{_shown(text)} is no number") from None

    return Rule(f"a number above 0, up to {highest:g}", read, from_text)


def flag() -> Rule:
    """True or false."""

    def read(value: object) -> object:
        if not isinstance(value, bool):
            raise _wrong_type(value)
        return value

    def from_text(text: str) -> object:
        if text not in ("true", "false"):
            raise ValueError(f"{_shown(text)} is neither")
        return text == "true"

    return Rule("true or false", read, from_text)


def choice(*words: str) -> Rule:
    """One of a few words."""

    def read(value: object) -> object:
        text = _text(value)
        if text not in words:
            raise ValueError(
                f"{_shown(text)} is {'neither' if len(words) == 2 else 'none of them'}"
            )
        return text

    return Rule(" or ".join(f'"{word}"' for word in words), read, str)


def backend() -> Rule:
    """The name of an installed storage backend."""

    def read(value: object) -> object:
        from sadik_storage.registry import StoreBackendError, available  # noqa: PLC0415 - slow

        text = _text(value)
        try:
            names = list(available())
        except StoreBackendError as error:
            raise ValueError(str(error)) from error
        if text not in names:
            raise ValueError(
                f"no backend {_shown(text)} is installed; there are: {', '.join(names)}"
            )
        return text

    return Rule("a backend registered under the entry point group sadik.storage", read, str)


def address(*, any_port: bool) -> Rule:
    """``host:port``. With ``any_port`` a port 0 asks the system for a free one."""
    accepts = "host:port, an IPv6 host in brackets"
    accepts += "; port 0 takes a free one" if any_port else "; port 1 to 65535"
    return Rule(accepts, lambda value: _address(value, any_port=any_port), str)


def addresses() -> Rule:
    """A list of ``host:port``, comma-separated as text."""

    def read(value: object) -> object:
        if not isinstance(value, list | tuple):
            raise _wrong_type(value)
        return tuple(_address(each, any_port=False) for each in cast("Sequence[object]", value))

    def from_text(text: str) -> object:
        return [part.strip() for part in text.split(",")] if text.strip() else []

    return Rule("a list of host:port, an IPv6 host in brackets", read, from_text)


def table() -> Rule:
    """A table that is handed on as it is."""

    def read(value: object) -> object:
        if not isinstance(value, dict):
            raise _wrong_type(value)
        return dict(value)

    def from_text(text: str) -> object:
        raise ValueError(f"{_shown(text)} is text")

    return Rule(
        "a table; as variables one for each option, SADIK_STORAGE__OPTIONS__<NAME>", read, from_text
    )


def later(sentence: str) -> Rule:
    """A key of the contract that this version knows and does not do: refused, never ignored."""

    def read(value: object) -> object:
        del value
        raise ValueError(sentence)

    return Rule("", read, str)


def option_from_text(text: str) -> object:
    """A backend's option from a variable: a number, true or false where it reads so, else text."""
    try:
        found = tomllib.loads(f"value = {text}")["value"] if "\n" not in text else text
    except tomllib.TOMLDecodeError:
        return text
    return found if isinstance(found, bool | int | float) else text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value)
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(value)
    return value


def _integer_from_text(text: str) -> object:
    if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
        raise ValueError(f"{_shown(text)} is no integer")
    return int(text)


def _address(value: object, *, any_port: bool) -> Address:
    text = _text(value)
    try:
        found = Address.parse(text)
    except ValueError as error:
        raise ValueError(f"{_shown(text)} {error}") from None
    if found.port == 0 and not any_port:
        raise ValueError(f"{_shown(text)} has the port 0, which nobody can dial")
    return found


def _wrong_type(value: object) -> ValueError:
    words = {bool: "true or false", int: "an integer", float: "a number", str: "text",
             list: "a list", dict: "a table"}  # fmt: skip
    return ValueError(f"{_shown(value)} is {words.get(type(value), type(value).__name__)}")


def _shown(value: object) -> str:
    text = repr(value)
    return (
        text if len(text) <= _TEXT_CHARACTERS_SHOWN else text[: _TEXT_CHARACTERS_SHOWN - 3] + "..."
    )

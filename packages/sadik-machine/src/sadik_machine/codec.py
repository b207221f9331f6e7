"""Messages as numeric tags with positional fields.

Each package declares its messages in a `MessageRange` of its own; a `Codec` joins several ranges,
so a lower floor carries a higher one's messages without knowing them. On the wire a message is
a CBOR array ``[tag, field, field, …]``. Unknown trailing fields are ignored and missing trailing
ones take their defaults, so that versions N and N+1 of the software can run side by side.

Field types are checked on decoding against the annotations of the class. The grammar is small:
``int`` (64 bits), ``bytes``, ``str``, ``bool``, ``float``, ``None`` in a union, ``tuple[T, ...]``,
``tuple[A, B]`` and ``object`` (any plain value, which the receiver checks itself).
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from sadik_machine.errors import LocalProtocolError, RemoteProtocolError
from sadik_machine.plain import PlainError, decode_plain, encode_plain

__all__ = ["Codec", "MessageRange"]

T = TypeVar("T")

_Check = Callable[[Any], bool]

_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1


class MessageRange:
    """The tags ``first`` to ``last`` and the message classes declared for them.

    >>> MESSAGES = MessageRange("ping-pong", 900, 909)
    >>> @MESSAGES.message(900)
    ... @attrs.define
    ... class Ping:
    ...     number: int
    """

    def __init__(self, name: str, first: int, last: int) -> None:
        self.name = name
        self.first = first
        self.last = last
        self.classes: dict[int, type] = {}

    def message(self, tag: int) -> Callable[[type[T]], type[T]]:
        """Class decorator: the attrs class is the message with number ``tag``."""
        if not self.first <= tag <= self.last:
            raise LocalProtocolError(f"tag {tag} is outside of {self.first} to {self.last}")
        if tag in self.classes:
            raise LocalProtocolError(f"tag {tag} is taken by {self.classes[tag].__name__}")

        def register(cls: type[T]) -> type[T]:
            self.classes[tag] = cls
            return cls

        return register


class _Layout:
    """How one message class is written and checked."""

    __slots__ = ("checks", "cls", "names", "required", "tag")

    def __init__(self, tag: int, cls: type) -> None:
        fields = attrs.fields(cls)
        hints = typing.get_type_hints(cls)
        self.tag = tag
        self.cls = cls
        self.names = tuple(field.name for field in fields)
        self.checks = tuple(_check_of(hints[name], cls) for name in self.names)
        self.required = sum(field.default is attrs.NOTHING for field in fields)


class Codec:
    """Encodes and decodes the messages of several ranges."""

    def __init__(self, *ranges: MessageRange) -> None:
        self._by_tag: dict[int, _Layout] = {}
        self._by_class: dict[type, _Layout] = {}
        taken: list[MessageRange] = []
        for messages in ranges:
            for other in taken:
                if messages.first <= other.last and other.first <= messages.last:
                    raise LocalProtocolError(f"ranges {messages.name} and {other.name} overlap")
            taken.append(messages)
            for tag, cls in messages.classes.items():
                layout = _Layout(tag, cls)
                self._by_tag[tag] = layout
                self._by_class[cls] = layout

    def encode(self, message: object) -> bytes:
        """The payload of a frame. An unregistered class raises `LocalProtocolError`."""
        layout = self._by_class.get(type(message))
        if layout is None:
            raise LocalProtocolError(f"{type(message).__name__} is not a registered message")
        values: list[object] = [layout.tag]
        values.extend([getattr(message, name) for name in layout.names])
        return encode_plain(values)

    def decode(self, payload: bytes) -> Any:
        """The message of one payload, its fields checked.

        Raises:
            RemoteProtocolError: not plain CBOR, an unknown tag, a field missing or of the
                wrong type. ``reason`` is ``malformed`` or ``unknown_message``.
        """
        try:
            plain = decode_plain(payload)
        except PlainError as error:
            raise RemoteProtocolError("malformed", f"not a message: {error}") from error
        if type(plain) is not tuple or not plain or type(plain[0]) is not int:
            raise RemoteProtocolError("malformed", "a message is an array that starts with a tag")
        layout = self._by_tag.get(plain[0])
        if layout is None:
            raise RemoteProtocolError("unknown_message", f"no message has the tag {plain[0]}")
        values = plain[1 : 1 + len(layout.names)]
        if len(values) < layout.required:
            raise RemoteProtocolError(
                "malformed", f"{layout.cls.__name__} has {len(values)} of {layout.required} fields"
            )
        for check, value, name in zip(layout.checks, values, layout.names, strict=False):
            if not check(value):
                raise RemoteProtocolError(
                    "malformed", f"{layout.cls.__name__}.{name} is a {type(value).__name__}"
                )
        return layout.cls(*values)


def _is_int(value: Any) -> bool:
    return type(value) is int and _INT_MIN <= value <= _INT_MAX


def _is_exactly(kind: type) -> _Check:
    def check(value: Any) -> bool:
        return type(value) is kind

    return check


def _anything(_value: Any) -> bool:
    return True


_SIMPLE: dict[Any, _Check] = {
    int: _is_int,
    bytes: _is_exactly(bytes),
    str: _is_exactly(str),
    bool: _is_exactly(bool),
    float: _is_exactly(float),
    type(None): _is_exactly(type(None)),
    object: _anything,
}


def _check_of(hint: Any, cls: type) -> _Check:
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _check_union([_check_of(argument, cls) for argument in arguments])
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _check_sequence(_check_of(arguments[0], cls))
    if origin is tuple:
        return _check_tuple([_check_of(argument, cls) for argument in arguments])
    raise LocalProtocolError(f"{cls.__name__} has a field of type {hint}, which no message may")


def _check_union(checks: list[_Check]) -> _Check:
    def check(value: Any) -> bool:
        return any(accepts(value) for accepts in checks)

    return check


def _check_sequence(element: _Check) -> _Check:
    def check(value: Any) -> bool:
        return type(value) is tuple and all(map(element, value))

    return check


def _check_tuple(elements: list[_Check]) -> _Check:
    def check(value: Any) -> bool:
        return (
            type(value) is tuple
            and len(value) == len(elements)
            and all(accepts(part) for accepts, part in zip(elements, value, strict=True))
        )

    return check

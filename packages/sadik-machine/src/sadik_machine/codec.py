"""Messages as numeric tags with positional fields.

Each package declares its messages in a `MessageRange` of its own; a `Codec` joins several ranges,
so a lower floor carries a higher one's messages without knowing them. On the wire a message is
a CBOR array ``[tag, field, field, …]``. Unknown trailing fields are ignored and missing trailing
ones take their defaults, so that versions N and N+1 of the software can run side by side.

Field types are checked on decoding against the annotations of the class. The grammar is small:
``int`` (-2**64 to 2**64 - 1), ``bytes``, `NodeId` (of its exact length), ``str``, ``bool``,
``float`` (finite), ``None`` in a union, ``tuple[T, ...]``, ``tuple[A, B]`` and ``object``: any
plain value (`sadik_machine.plain`), whose parts the receiver checks itself.
"""

from __future__ import annotations

import math
import operator
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import attrs

from sadik_machine.errors import LocalProtocolError, RemoteProtocolError
from sadik_machine.ids import NODE_ID_BYTES, NodeId
from sadik_machine.plain import PLAIN_TYPES, PlainError, decode_plain, encode_plain

__all__ = ["Codec", "MessageRange"]

T = TypeVar("T")

_Check = Callable[[Any], bool]

_Form = dict[type, _Check | None]
"""What one annotation accepts: exact types, each with a check of what is inside of such a value,
or None where the type says all."""

# A bound for memory only: beyond it a combination of types is judged anew every time.
_ACCEPTED_MAX: Final = 1024


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
        """Class decorator: the attrs class is the message with number ``tag``.

        Raises `LocalProtocolError` for a tag outside of the range or used twice.
        """
        if not self.first <= tag <= self.last:
            raise LocalProtocolError(f"tag {tag} is outside of {self.first} to {self.last}")
        if tag in self.classes:
            raise LocalProtocolError(f"tag {tag} is taken by {self.classes[tag].__name__}")

        def register(cls: type[T]) -> type[T]:
            self.classes[tag] = cls
            return cls

        return register


class Codec:
    """Encodes and decodes the messages of several ranges.

    Raises `LocalProtocolError` for ranges that overlap, for a class with two tags, and for one
    that no message may be: with a field outside of the grammar, or one that is not positional.
    """

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
                if cls in self._by_class:
                    raise LocalProtocolError(f"{cls.__name__} has two tags")
                layout = _Layout(tag, cls)
                self._by_tag[tag] = layout
                self._by_class[cls] = layout

    def encode(self, message: object) -> bytes:
        """The payload of a frame. An unregistered class raises `LocalProtocolError`.

        The types of the fields are the caller's business: a wrong one is refused by the receiver.
        """
        layout = self._by_class.get(type(message))
        if layout is None:
            raise LocalProtocolError(f"{type(message).__name__} is not a registered message")
        return encode_plain((layout.tag, *layout.values_of(message)))

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
        if not layout.row.accepts(values):
            raise RemoteProtocolError("malformed", layout.fault(values))
        return layout.cls(*values)


class _Layout:
    """How one message class is written and checked."""

    __slots__ = ("cls", "names", "row", "tag", "values_of")

    def __init__(self, tag: int, cls: type) -> None:
        fields = attrs.fields(cls)
        for field in fields:
            # What a peer sends is handed over by position, and nothing but the check may refuse it.
            if field.kw_only or not field.init or field.validator or field.converter:
                raise LocalProtocolError(
                    f"{cls.__name__}.{field.name} is not a plain positional field"
                )
        hints = typing.get_type_hints(cls)
        self.tag = tag
        self.cls = cls
        self.names = tuple(field.name for field in fields)
        self.values_of = _getter(self.names)
        self.row = _Row(
            [_form_of(hints[name], cls) for name in self.names],
            required=sum(field.default is attrs.NOTHING for field in fields),
        )

    def fault(self, values: tuple[Any, ...]) -> str:
        """What is wrong with fields that were refused, in words."""
        name = self.cls.__name__
        if len(values) < self.row.required:
            return f"{name} has {len(values)} of {self.row.required} fields"
        at = self.row.first_fault(values)
        return f"{name}.{self.names[at]}: a {type(values[at]).__name__} that it cannot be"


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """The fields of a message as a tuple."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda message: tuple(getattr(message, name) for name in names)


class _Row:
    """What positional values must be: the fields of a message, or the parts of a ``tuple[A, B]``.

    Which types fit depends on nothing but the types, so each combination that was found to fit is
    remembered: from then on one look-up judges all values at once. Only what is
    inside of tuples, and the like, is looked into every time.
    """

    __slots__ = ("_accepted", "_forms", "_inside", "required")

    def __init__(self, forms: Sequence[_Form], required: int) -> None:
        self.required = required
        self._forms = forms
        self._inside = [
            (index, inside)
            for index, form in enumerate(forms)
            if (inside := _inside_of(form)) is not None
        ]
        self._accepted: dict[tuple[type, ...], None] = {}

    def accepts(self, values: tuple[Any, ...]) -> bool:
        """Whether there are enough values, not too many, and each is one that it may be."""
        kinds = tuple(map(type, values))
        if kinds not in self._accepted:
            if not self._fits(kinds):
                return False
            if len(self._accepted) < _ACCEPTED_MAX:
                self._accepted[kinds] = None
        # Not all() over a generator: that costs as much again as the checks themselves.
        for index, inside in self._inside:
            if index < len(values) and not inside(values[index]):
                return False
        return True

    def first_fault(self, values: tuple[Any, ...]) -> int:
        """The index of the first value that it may not be, among values that are not accepted."""
        for index, (form, value) in enumerate(zip(self._forms, values, strict=False)):
            inside = _inside_of(form)
            if type(value) not in form or (inside is not None and not inside(value)):
                return index
        raise AssertionError("these values are accepted")

    def _fits(self, kinds: tuple[type, ...]) -> bool:
        return self.required <= len(kinds) <= len(self._forms) and all(
            kind in form for kind, form in zip(kinds, self._forms, strict=False)
        )


_SIMPLE: Final = (int, bytes, str, bool, type(None))


def _form_of(hint: Any, cls: type) -> _Form:
    """The form of one annotation; `LocalProtocolError` where the grammar has none."""
    if hint is NodeId:
        return {bytes: lambda value: len(value) == NODE_ID_BYTES}
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    if hint in _SIMPLE:
        return {hint: None}
    if hint is float:
        return {float: math.isfinite}
    if hint is object:
        return dict.fromkeys(PLAIN_TYPES)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union([_form_of(argument, cls) for argument in arguments])
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return {tuple: _sequence_check(_form_of(arguments[0], cls))}
    if origin is tuple:
        forms = [_form_of(argument, cls) for argument in arguments]
        return {tuple: _Row(forms, required=len(forms)).accepts}
    raise LocalProtocolError(f"{cls.__name__} has a field of type {hint}, which no message may")


def _union(forms: list[_Form]) -> _Form:
    union: _Form = {}
    for form in forms:
        for kind, inside in form.items():
            if kind in union:
                union[kind] = _either(union[kind], inside)
            else:
                union[kind] = inside
    return union


def _either(one: _Check | None, other: _Check | None) -> _Check | None:
    if one is None or other is None:
        return None
    return lambda value: one(value) or other(value)


def _inside_of(form: _Form) -> _Check | None:
    """One check of what is inside of a value whose type ``form`` accepts; None: nothing to do."""
    if not any(form.values()):
        return None
    if len(form) == 1:
        return next(iter(form.values()))

    def check(value: Any) -> bool:
        inside = form[type(value)]
        return inside is None or inside(value)

    return check


def _sequence_check(element: _Form) -> _Check:
    is_kind = dict.fromkeys(element, True).__contains__
    inside = _inside_of(element)

    def check(value: tuple[Any, ...]) -> bool:
        return all(map(is_kind, map(type, value))) and (inside is None or all(map(inside, value)))

    return check

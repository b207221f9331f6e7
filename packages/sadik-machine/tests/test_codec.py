"""The codec: every form of the grammar comes back, and nothing unchecked comes from outside."""

from __future__ import annotations

import enum
import math
import types
import typing
from typing import Any, NewType

import attrs
import cbor2
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sadik_machine import (
    NODE_ID_BYTES,
    Codec,
    LocalProtocolError,
    MessageRange,
    NodeId,
    RemoteProtocolError,
    encode_plain,
)

TAG = 900

Number = NewType("Number", int)


def message_of(*hints: Any, defaults: tuple[Any, ...] = ()) -> type[Any]:
    """An attrs class with fields of these types, the last ones with defaults."""
    required = len(hints) - len(defaults)
    fields = {
        f"f{index}": attrs.field(
            type=hint,
            default=attrs.NOTHING if index < required else defaults[index - required],
        )
        for index, hint in enumerate(hints)
    }
    return attrs.make_class("Message", fields, slots=True)


def codec_of(*classes: type) -> Codec:
    messages = MessageRange("test", TAG, TAG + 99)
    for index, cls in enumerate(classes):
        messages.message(TAG + index)(cls)
    return Codec(messages)


def refused(codec: Codec, payload: bytes) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as error:
        codec.decode(payload)
    return error.value


# A field's type together with the values that it has. The values of `object` are few: what
# plain values there are is test_plain's business.

INTEGERS = st.integers(-(1 << 64), (1 << 64) - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = (
    st.none() | st.booleans() | INTEGERS | FLOATS | st.binary(max_size=9) | st.text(max_size=9)
)
SOMETHING = ANYTHING | st.tuples(ANYTHING, ANYTHING) | st.just(())

Form = tuple[Any, st.SearchStrategy[Any]]

LEAVES: list[Form] = [
    (int, INTEGERS),
    (Number, INTEGERS),
    (bytes, st.binary(max_size=20)),
    (NodeId, st.binary(min_size=NODE_ID_BYTES, max_size=NODE_ID_BYTES)),
    (str, st.text(max_size=20)),
    (bool, st.booleans()),
    (float, FLOATS),
    (type(None), st.none()),
    (object, SOMETHING),
]


def _sequences(inner: st.SearchStrategy[Form]) -> st.SearchStrategy[Form]:
    return inner.map(
        lambda form: (
            tuple.__class_getitem__((form[0], ...)),
            st.lists(form[1], max_size=4).map(tuple),
        )
    )


def _tuples(inner: st.SearchStrategy[Form]) -> st.SearchStrategy[Form]:
    return st.lists(inner, max_size=4).map(
        lambda fs: (
            tuple.__class_getitem__(tuple(hint for hint, _ in fs)),
            st.tuples(*(values for _, values in fs)),
        )
    )


def _unions(inner: st.SearchStrategy[Form]) -> st.SearchStrategy[Form]:
    return st.lists(inner, min_size=2, max_size=3).map(
        lambda fs: (
            typing.Union[tuple(hint for hint, _ in fs)],  # noqa: UP007 - made of a list of types
            st.one_of(*(values for _, values in fs)),
        )
    )


FORMS: st.SearchStrategy[Form] = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: _sequences(inner) | _tuples(inner) | _unions(inner),
    max_leaves=6,
)


def fits(hint: Any, value: Any) -> bool:
    """The naive twin of the check: what the annotation says, read word by word."""
    if hint is NodeId:
        return type(value) is bytes and len(value) == NODE_ID_BYTES
    if isinstance(hint, NewType):
        return fits(hint.__supertype__, value)
    if hint is float:
        return type(value) is float and math.isfinite(value)
    if hint is object:
        return type(value) not in (cbor2.CBORSimpleValue, type(cbor2.undefined))
    if isinstance(hint, type) and typing.get_origin(hint) is None:
        return type(value) is hint
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(fits(argument, value) for argument in arguments)
    assert typing.get_origin(hint) is tuple
    if type(value) is not tuple:
        return False
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return all(fits(arguments[0], part) for part in value)
    return len(value) == len(arguments) and all(map(fits, arguments, value))


def depth(value: Any) -> int:
    return 1 + max(map(depth, value), default=0) if isinstance(value, tuple) else 0


@given(st.lists(FORMS, min_size=1, max_size=6), st.data())
def test_every_form_of_the_grammar_comes_back(forms: list[Form], data: st.DataObject) -> None:
    cls = message_of(*(hint for hint, _ in forms))
    values = data.draw(st.tuples(*(values for _, values in forms)))
    assume(depth(values) <= 8)
    codec = codec_of(cls)
    message = cls(*values)
    for _ in range(2):  # the second time by what was remembered of the first
        decoded = codec.decode(codec.encode(message))
        assert decoded == message
        assert repr(decoded) == repr(message)  # True is not 1, and 0.0 is not -0.0


@given(st.lists(FORMS, min_size=1, max_size=4), st.data())
def test_a_message_is_taken_exactly_if_every_field_is_of_its_type(
    forms: list[Form], data: st.DataObject
) -> None:
    hints = [hint for hint, _ in forms]
    codec = codec_of(message_of(*hints))
    other = FORMS.flatmap(lambda form: form[1])
    for _ in range(4):
        values = [data.draw(right if data.draw(st.integers(0, 3)) else other) for _, right in forms]
        payload = encode_plain([TAG, *values])
        if depth(tuple(values)) > 8:
            continue
        if all(map(fits, hints, values)):
            decoded = codec.decode(payload)
            assert [getattr(decoded, f"f{i}") for i in range(len(values))] == values
        else:
            assert refused(codec, payload).reason == "malformed"


@attrs.define
class Everything:
    """A message with every form."""

    number: int
    name: str
    key: bytes
    node: NodeId
    flag: bool
    ratio: float
    versions: tuple[tuple[bytes, int, bytes | None], ...]
    newer: tuple[int, tuple[bytes, ...]] | None
    context: object
    mixed: tuple[int | str | None, ...]
    added: int = 7
    note: str | None = None


EVERYTHING = Everything(
    (1 << 64) - 1, "näme", b"k\x00", NodeId(b"12345678"), False, -1.5,
    ((b"a", 1, None), (b"b", 2, b"body")), (3, (b"x", b"y")), (("any", 1),), (1, "one", None),
)  # fmt: skip

CODEC = codec_of(Everything)


def conforms(message: Everything) -> bool:
    hints = typing.get_type_hints(Everything)
    return all(fits(hint, getattr(message, name)) for name, hint in hints.items())


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x80")
@example(b"\x81\x19\x03\x84")
@example(b"\x82\xf5\x00")
@example(b"\xa0")
def test_arbitrary_bytes_are_refused_in_one_way(payload: bytes) -> None:
    assert refused(CODEC, payload).reason in ("malformed", "unknown_message")


@given(st.data())
def test_a_damaged_message_is_refused_or_still_of_its_types(data: st.DataObject) -> None:
    payload = bytearray(CODEC.encode(EVERYTHING))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(payload) - 1))
        change = data.draw(st.sampled_from(["set", "insert", "delete"]))
        if change == "set":
            payload[at] = data.draw(st.integers(0, 255))
        elif change == "insert":
            payload[at:at] = data.draw(st.binary(min_size=1, max_size=3))
        elif len(payload) > 1:
            del payload[at]
    try:
        message = CODEC.decode(bytes(payload))
    except RemoteProtocolError as error:
        assert error.reason in ("malformed", "unknown_message")  # noqa: PT017 - either is right
    else:
        assert type(message) is Everything
        assert conforms(message)


@pytest.mark.parametrize("field", [a.name for a in attrs.fields(Everything)])
@pytest.mark.parametrize(
    "foreign",
    [cbor2.undefined, cbor2.CBORSimpleValue(1), cbor2.CBORSimpleValue(99), math.nan, math.inf],
    ids=repr,
)
def test_what_only_cbor_has_is_no_field(field: str, foreign: Any) -> None:
    payload = CODEC.encode(attrs.evolve(EVERYTHING, **{field: foreign}))
    if field == "context" and type(foreign) is float:
        assert CODEC.decode(payload).context is not None  # plain, and so for the receiver to check
    else:
        assert refused(CODEC, payload).reason == "malformed"


# Python hashes all of these integers to 0.
COLLIDING = [encode_plain(n * ((1 << 61) - 1)) + b"\x00" for n in range(20_000)]


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x81" * 100_000,
        b"\x82\x19\x03\x84" + b"\x81" * 20,
        b"\x82\x19\x03\x84\xc2\x41\x01",  # a big integer
        b"\x82\x19\x03\x84\xd8\x23\x64(a*)",  # a regular expression
        b"\x82\x19\x03\x84\xa2\x61a\x00\x61a\x01",
        b"\x9f\x19\x03\x84\xff",
        b"\x9a\x00\x0f\x42\x40\x19\x03\x84" + b"\xa0" * 999_999,
        b"\x9a\x00\x0f\x42\x40\x19\x03\x84" + b"\x80" * 999_999,
        b"\xba\x00\x00\x4e\x20" + b"".join(COLLIDING),
    ],
    ids=lambda bomb: bomb[:8].hex(),
)
def test_bombs_are_refused(bomb: bytes) -> None:
    assert refused(CODEC, bomb).reason == "malformed"


def test_what_is_after_a_message_is_refused() -> None:
    assert refused(CODEC, CODEC.encode(EVERYTHING) + b"\x00").reason == "malformed"


@given(st.lists(SOMETHING, max_size=4))
def test_unknown_trailing_fields_are_ignored(more: list[Any]) -> None:
    payload = encode_plain([TAG, *attrs.astuple(EVERYTHING, recurse=False), *more])
    assert CODEC.decode(payload) == EVERYTHING


@pytest.mark.parametrize("left_out", [1, 2])
def test_missing_trailing_fields_take_their_defaults(left_out: int) -> None:
    sent = attrs.evolve(EVERYTHING, added=8, note="x")
    values = attrs.astuple(sent, recurse=False)[:-left_out]
    expected = attrs.evolve(sent, note=None) if left_out == 1 else EVERYTHING
    assert CODEC.decode(encode_plain([TAG, *values])) == expected


def test_a_missing_field_without_a_default_is_refused() -> None:
    values = attrs.astuple(EVERYTHING, recurse=False)
    for count in range(10):
        error = refused(CODEC, encode_plain([TAG, *values[:count]]))
        assert f"{count} of 10 fields" in str(error)


def test_two_versions_of_a_message_understand_each_other() -> None:
    old = message_of(int, bytes)
    new = message_of(int, bytes, str | None, tuple[int, ...], defaults=(None, (1,)))
    old_codec, new_codec = codec_of(old), codec_of(new)
    assert old_codec.decode(new_codec.encode(new(1, b"x", "y", (2,)))) == old(1, b"x")
    assert new_codec.decode(old_codec.encode(old(1, b"x"))) == new(1, b"x", None, (1,))


def test_a_refusal_names_the_field() -> None:
    values = {"newer": (3, (b"x", 5))}
    payload = CODEC.encode(attrs.evolve(EVERYTHING, **values))  # type: ignore[arg-type] # wrong
    assert "Everything.newer" in str(refused(CODEC, payload))


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_node_id_of_another_length_is_refused(length: int) -> None:
    values = {"node": NodeId(b"x" * length)}
    payload = CODEC.encode(attrs.evolve(EVERYTHING, **values))  # type: ignore[arg-type] # wrong
    assert "Everything.node" in str(refused(CODEC, payload))


@pytest.mark.parametrize(
    ("hint", "accepted", "refuses"),
    [
        (NodeId | bytes, [b"12345678", b"", b"123"], ["x", 1, None]),
        (bytes | NodeId, [b"12345678", b"", b"123"], ["x", 1, None]),
        (tuple[int, ...] | tuple[str, ...], [(), (1, 2), ("a",)], [("a", 1), (b"",), 1]),
        (tuple[int, str] | tuple[int] | None, [(1, "a"), (1,), None], [(), ("a", 1), (1, 2)]),
        (float | int, [1, 1.5], [math.inf, math.nan, True]),
        (object | int, [1, (1, (2,)), None], []),
        (int | object, [1, "x", b"x"], []),
    ],
)
def test_a_union_takes_what_any_of_its_members_takes(
    hint: Any, accepted: list[Any], refuses: list[Any]
) -> None:
    codec = codec_of(message_of(hint))
    for value in accepted * 2:
        assert codec.decode(encode_plain([TAG, value])).f0 == value
    for value in refuses * 2:
        assert refused(codec, encode_plain([TAG, value])).reason == "malformed"


def test_messages_without_fields_and_with_one_come_back() -> None:
    nothing, one = message_of(), message_of(tuple[int, ...])
    codec = codec_of(nothing, one)
    assert codec.decode(codec.encode(nothing())) == nothing()
    assert codec.decode(codec.encode(one((1, 2)))) == one((1, 2))


class Level(enum.IntEnum):
    HIGH = 3


def test_a_member_of_an_integer_enumeration_travels_as_its_number() -> None:
    codec = codec_of(cls := message_of(int))
    received = codec.decode(codec.encode(cls(Level.HIGH))).f0
    assert received == 3
    assert type(received) is int


def test_an_unknown_tag_is_told_apart_from_what_is_malformed() -> None:
    assert refused(CODEC, encode_plain([TAG + 1])).reason == "unknown_message"
    assert refused(CODEC, encode_plain([-1, 2])).reason == "unknown_message"
    assert refused(CODEC, encode_plain([True])).reason == "malformed"
    assert refused(CODEC, encode_plain(["900"])).reason == "malformed"


def test_the_combinations_of_types_that_are_remembered_are_bounded() -> None:
    codec = codec_of(cls := message_of(*[object] * 8))
    kinds: list[Any] = [None, True, 1, 1.5, b"", "", ()]
    for index in range(3000):
        values = [kinds[index // 7**place % 7] for place in range(8)]
        assert codec.decode(encode_plain([TAG, *values])) == cls(*values)
    remembered = codec._by_tag[TAG].row._accepted
    assert len(remembered) <= 1024


def test_a_codec_joins_ranges_of_which_none_knows_the_others() -> None:
    low, high = MessageRange("low", 1, 9), MessageRange("high", 10, 19)
    ping = low.message(1)(message_of(int))
    pong = high.message(10)(message_of(str))
    codec = Codec(low, high)
    assert codec.decode(codec.encode(ping(1))) == ping(1)
    assert codec.decode(codec.encode(pong("x"))) == pong("x")
    assert refused(Codec(low), codec.encode(pong("x"))).reason == "unknown_message"
    with pytest.raises(LocalProtocolError):
        Codec(low).encode(pong("x"))


def test_ranges_that_overlap_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="overlap"):
        Codec(MessageRange("a", 1, 10), MessageRange("b", 10, 20))


def test_a_tag_outside_of_its_range_or_used_twice_is_refused() -> None:
    messages = MessageRange("a", 1, 10)
    messages.message(10)(message_of())
    for tag in (0, 11, 10):
        with pytest.raises(LocalProtocolError, match=f"tag {tag} "):
            messages.message(tag)


def test_a_class_with_two_tags_is_refused() -> None:
    messages = MessageRange("a", 1, 10)
    messages.message(1)(messages.message(2)(message_of()))
    with pytest.raises(LocalProtocolError, match="two tags"):
        Codec(messages)


@pytest.mark.parametrize("hint", [list[int], dict[str, int], Level, Any, tuple, set[int], complex])
def test_a_field_outside_of_the_grammar_is_refused_when_the_codec_is_made(hint: Any) -> None:
    with pytest.raises(LocalProtocolError, match="no message may"):
        codec_of(message_of(int, hint))
    with pytest.raises(LocalProtocolError, match="no message may"):
        codec_of(message_of(tuple[hint, ...]))


@pytest.mark.parametrize(
    "options",
    [
        {"kw_only": True},
        {"init": False, "default": 0},
        {"validator": attrs.validators.gt(0)},
        {"converter": int},
    ],
)
def test_a_field_that_could_refuse_or_change_what_came_is_no_field(options: Any) -> None:
    cls = attrs.make_class("Odd", {"f0": attrs.field(type=int, **options)})
    with pytest.raises(LocalProtocolError, match="f0 is not a plain positional field"):
        codec_of(cls)

"""attrs classes written out as plain ones behave as their models do."""

import ast
import sys
import types
from typing import Any

import attrs
import pytest

from native_classes import DESCRIBER, NotPlainError, plain_classes

SOURCE = '''"""A module."""

from __future__ import annotations

import enum

from attrs import Factory, define, field, frozen

SEEN = []


def registered(cls):
    SEEN.append(cls.__name__)
    return cls


class Way(enum.IntEnum):
    THERE = 1
    BACK = 2


@registered
@define(slots=True)
class Message:
    """Some fields."""

    number: int
    names: tuple[str, ...] = ()
    way: Way = Way.BACK
    """Where it goes."""
    rows: dict[bytes, bytes] = Factory(dict)
    _hidden: list[int] = field(
        factory=list, repr=False
    )

    def doubled(self) -> int:
        return self.number * 2


@frozen
class Value:
    number: int = 3

    def __attrs_post_init__(self) -> None:
        assert self.number, "a number is not nothing"


@define(eq=False, kw_only=True)
class Machine:
    number: int
'''


def run(source: str, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, name, "exec"), vars(module))
    return module


@pytest.fixture(params=["attrs", "plain"])
def module(request: pytest.FixtureRequest) -> Any:
    """The module as it is, and as it is written out: every test holds for both."""
    made = []
    if request.param == "attrs":
        made.append(run(SOURCE, "as_it_is"))
    else:
        made.append(run(DESCRIBER, "_sadik_described"))
        written = plain_classes(SOURCE)
        assert "@define" not in written
        assert "@frozen" not in written
        made.append(run(written, "written_out"))
    yield made[-1]
    for each in made:
        del sys.modules[each.__name__]


def test_fields_are_given_by_position_or_name_and_have_their_defaults(module: Any) -> None:
    message = module.Message(1, names=("a",), hidden=[2])
    assert (message.number, message.names, message.way, message.rows, message._hidden) == (
        1, ("a",), module.Way.BACK, {}, [2],
    )  # fmt: skip
    assert module.Message(1).rows is not module.Message(1).rows
    assert message.doubled() == 2
    assert module.Machine(number=4).number == 4
    with pytest.raises(TypeError):
        module.Machine(4)


def test_equality_hashes_and_representations_are_those_of_attrs(module: Any) -> None:
    assert module.Message(1) == module.Message(1) != module.Message(2)
    assert module.Message(1) != 1
    with pytest.raises(TypeError):
        hash(module.Message(1))
    assert hash(module.Value(4)) == hash(module.Value(4))
    assert module.Machine(number=1) != module.Machine(number=1)
    shown = "Message(number=1, names=(), way=<Way.BACK: 2>, rows={})"
    assert repr(module.Message(1)) == shown


def test_attrs_knows_them_and_patterns_match_them(module: Any) -> None:
    names = [field.name for field in attrs.fields(module.Message)]
    assert names == ["number", "names", "way", "rows", "_hidden"]
    assert attrs.fields(module.Message).number.type == "int"
    assert attrs.evolve(module.Value(4), number=5) == module.Value(5)
    assert attrs.asdict(module.Value(4)) == {"number": 4}
    match module.Message(1, ("a",)):
        case module.Message(number, names):
            assert (number, names) == (1, ("a",))
        case _:
            pytest.fail("it does not match its own class")


def test_what_follows_a_decorator_or_the_making_is_done_too(module: Any) -> None:
    assert module.SEEN == ["Message"]
    with pytest.raises(AssertionError, match="not nothing"):
        module.Value(0)


@pytest.mark.parametrize(
    "lines",
    [
        "@define(order=True)\nclass A:\n    a: int",
        "@define\nclass A:\n    a: int = field(init=False)",
    ],
)
def test_more_than_is_known_is_refused(lines: str) -> None:
    source = f"from __future__ import annotations\nfrom attrs import define, field\n\n\n{lines}\n"
    with pytest.raises(NotPlainError, match="A"):
        plain_classes(source)


def test_lines_before_the_first_class_stay_where_they_are() -> None:
    first = SOURCE.splitlines().index("@registered")
    assert plain_classes(SOURCE).splitlines()[4:first] == SOURCE.splitlines()[4:first]


def test_the_compiler_is_told_which_attributes_a_class_deletes_of_itself() -> None:
    source = (
        "from __future__ import annotations\nfrom attrs import define\n\n\n"
        "class Reader:\n    def close(self) -> None:\n        del self.parser, self.rows[0]\n\n\n"
        "@define\nclass Row:\n    a: int\n\n    def drop(self) -> None:\n        del self.a\n"
    )
    written = ast.parse(plain_classes(source))
    told = {
        node.name: ast.unparse(each.value)
        for node in written.body
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "__deletable__"
    }
    assert told == {"Reader": "['parser']", "Row": "['a']"}


def test_the_compiler_is_told_which_classes_are_values_and_which_are_open() -> None:
    told = "@_mypyc_attr(acyclic=True)"
    everything = plain_classes(SOURCE, values=None).splitlines()
    after = {everything[i + 1] for i, line in enumerate(everything) if line == told}
    assert after == {"class Message:", "class Value:", "class Machine:"}
    one = plain_classes(SOURCE, values=frozenset({"Value"}), open_classes=frozenset({"Machine"}))
    assert f"{told}\nclass Value:" in one
    assert one.count(told) == 1
    assert "@_mypyc_attr(allow_interpreted_subclasses=True)\nclass Machine:" in one


def test_a_module_without_a_future_import_may_have_values_too() -> None:
    source = "from typing import Final\n\nA: Final = 1\n\n\nclass B:\n    pass\n"
    written = plain_classes(source, values=frozenset({"B"}))
    assert written.splitlines()[0].startswith("from typing import Final; from mypy_extensions")

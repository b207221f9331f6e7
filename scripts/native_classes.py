"""attrs classes as plain ones, of which mypyc makes native classes.

mypyc (https://mypyc.readthedocs.io) makes a native class, with its attributes in a C struct and
calls between methods that look nothing up, of any class but one with decorators that it does not
know. ``attrs.define`` and ``attrs.frozen`` are of those. `plain_classes` takes the source of a
module and writes out for each attrs class what the decorator would have made at run time:
``__init__``, ``__eq__``, ``__hash__`` and ``__repr__``.

What a plain class does not do as its model does: nobody keeps others from setting attributes of a
frozen one, and an object of a subclass may equal one of its parent. mypy has checked the first
before, and nothing here subclasses a value.

Other decorators of such a class are applied after it, for mypyc does not know them either.
``attrs.fields``, ``evolve`` and ``asdict`` work as ever: the class gets the description that they
read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["DESCRIBER", "NotPlainError", "plain_classes"]

_KNOWN_OPTIONS = {"eq", "frozen", "kw_only", "repr", "slots"}

DESCRIBER = '''\
"""Gives plain classes the description by which attrs knows its own."""

import importlib
import sys
from typing import Any

attrs: Any = importlib.import_module("attrs")


def describe(cls: Any, fields: tuple[tuple[str, str, str, str], ...]) -> None:
    """Name, annotation, default and factory of each field, as they were written."""
    scope = vars(sys.modules[cls.__module__])
    made: dict[str, Any] = {}
    for name, annotation, default, factory in fields:
        if factory:
            made[name] = attrs.field(type=annotation, factory=eval(factory, scope))
        elif default:
            made[name] = attrs.field(type=annotation, default=eval(default, scope))
        else:
            made[name] = attrs.field(type=annotation)
    twin = attrs.make_class(cls.__name__, made, init=False, repr=False, eq=False, slots=False)
    cls.__attrs_attrs__ = attrs.fields(twin)
    cls.__annotations__ = {name: annotation for name, annotation, _, _ in fields}
'''


class NotPlainError(Exception):
    """An attrs class uses what this module does not know to write out."""


class _Field(NamedTuple):
    name: str
    annotation: str
    default: str
    factory: str
    is_shown: bool

    @property
    def argument(self) -> str:
        return self.name.lstrip("_")


def plain_classes(
    source: str,
    *,
    open_classes: frozenset[str] = frozenset(),
    values: frozenset[str] | None = frozenset(),
) -> str:
    """The source of a module with its attrs classes written out.

    Classes named in ``open_classes`` may be subclassed by interpreted code. What those named in
    ``values`` hold never leads back to them, so Python's collector of cycles need not look at
    them; None stands for all attrs classes of the module.

    Raises:
        NotPlainError: of a class that uses more of attrs than is known here.
    """
    lines = source.splitlines()
    tree = ast.parse(source)
    described = False
    for node in reversed([n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]):
        maker = next((d for d in node.decorator_list if _name(d) in ("define", "frozen")), None)
        if maker is not None:
            _write_out(lines, node, maker)
            described = True
        deleted = _deleted(node)
        if deleted:
            # Before what was written out, which ends with lines after the class.
            indent = " " * (node.col_offset + 4)
            lines.insert(node.end_lineno or 0, f"{indent}__deletable__ = {deleted}")
        is_value = maker is not None if values is None else node.name in values
        for told, is_so in (
            ("allow_interpreted_subclasses", node.name in open_classes), ("acyclic", is_value)
        ):  # fmt: skip
            if is_so:
                indent = " " * node.col_offset
                lines.insert(node.lineno - 1, f"{indent}@_mypyc_attr({told}=True)")
    imports = ""
    if described:
        imports += "from typing import ClassVar as _ClassVar; "
        imports += "from _sadik_described import describe as _describe; "
    if any(line.lstrip().startswith("@_mypyc_attr") for line in lines):
        imports += "from mypy_extensions import mypyc_attr as _mypyc_attr; "
    first = next((n for n in tree.body if isinstance(n, ast.ImportFrom)), None)
    if imports:
        # On a line that there is, so that a traceback shows the lines of the source.
        assert first is not None, "a module of classes begins with imports of names"
        lines[(first.end_lineno or 0) - 1] += f"; {imports.rstrip('; ')}"
    return "\n".join(lines) + "\n"


def _name(decorator: ast.expr) -> str:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def _deleted(node: ast.ClassDef) -> list[str]:
    """The attributes that a class deletes of itself, which mypyc wants to be told of."""
    return sorted({
        target.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Delete)
        for target in each.targets
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
    })  # fmt: skip


def _write_out(lines: list[str], node: ast.ClassDef, maker: ast.expr) -> None:
    """Edit the lines of one class, from its end to its beginning."""
    options = _options(node, maker)
    has_repr = options.get("repr", True)
    fields = list(_fields(node, is_shown=has_repr))
    defined = {n.name for n in node.body if isinstance(n, ast.FunctionDef)}
    indent = " " * (node.col_offset + 4)
    added = [f"__match_args__: _ClassVar = ({''.join(f'{f.name!r}, ' for f in fields)})"]
    added += _init(
        fields, kw_only=options.get("kw_only", False), then="__attrs_post_init__" in defined
    )
    if options.get("eq", True) and "__eq__" not in defined:
        added += _eq(node.name, fields)
        is_frozen = _name(maker) == "frozen" or options.get("frozen", False)
        if is_frozen and "__hash__" not in defined:
            added += ["def __hash__(self) -> int:", f"    return hash({_tuple_of('self', fields)})"]
    if has_repr and "__repr__" not in defined:
        added += _repr(node.name, fields)
    spec = "".join(
        f"({f.name!r}, {f.annotation!r}, {f.default!r}, {f.factory!r}), " for f in fields
    )
    after = [f"_describe({node.name}, ({spec}))"]
    others = [d for d in node.decorator_list if d is not maker]
    after += [f"{ast.unparse(other)}({node.name})" for other in reversed(others)]
    end = node.end_lineno or 0
    lines[end:end] = [
        *(f"{indent}{line}" for line in added),
        *(" " * node.col_offset + a for a in after),
    ]
    for each in node.body:
        if (
            isinstance(each, ast.AnnAssign)
            and each.value is not None
            and not _is_class_variable(each)
        ):
            _drop_value(lines, each)
    for decorator in node.decorator_list:
        for number in range(decorator.lineno, (decorator.end_lineno or 0) + 1):
            lines[number - 1] = ""


def _options(node: ast.ClassDef, maker: ast.expr) -> dict[str, bool]:
    found = {}
    for option in maker.keywords if isinstance(maker, ast.Call) else []:
        if option.arg not in _KNOWN_OPTIONS or not isinstance(option.value, ast.Constant):
            raise NotPlainError(f"{node.name}: {_name(maker)}({option.arg}=...)")
        found[option.arg] = bool(option.value.value)
    return found


def _is_class_variable(each: ast.AnnAssign) -> bool:
    return "ClassVar" in ast.unparse(each.annotation)


def _fields(node: ast.ClassDef, *, is_shown: bool) -> Iterator[_Field]:
    for each in node.body:
        if not isinstance(each, ast.AnnAssign) or _is_class_variable(each):
            continue
        assert isinstance(each.target, ast.Name)
        name, annotation, value = each.target.id, ast.unparse(each.annotation), each.value
        if isinstance(value, ast.Call) and _name(value) == "Factory":
            yield _Field(name, annotation, "", ast.unparse(value.args[0]), is_shown)
        elif isinstance(value, ast.Call) and _name(value) == "field":
            given = {option.arg: option.value for option in value.keywords}
            unknown = set(given) - {"default", "factory", "repr"}
            if unknown:
                raise NotPlainError(f"{node.name}.{name}: field({', '.join(map(str, unknown))})")
            texts = {key: ast.unparse(what) for key, what in given.items()}
            yield _Field(
                name, annotation, texts.get("default", ""), texts.get("factory", ""),
                is_shown and texts.get("repr") != "False",
            )  # fmt: skip
        else:
            yield _Field(name, annotation, ast.unparse(value) if value else "", "", is_shown)


def _init(fields: list[_Field], *, kw_only: bool, then: bool) -> Iterator[str]:
    """A default that is more than a literal or a name is made anew, as a factory's value is: mypyc
    knows the members of enumerations as numbers, and stumbles over those as defaults.
    """
    parameters, body = ["self", *(["*"] if kw_only else [])], []
    for each in fields:
        argument = each.argument
        made = f"{each.factory}()" if each.factory else each.default
        if each.factory or (each.default and not _is_simple(each.default)):
            parameters.append(f"{argument}: ({each.annotation}) | None = None")
            body.append(f"self.{each.name} = {made} if {argument} is None else {argument}")
        else:
            default = f" = {each.default}" if each.default else ""
            parameters.append(f"{argument}: {each.annotation}{default}")
            body.append(f"self.{each.name} = {argument}")
    if then:
        body.append("self.__attrs_post_init__()")
    yield f"def __init__({', '.join(parameters)}) -> None:"
    for line in body or ["pass"]:
        yield f"    {line}"


def _is_simple(default: str) -> bool:
    value = ast.parse(default, mode="eval").body
    return isinstance(value, ast.Constant | ast.Name) or default in ("()", "-1")


def _eq(name: str, fields: list[_Field]) -> Iterator[str]:
    yield "def __eq__(self, other: object) -> bool:"
    yield f"    if not isinstance(other, {name}):"
    yield "        return NotImplemented"
    yield f"    return {' and '.join(f'self.{f.name} == other.{f.name}' for f in fields) or True}"


def _repr(name: str, fields: list[_Field]) -> Iterator[str]:
    shown = ", ".join(f"{f.name}={{self.{f.name}!r}}" for f in fields if f.is_shown)
    yield "def __repr__(self) -> str:"
    yield f"    return f'{name}({shown})'"


def _tuple_of(owner: str, fields: list[_Field]) -> str:
    return f"({''.join(f'{owner}.{f.name}, ' for f in fields)})"


def _drop_value(lines: list[str], field: ast.AnnAssign) -> None:
    """Leave the annotation, for the type of the attribute, and take the value away."""
    assert field.value is not None
    head = field.annotation.end_col_offset or 0
    last = (field.end_lineno or 0) - 1
    tail = lines[last].encode()[field.end_col_offset :].decode()
    first = (field.annotation.end_lineno or 0) - 1
    lines[first] = lines[first].encode()[:head].decode() + tail
    for number in range(first + 1, last + 1):
        lines[number] = ""

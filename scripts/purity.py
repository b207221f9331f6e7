"""Purity: a machine's step depends on its arguments alone, so one seed gives one trace.

The pure packages decide and never act. What would make a step depend on anything else (a clock,
the operating system, another thread, the process's hash seed) is looked for in their syntax
trees, one rule a kind:

- ``import``: a module that does I/O, waits, starts threads or tells the time;
- ``impure-module``: the modules of ``IMPURE_MODULES``, which other pure modules must not import;
- ``async``: coroutines, which belong to the hosts;
- ``random``: anything of ``random`` but a seeded ``random.Random``;
- ``clock``: ``datetime.now`` and its like;
- ``io``: the builtins that reach outside (``open``, ``input``, ``exec`` ...);
- ``hash``: ``hash()`` and ``id()``, which differ from one process to the next;
- ``set-order``: taking the members of a set one by one where their order can show.

``set-order`` knows a set by its display, its constructor, set algebra, or an annotation in the
same module (``set[int]`` is free: integers hash to themselves). It does not see through calls
into other modules, nor ties in ``sorted(..., key=...)``; running under several values of
``PYTHONHASHSEED`` is the test for those. A line whose order truly does not matter says why in a
comment: ``# set-order: <reason>``.

Run as ``python scripts/purity.py``: prints ``path:line: rule: what`` a finding, exits 1 if any.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PURE_PACKAGES = (
    "sadik-machine",
    "sadik-hashing",
    "sadik-causality",
    "sadik-members",
    "sadik-register",
    "sadik-client",
    "sadik-vnode",
)

# Each with its reason; "pkg.module" stands for everything below it too.
IMPURE_MODULES = {
    "sadik_client.async_api": "the operations of the client's async shells",
    "sadik_client.asyncio": "performs the client's actions on asyncio",
    "sadik_client.blocking": "performs the client's actions on blocking sockets",
    "sadik_client.shell": "reads what the client's shells are made with",
    "sadik_client.trio": "performs the client's actions on trio",
    "sadik_hashing.balance": "a command line over the pure claim solver",
    "sadik_members.messenger": "moves a machine's messages over a comms stream",
}

BANNED_IMPORTS = frozenset(
    {
        "_thread",
        "anyio",
        "asyncio",
        "concurrent",
        "contextvars",
        "ctypes",
        "fcntl",
        "http",
        "lmdb",
        "mmap",
        "multiprocessing",
        "os",
        "pathlib",
        "prometheus_client",
        "queue",
        "resource",
        "sadik_comms",
        "sadik_metrics",
        "sadik_node",
        "sadik_storage",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "trio",
        "urllib",
        "uuid",
    }
)
BANNED_BUILTINS = frozenset({"open", "input", "exec", "eval", "breakpoint", "__import__"})
CLOCK_METHODS = frozenset({"now", "utcnow", "today"})
SET_CONSTRUCTORS = frozenset({"set", "frozenset"})
SET_ANNOTATIONS = frozenset({"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"})
SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
# Calls that take the members one by one and keep or show their order.
ORDERED_CALLS = frozenset(
    {
        "list",
        "tuple",
        "iter",
        "enumerate",
        "zip",
        "map",
        "filter",
        "reversed",
        "chain",
        "islice",
        "deque",
    }
)
ORDERED_METHODS = frozenset({"join", "extend", "fromkeys"})
# Calls to which the order of a comprehension inside does not matter.
ORDER_FREE_CALLS = frozenset(
    {"sorted", "any", "all", "sum", "min", "max", "set", "frozenset", "len"}
)


class Finding(NamedTuple):
    """One broken rule at one place."""

    path: Path
    line: int
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.what}"


def find_impurities(root: Path) -> list[Finding]:
    """Check every module of the pure packages under ``root``, the workspace."""
    findings: list[Finding] = []
    for package in PURE_PACKAGES:
        source = root / "packages" / package / "src"
        for path in sorted(source.rglob("*.py")):
            name = ".".join(path.relative_to(source).with_suffix("").parts)
            name = name.removesuffix(".__init__")
            if not _is_impure(name):
                findings += find_module_impurities(path.relative_to(root), path.read_text("utf-8"))
    return findings


def find_module_impurities(path: Path, text: str) -> list[Finding]:
    """Check one module's text; ``path`` is for the findings only."""
    lines = text.splitlines()
    tree = ast.parse(text, str(path))
    checker = _Checker(tree)
    checker.visit(tree)
    return sorted(
        Finding(path, line, rule, what)
        for line, rule, what in checker.found
        if not (rule == "set-order" and "# set-order: " in lines[line - 1])
    )


def _is_impure(name: str) -> bool:
    return any(name == impure or name.startswith(impure + ".") for impure in IMPURE_MODULES)


def _name_of(node: ast.expr | None) -> str:
    """Return the last name of a dotted expression, "" for any other."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _is_set_annotation(node: ast.expr | None) -> bool:
    match node:
        case ast.Subscript(value=value, slice=element):
            return _name_of(value) in SET_ANNOTATIONS and _name_of(element) != "int"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_set_annotation(left) or _is_set_annotation(right)
        case ast.Constant(value=str(text)):
            return _is_set_annotation(ast.parse(text, mode="eval").body)
        case _:
            return _name_of(node) in SET_ANNOTATIONS


def _is_int_display(node: ast.expr) -> bool:
    return isinstance(node, ast.Set) and all(
        isinstance(item, ast.Constant) and isinstance(item.value, int) for item in node.elts
    )


class _Checker(ast.NodeVisitor):
    """Walks one module, with the set-typed names of the scopes around the present node."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[tuple[int, str, str]] = []
        self._order_free: list[ast.AST] = []
        self._in_hash_method = False
        self._attributes: dict[str, bool] = {}
        self._returns_set: dict[str, bool] = {}
        for node in ast.walk(tree):
            match node:
                case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=annotation):
                    self._attributes[name] = _is_set_annotation(annotation)
                case ast.ClassDef(body=body):
                    for field in body:
                        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                            is_set = _is_set_annotation(field.annotation)
                            self._attributes[field.target.id] = is_set
                case ast.FunctionDef(name=name, returns=returns):
                    self._returns_set[name] = _is_set_annotation(returns)
                case _:
                    pass
        self._scopes: list[dict[str, bool]] = [{}]
        self._learn(tree.body)

    def _report(self, node: ast.stmt | ast.expr, rule: str, what: str) -> None:
        self.found.append((node.lineno, rule, what))

    # What is a set.

    def _learn(self, body: list[ast.stmt]) -> None:
        """Note which names of the innermost scope hold sets, before looking at their uses."""
        for statement in body:
            for node in _walk_scope(statement):
                match node:
                    case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation):
                        self._scopes[-1][name] = _is_set_annotation(annotation)
                    case ast.Assign(targets=targets, value=value):
                        for target in targets:
                            if isinstance(target, ast.Name) and self._is_set(value):
                                self._scopes[-1].setdefault(target.id, True)
                    case ast.NamedExpr(target=target, value=value) if self._is_set(value):
                        self._scopes[-1].setdefault(target.id, True)
                    case _:
                        pass

    def _is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set():
                return not _is_int_display(node)
            case ast.SetComp():
                return True
            case ast.Name(id=name):
                return next((s[name] for s in reversed(self._scopes) if name in s), False)
            case ast.Attribute(attr=name):
                return self._attributes.get(name, False)
            case ast.Call(func=ast.Name(id=name), args=args) if name in SET_CONSTRUCTORS:
                return not (args and (_is_int_display(args[0]) or _is_range(args[0])))
            case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in SET_METHODS:
                return self._is_set(value)
            case ast.Call(func=func):
                return self._returns_set.get(_name_of(func), False)
            case ast.BinOp(left=left, op=op, right=right):
                is_algebra = isinstance(op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor)
                sides = (left, right)
                return is_algebra and any(self._is_set(side) or _is_view(side) for side in sides)
            case ast.IfExp(body=body, orelse=orelse):
                return self._is_set(body) or self._is_set(orelse)
            case _:
                return False

    def _check_order(self, node: ast.expr, taken: ast.expr, how: str) -> None:
        if self._is_set(taken):
            what = f"{how} takes a set's members in hash order; sort them first"
            self._report(node, "set-order", what)

    # Scopes.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        self._scopes.append({a.arg: _is_set_annotation(a.annotation) for a in arguments})
        self._learn(node.body)
        before, self._in_hash_method = self._in_hash_method, node.name == "__hash__"
        self.generic_visit(node)
        self._in_hash_method = before
        self._scopes.pop()

    # Rules, one node type each.

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._check_import(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self._check_import(node, module)
        for alias in node.names:
            if _is_impure(f"{module}.{alias.name}") and not _is_impure(module):
                self._check_import(node, f"{module}.{alias.name}")
            if module == "random" and alias.name != "Random":
                self._report(node, "random", f"random.{alias.name} is not a seeded random.Random")
            if (module, alias.name) == ("io", "open"):
                self._report(node, "io", "io.open reaches outside")

    def _check_import(self, node: ast.stmt, module: str) -> None:
        if module.partition(".")[0] in BANNED_IMPORTS:
            self._report(node, "import", f"{module} has no place in a pure package")
        if _is_impure(module):
            self._report(node, "impure-module", f"{module} is for the hosts")

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await):
            self._report(node, "async", "waiting is the host's business")
        super().generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        match node:
            case ast.Attribute(value=ast.Name(id="random"), attr=name) if name != "Random":
                self._report(node, "random", f"random.{name} is not a seeded random.Random")
            case ast.Attribute(value=value, attr=name) if name in CLOCK_METHODS:
                if _name_of(value) in ("datetime", "date"):
                    self._report(node, "clock", f"{name} reads the clock; time is an argument")
            case ast.Attribute(value=ast.Name(id="io"), attr="open"):
                self._report(node, "io", "io.open reaches outside")
            case _:
                pass
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _name_of(node.func)
        is_method = isinstance(node.func, ast.Attribute)
        if not is_method and name in BANNED_BUILTINS:
            self._report(node, "io", f"{name}() reaches outside")
        if not is_method and name in ("hash", "id") and not self._in_hash_method:
            self._report(node, "hash", f"{name}() differs from one process to the next")
        if name == "Random" and not node.args and not node.keywords:
            self._report(node, "random", "Random() without a seed takes one from the system")
        if name in (ORDERED_METHODS if is_method else ORDERED_CALLS):
            for argument in node.args:
                self._check_order(node, argument, f"{name}()")
        if name == "pop" and isinstance(node.func, ast.Attribute) and not node.args:
            self._check_order(node, node.func.value, "pop()")
        if name in ("min", "max") and any(keyword.arg == "key" for keyword in node.keywords):
            for argument in node.args:
                self._check_order(node, argument, f"{name}() with a key that may tie")
        elif not is_method and name in ORDER_FREE_CALLS:
            self._order_free += node.args
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._check_order(node, node.value, "unpacking")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
            self._check_order(node.value, node.value, "unpacking")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._check_order(node.iter, node.iter, "the loop")
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self._check_comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        self._check_comprehension(node)

    def visit_DictComp(self, node: ast.DictComp) -> None:
        self._check_comprehension(node)

    def _check_comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        if not any(node is free for free in self._order_free):
            for generator in node.generators:
                self._check_order(generator.iter, generator.iter, "the comprehension")
        self.generic_visit(node)


def _is_range(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _name_of(node.func) == "range"


def _is_view(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("keys", "items")
    )


def _walk_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Walk like ``ast.walk``, but not into the scopes of functions and classes inside."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk_scope(child)


def main() -> int:
    """Check the workspace that this file lies in."""
    findings = find_impurities(Path(__file__).resolve().parent.parent)
    for finding in findings:
        print(finding)
    if not findings:
        print(f"purity: kept by {', '.join(PURE_PACKAGES)}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

"""How the house is built: rooms import only what lies below them, and functions stay small at the door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fpstate

ROOT = Path(fpstate.__file__).parent
BELOW = {  # what each room may import beside itself and what is used everywhere
    "world": set(),
    "policies": {"world"},
    "rows": {"world", "policies"},
    "paths": {"world", "policies", "rows"},
    "costs": {"world"},
    "traces": {"world", "paths"},
    "replay": {"world", "policies", "rows", "traces", "costs"},
    "check": {"world", "policies", "rows", "paths"},
    "search": {"world", "policies", "rows", "paths", "traces", "costs", "replay", "check"},
    "machine": {"world", "policies", "rows", "paths", "traces"},
    "pictures": {"world", "policies", "costs", "traces", "replay", "check", "paths"},
    "lab": set(),
    "kernel": {"world", "policies", "rows", "lab"},
    "fleet": {
        *("world", "policies", "rows", "paths", "costs", "traces", "replay", "check", "search", "machine", "kernel"),
        *("named", "api"),
    },
}
EVERYWHERE = {"code_cache", "emulator", "errors", "files", "jit", "notebook", "structs", "users", "watch"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of the package by name."""
    for file in sorted(ROOT.rglob("*.py")):
        name = ".".join(("fpstate", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        yield name, ast.parse(file.read_text())


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of the package that a tree imports, wherever it does so except for types alone."""
    for_types = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    left_out = {id(inner) for block in for_types for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fpstate"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("fpstate."))


def test_rooms_import_only_what_lies_below_them() -> None:
    """No engine imports another, and nothing imports upwards."""
    for name, tree in modules():
        room = (*name.split("."), "")[1]
        if room not in BELOW:
            continue
        allowed = BELOW[room] | EVERYWHERE | {room}
        strangers = {other for other in imported(tree) if other.split(".")[1] not in allowed}
        assert not strangers, f"{name} imports {sorted(strangers)}"


def test_there_is_no_circle_of_imports() -> None:
    """No module imports itself by way of others, late imports included."""
    trees = dict(modules())
    graph = {
        name: {other if other in trees else other.rpartition(".")[0] for other in imported(tree)} & set(trees)
        for name, tree in trees.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name] - {name}):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_no_function_takes_more_than_seven_parameters() -> None:
    """Nor is a module called by one letter."""
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                a = node.args
                count = len(a.posonlyargs) + len(a.args) + len(a.kwonlyargs)
                count -= any(argument.arg == "self" for argument in a.args[:1])
                assert count <= 7, f"{name}.{node.name}"
            elif isinstance(node, ast.Import | ast.ImportFrom):
                assert all(len(alias.asname or "as") > 1 for alias in node.names), name

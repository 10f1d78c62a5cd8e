"""Single edits of a policy's handlers and functions: a statement more, one less, two swapped, a condition turned."""

from __future__ import annotations

import ast
import copy
import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from fpstate.policies.base import Policy
from fpstate.rows.fields import Fields
from fpstate.rows.handlers import EVENTS

TASKS = ("task", "next", "child", "tracee")
CONTEXTS = (*TASKS, "vcpu")
CPU_WORDS = ("save", "load", "save_sve", "load_sve", "set_vl", "widen", "narrow", "frame_sve")
"""What a CPU can be asked to do with a context. To overwrite its state would mend a fault by giving it another."""
CPU_ALONE = ("isb", "zero_sve", "smstop", "drop_sve")


@dataclass(frozen=True)
class Method:
    """A method as some class of a policy declares it."""

    name: str
    owner: type[Policy]
    function: Callable[..., Any]

    @property
    def where(self) -> str:
        """File and line at which it begins."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


@dataclass(frozen=True)
class Edit:
    """A method changed in one place: what was done, the policy that has it, and the method's text before and after."""

    method: Method
    what: str
    policy: type[Policy]
    before: str
    after: str

    def difference(self) -> list[str]:
        """Return the method's lines, what is gone with a "-" before it and what is new with a "+"."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), n=99, lineterm="")
        return list(lines)[3:]


def edits(policy: type[Policy], method: Method) -> Iterator[Edit]:
    """Yield each single edit of a method; none of one that was made without a file."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(method.function))))
    except (OSError, TypeError, SyntaxError):
        return
    function = cast("ast.FunctionDef", tree.body[0])
    scope = [a.arg for a in function.args.args if a.arg != "self"]
    text = ast.unparse(tree)
    for what, changed in _changed(function, list(_vocabulary(policy, method.name, scope))):
        after = ast.unparse(changed)
        if after != text:
            yield Edit(method, what, _made(policy, method, changed), text, after)


def _changed(function: ast.FunctionDef, vocabulary: list[ast.stmt]) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Yield the function with one change, and what that is."""
    for number, block in enumerate(_blocks(function)):
        begin = int(bool(block and isinstance(block[0], ast.Expr) and isinstance(block[0].value, ast.Constant)))
        for i in range(begin, len(block)):
            there = _first_line(block[i])
            yield f"drop `{there}`", _with(function, number, (i, i + 1), [])
            if i + 1 < len(block):
                yield f"swap `{there}` and what follows", _with(function, number, (i, i + 2), [block[i + 1], block[i]])
            if isinstance(block[i], ast.If):
                yield from _turned(function, number, i, cast("ast.If", block[i]))
        for i in range(begin, len(block) + 1):
            at = f"before `{_first_line(block[i])}`" if i < len(block) else "at the end"
            for statement in vocabulary:
                yield f"add `{ast.unparse(statement)}` {at}", _with(function, number, (i, i), [statement])


def _turned(function: ast.FunctionDef, number: int, i: int, there: ast.If) -> Iterator[tuple[str, ast.FunctionDef]]:
    test = ast.unparse(there.test)
    for text in (f"not ({test})", "True"):
        turned = ast.If(ast.parse(text, mode="eval").body, there.body, there.orelse)
        yield f"`if {text}` for `if {test}`", _with(function, number, (i, i + 1), [turned])


def _blocks(function: ast.FunctionDef) -> list[list[ast.stmt]]:
    """Return the function's blocks of statements, its own first."""
    inner = (node for node in ast.walk(function) if node is not function)
    nested = (getattr(node, part, None) for node in inner for part in ("body", "orelse"))
    return [function.body, *(block for block in nested if isinstance(block, list) and block)]


def _with(function: ast.FunctionDef, number: int, place: tuple[int, int], by: list[ast.stmt]) -> ast.FunctionDef:
    """Return the function with other statements at a place, from and to (exclusive), in one of its blocks."""
    changed = copy.deepcopy(function)
    block = _blocks(changed)[number]
    block[slice(*place)] = copy.deepcopy(by)
    if not block:
        block.append(ast.Pass())
    return changed


def _first_line(statement: ast.stmt) -> str:
    return ast.unparse(statement).split("\n", 1)[0]


def _vocabulary(policy: type[Policy], method: str, scope: list[str]) -> Iterator[ast.stmt]:
    """Yield what could be written in a method that has these names in view."""
    contexts = [name for name in CONTEXTS if name in scope]
    texts = list(_calls(policy, method, scope, contexts))
    if "cpu" in scope:
        texts += [f"cpu.{word}({x})" for word in CPU_WORDS for x in contexts]
        texts += [f"cpu.{word}()" for word in CPU_ALONE]
    texts += _assignments(policy, scope, contexts)
    for text in dict.fromkeys(texts):
        yield ast.parse(text).body[0]


def _calls(policy: type[Policy], method: str, scope: list[str], contexts: list[str]) -> Iterator[str]:
    """Yield calls of the policy's own functions, with whoever fits; the function's own among what is above it."""
    tasks = [name for name in TASKS if name in scope]
    for name, function in inspect.getmembers(policy, inspect.isfunction):
        plain = inspect.unwrap(function)
        if name in EVENTS or name.startswith("_") or name == method or inspect.isgeneratorfunction(plain):
            continue
        arguments = [p.name for p in list(inspect.signature(plain).parameters.values())[1:]]
        fits = {"task": tasks, "x": contexts, "context": contexts}
        ways: list[list[str]] = [[]]
        for argument in arguments:
            ways = [[*way, one] for way in ways for one in fits.get(argument, [argument] if argument in scope else [])]
        yield from (f"self.{name}({', '.join(way)})" for way in ways if arguments)


def _assignments(policy: type[Policy], scope: list[str], contexts: list[str]) -> Iterator[str]:
    kinds = {"cpu": "Cpu", "vcpu": "Vcpu"} | dict.fromkeys(TASKS, "Task")
    lists = Fields(policy).lists
    for name in [n for n in ("cpu", *CONTEXTS) if n in scope]:
        for f in lists[kinds[name]]:
            if name == "cpu" and f.name in ("sm", "za", "dirty"):
                continue
            if f.pointer:
                others = contexts if f.pointer == "context" else [n for n in ("cpu",) if n in scope]
                yield from (f"{name}.{f.name} = {value}" for value in ("None", *others))
            elif all(isinstance(v, bool | Enum) for v in f.values):
                yield from (f"{name}.{f.name} = {v}" for v in f.values)


def _made(policy: type[Policy], method: Method, changed: ast.FunctionDef) -> type[Policy]:
    """Return the policy with the changed method; `super()` means in it what it meant before."""
    tree = ast.fix_missing_locations(ast.Module([_AsBefore().visit(copy.deepcopy(changed))], []))
    enums = {type(v).__name__: type(v) for fs in Fields(policy).lists.values() for f in fs for v in f.values}
    names = {n: e for n, e in enums.items() if issubclass(e, Enum)}
    known = names | inspect.unwrap(method.function).__globals__ | {OWNER: method.owner}
    exec(compile(tree, inspect.getfile(inspect.unwrap(method.function)), "exec"), known)  # noqa: S102 - our own text
    about = {"name": policy.name, "__module__": policy.__module__, "__doc__": policy.__doc__}
    return cast("type[Policy]", type(policy.__name__, (policy,), about | {method.name: known[changed.name]}))


OWNER = "_declared_by"


class _AsBefore(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
            node.args = [ast.Name(OWNER, ast.Load()), ast.Name("self", ast.Load())]
        return node

"""`fpstate check`: no order of events corrupts or leaks, or here is the shortest that does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli.options import takes

if TYPE_CHECKING:
    from rich.table import Table

    from fpstate.check.run import Result
    from fpstate.cli.run import Given as RunGiven
    from fpstate.paths.scope import Scope
    from fpstate.paths.tell import Path, Step
    from fpstate.policies.base import Policy

EXIT_CODES = {"holds": 0, "violated": 1, "not reached": 3, "incomplete": 3}


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    policy: Annotated[str, typer.Argument(help="A policy by name, or FILE.py:CLASS.")]
    cpus: Annotated[int | None, typer.Option(help="CPUs.  [default: 2]", show_default=False)] = None
    tasks: Annotated[int | None, typer.Option(help="User tasks.  [default: 2]", show_default=False)] = None
    vcpus: Annotated[
        int | None, typer.Option(help="vCPUs.  [default: what finishes in seconds]", show_default=False)
    ] = None
    kthreads: Annotated[int, typer.Option(help="Kernel threads beside the idle ones.")] = 0
    plain_vcpus: Annotated[int, typer.Option(help="So many of the vCPUs have V alone.")] = 0
    boot: Annotated[str, typer.Option(help="Registers at the start: unknown, or initial.")] = "unknown"
    events: Annotated[
        str | None,
        typer.Option(
            help="Events or groups, by comma; '-name' takes one away; 'list' lists.  [default: all; sve: no ptrace]",
            show_default=False,
        ),
    ] = None
    properties: Annotated[
        list[str] | None, typer.Option("--property", help="A property; all end-to-end ones if none; 'list' lists them.")
    ] = None
    features: Annotated[
        str, typer.Option(help="Registers beside FPSIMD, and nvhe, barriers; by comma; 'list' lists them.")
    ] = ""
    max_states: Annotated[int, typer.Option(help="Give up (incomplete) beyond this many states.", min=1)] = 100_000_000
    cores: Annotated[int, typer.Option(help="1 or 2; the result is the same.", min=1, max=2)] = 2
    fold: Annotated[bool, typer.Option(help="Treat worlds that differ only in names as one.")] = True
    path: Annotated[str | None, typer.Option(help="Follow a path by its code instead of searching.")] = None
    pytest: Annotated[bool, typer.Option("--pytest", help="Print the counterexample as a pytest function.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.check/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Try every order of events in a scope: it holds, or the shortest path that breaks a property is shown.

    Exit codes: 0 holds, 1 violated, 3 incomplete (a bound was reached) or not reached (nothing was shown).

    Example: fpstate check defer-to-put
    """
    from fpstate.cli.output import compiling_notice, print_json
    from fpstate.policies.base import with_features
    from fpstate.policies.catalogue import find_policy

    if given.events == "list" or given.properties == ["list"]:
        _list(given.events == "list", given.json)
        return
    if given.features == "list":
        _list_features(given.json)
        return
    policy = with_features(find_policy(given.policy), _words(given.features))
    scope = scope_of(policy, given)
    compiling_notice("checker")
    result = _result_for(policy, scope, given)
    if given.json:
        print_json("fpstate.check/1", result.to_json())
    elif given.pytest and result.path:
        typer.echo(_as_pytest(given.policy, result))
    else:
        _show(given.policy, result)
    raise typer.Exit(EXIT_CODES[result.verdict])


def _words(given: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in given.split(",") if word.strip())


def scope_of(policy: type[Policy], given: Given | RunGiven) -> Scope:
    """Return the scope the options name; what they leave open is the policy's default."""
    from fpstate.paths.scope import Scope, policy_scope

    default = policy_scope(policy)
    return Scope(
        default.cpus if given.cpus is None else given.cpus,
        default.tasks if given.tasks is None else given.tasks,
        default.vcpus if given.vcpus is None else given.vcpus,
        given.kthreads,
        default.events if given.events is None else _words(given.events),
        given.boot,
        given.plain_vcpus,
    )


def _result_for(policy: type[Policy], scope: Scope, given: Given) -> Result:
    from fpstate.check.run import check, replay_path
    from fpstate.paths.properties import DEFAULT

    wanted = tuple(given.properties or DEFAULT)
    if given.path is not None:
        return replay_path(policy, scope, given.path, properties=wanted)
    with _progress() as progress:
        return check(
            policy,
            scope,
            properties=wanted,
            max_states=given.max_states,
            cores=given.cores,
            fold=given.fold,
            progress=progress,
        )


@contextmanager
def _progress() -> Iterator[Callable[[int, int, int], None]]:
    """Show states, rate, frontier and depth on stderr, if that is a terminal and it takes long."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    began = last = time.monotonic()

    def show(states: int, waiting: int, depth: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.5:
            last = now
            rate = states / (now - began) / 1e6
            sys.stderr.write(f"\r\x1b[K{states:,} states, {rate:.2f} M/s, {waiting:,} waiting, depth {depth}")
            sys.stderr.flush()

    yield show
    sys.stderr.write("\r\x1b[K")


def _list(events: bool, json: bool) -> None:
    from rich.table import Table

    from fpstate.cli.output import console, print_json
    from fpstate.paths.properties import PROPERTIES
    from fpstate.paths.scope import GROUPS, KIND_NAMES

    if json:
        groups = {name: [KIND_NAMES[k] for k in kinds] for name, kinds in GROUPS.items()}
        about = {p.name: {"broken_when": p.broken_when, "end_to_end": p.end_to_end} for p in PROPERTIES.values()}
        print_json("fpstate.check-list/1", {"groups": groups} if events else {"properties": about})
        return

    if events:
        table = Table("group", "events")
        for name, kinds in GROUPS.items():
            table.add_row(name, ", ".join(KIND_NAMES[k] for k in kinds))
    else:
        table = Table("property", "broken when", "makes a policy wrong")
        for p in PROPERTIES.values():
            table.add_row(p.name, p.broken_when, "yes" if p.end_to_end else "no")
    console().print(table)


def _list_features(json: bool) -> None:
    from rich.table import Table

    from fpstate.cli.output import console, print_json
    from fpstate.policies.base import FEATURES

    if json:
        print_json("fpstate.check-list/1", {"features": FEATURES})
        return
    table = Table("feature", "the world then has")
    for name, meaning in FEATURES.items():
        table.add_row(name, meaning)
    console().print(table)


def _show(policy: str, result: Result) -> None:
    from fpstate.cli.output import console

    out = console()
    beyond = f"; features: {','.join(result.features)}" if result.features else ""
    out.print(f"{result.policy}: {result.scope.describe()}{beyond}", highlight=False)
    if result.path:
        _show_path(policy, result.path, result)
    colour = {"holds": "bold green", "violated": "bold red"}.get(result.verdict, "bold yellow")
    what = f" {result.property}" if result.property else ""
    numbers = f"{result.states:,} states, {result.moves:,} moves, depth {result.depth}, {result.seconds:.2f} s"
    out.print(f"[{colour}]{result.verdict}[/{colour}]{what}: {numbers}", highlight=False)
    if result.missing:
        out.print(f"never happened: {', '.join(result.missing)}; a search without them shows nothing", highlight=False)
    if result.verdict == "incomplete":
        out.print("the bound on states was reached; raise --max-states or narrow the scope", highlight=False)


def path_table(title: str, steps: Sequence[Step], cpus: Sequence[int]) -> Table:
    """Return a path as a table: each event, what the policy did about it, and where that left registers and fields."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_lines=False)
    table.add_column("", justify="right")
    table.add_column("event", no_wrap=True)
    table.add_column("the policy does")
    for c in cpus:
        table.add_column(f"CPU{c} registers")
    table.add_column("fields after it")
    for s in steps:
        who = f"{s.who}->{s.other}" if s.other else s.who
        event = f"{s.event} {who}" + (f" (CPU{s.cpu})" if len(cpus) > 1 else "")
        fields = "; ".join([*(f"CPU{c}: {text}" for c, text in enumerate(s.cpus) if text), *s.changed])
        registers = [s.registers[c] for c in cpus]
        table.add_row(str(s.number), event, ", ".join(s.operations) or "-", *registers, fields)
    return table


def _show_path(policy: str, path: Path, result: Result) -> None:
    from fpstate.cli.output import console

    table = path_table(f"path {path.code}", path.steps, range(result.scope.cpus))
    out = console()
    out.print(table)
    if path.wrong:
        out.print(f"{path.wrong}\ndecided at {shortened(path.blame)}", highlight=False)
        if path.code:
            again = f"again: fpstate check {policy} {_options(result)} --path {path.code}"
            out.print(again, highlight=False, soft_wrap=True)


def shortened(where: str) -> str:
    """Return a place in a file without the folders it is installed in."""
    if " and step " in where:  # two share the blame
        return " and ".join(shortened(w if w.startswith("step") else f"step {w}") for w in where.split(" and step "))
    step, comma, place = where.partition(", ")
    _, package, inside = place.rpartition("/fpstate/policies/")
    if package:
        return f"{step}, fpstate/policies/{inside}"
    return f"{step}, {os.path.relpath(place)}" if comma else where


def _options(result: Result) -> str:
    s = result.scope
    numbers = f"--cpus {s.cpus} --tasks {s.tasks} --vcpus {s.vcpus} --kthreads {s.kthreads}"
    numbers += f" --plain-vcpus {s.plain_vcpus}" if s.plain_vcpus else ""
    numbers += f" --boot {s.boot}" if s.boot != "unknown" else ""
    numbers += f" --features {','.join(result.features)}" if result.features else ""
    return numbers if s.events == ("all",) else f"{numbers} --events {','.join(s.events)}"


def _as_pytest(policy: str, result: Result) -> str:
    assert result.path is not None
    name = "".join(ch if ch.isalnum() else "_" for ch in result.policy)
    s = result.scope
    given = f"find_policy({policy!r})"
    imports = ""
    if result.features:
        given = f"with_features({given}, {list(result.features)!r})"
        imports = "from fpstate.policies.base import with_features\n"
    scope = f"Scope({s.cpus}, {s.tasks}, {s.vcpus}, {s.kthreads}, {s.events!r}, {s.boot!r}, {s.plain_vcpus})"
    return f'''from fpstate.check.run import replay_path
from fpstate.paths.scope import Scope
{imports}from fpstate.policies.catalogue import find_policy


def test_{name}_breaks_{result.property.replace("-", "_")}() -> None:
    """{result.path.wrong}."""
    result = replay_path({given}, {scope}, {result.path.code!r})
    assert result.property == {result.property!r}'''

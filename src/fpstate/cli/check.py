"""`fpstate check`: no order of events corrupts or leaks, or here is the shortest that does."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import Features, Named, chosen, one_policy, refuse, takes, words
from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.check.run import Result
    from fpstate.cli.run import Given as RunGiven
    from fpstate.paths.asked import ScopeGiven
    from fpstate.paths.tell import Path, Step

EXIT_CODES = {"holds": 0, "violated": 1, "not reached": 3, "incomplete": 3}


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    policy: Annotated[
        str | None,
        typer.Argument(
            metavar="POLICY",
            help="A policy by name, by the id of a bug, or as FILE.py:CLASS.",
            autocompletion=complete.policies,
            show_default=False,
        ),
    ] = None
    named: Named = None
    cpus: Annotated[
        int | None,
        typer.Option(metavar="N", help="CPUs. [default: 2; with more registers than FPSIMD 1]", show_default=False),
    ] = None
    tasks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="User tasks. [default: 2; 1 if guests use SVE or tasks SME, or with long counters]",
            show_default=False,
        ),
    ] = None
    vcpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="vCPUs. [default: 2; with more registers, or long counters, 1; 0 without guests]",
            show_default=False,
        ),
    ] = None
    kthreads: Annotated[int, typer.Option(metavar="N", help="Kernel threads beside the idle ones.")] = 0
    plain_vcpus: Annotated[int, typer.Option(metavar="N", help="So many of the vCPUs have V alone.")] = 0
    boot: Annotated[str, typer.Option(metavar="STATE", help="Registers at the start: unknown, or initial.")] = "unknown"
    events: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EVENT,...",
            help="Events or groups; '-name' takes one away. [default: all; with SVE all but ptrace]",
            show_default=False,
        ),
    ] = None
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property", metavar="PROPERTY,...", help="Properties. [default: all end-to-end ones]", show_default=False
        ),
    ] = None
    features: Features = None
    list_: Annotated[bool, typer.Option("--list", help="List events, properties and features, and do no more.")] = False
    max_states: Annotated[
        int, typer.Option(metavar="N", help="Give up (incomplete) beyond this many states.", min=1)
    ] = 100_000_000
    cores: Annotated[int, typer.Option(metavar="N", help="1 or 2; the result is the same.", min=1, max=2)] = 2
    fold: Annotated[
        bool, typer.Option(help="Treat worlds as one that differ only in names, or in what the policy never knows of.")
    ] = True
    path: Annotated[
        str | None, typer.Option(metavar="CODE", help="Follow a path by its code instead of searching.")
    ] = None
    pytest: Annotated[bool, typer.Option("--pytest", help="Print the counterexample as a pytest function.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.check/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Try every order of events in a scope: it holds, or the shortest path that breaks a property is shown.

    A bug's id stands for its faulty policy, in the scope and with the property where the fault shows.

    Exit codes: 0 holds, 1 violated, 2 bad input, 3 incomplete (a bound was reached) or not reached (nothing was shown).

    Example: fpstate check defer-to-put
    """
    from fpstate.check.answer import answer
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, search
    from fpstate.paths.asked import asked_of

    if _listed(given):
        return
    name = one_policy(given.policy, given.named, "fpstate check defer-to-put")
    _refuse_combinations(given)
    asked = asked_of(name, chosen(name), words(given.features), words(given.properties), scope_given(given))
    new = "" if given.path else compiling("the search")
    with search(f"compiling {new}" if new else "searching") as progress:
        result = answer(
            asked,
            path=given.path,
            max_states=given.max_states,
            cores=given.cores,
            fold=given.fold,
            progress=progress,
        )
    if given.json:
        print_json("fpstate.check/1", result.to_json())
    elif given.pytest and result.path:
        typer.echo(_as_pytest(name, result))
    else:
        _show(name, result)
    raise typer.Exit(EXIT_CODES[result.verdict])


def _refuse_combinations(given: Given) -> None:
    from fpstate.paths.properties import TIMING

    if given.path is not None:
        refuse(given, "with --path, which searches nothing", "max_states", "cores", "fold")
    if given.pytest:
        refuse(given, "with --pytest", "json")
    if given.pytest and TIMING in words(given.properties):
        raise FpstateError(f"a path of '{TIMING}' is of two worlds, and no test follows it", expected="no --pytest")


def scope_given(given: Given | RunGiven) -> ScopeGiven:
    """Return what the options say of a scope."""
    return {
        "cpus": given.cpus,
        "tasks": given.tasks,
        "vcpus": given.vcpus,
        "kthreads": given.kthreads or None,
        "events": None if given.events is None else words(given.events),
        "boot": given.boot,
        "plain_vcpus": given.plain_vcpus,
    }


def _listed(given: Given) -> bool:
    """List what there is if that is asked for, by --list or as the one event, property or feature; return whether."""
    from fpstate.cli.output import print_json, say, show_table
    from fpstate.paths.properties import PROPERTIES
    from fpstate.paths.scope import GROUPS, KIND_NAMES
    from fpstate.policies.base import FEATURES

    asked = {"groups": given.events, "properties": given.properties, "features": given.features}
    wanted = [what for what, names in asked.items() if given.list_ or names == ["list"]]
    if not wanted:
        return False
    if given.list_:
        others = ("policy", "named", "events", "properties", "features", "path", "pytest")
        refuse(given, "with --list", *others)
    groups = {name: [KIND_NAMES[k] for k in kinds] for name, kinds in GROUPS.items()}
    if given.json:
        about = {p.name: {"broken_when": p.broken_when, "end_to_end": p.end_to_end} for p in PROPERTIES.values()}
        every: dict[str, object] = {"groups": groups, "properties": about, "features": FEATURES}
        print_json("fpstate.check-list/1", {what: every[what] for what in wanted})
        return True
    for n, what in enumerate(wanted):
        if n:
            say("")
        if what == "groups":
            show_table(["group", "events"], [[name, ", ".join(events)] for name, events in groups.items()])
        elif what == "properties":
            rows = [[p.name, p.broken_when, "yes" if p.end_to_end else "no"] for p in PROPERTIES.values()]
            show_table(["property", "broken when", "makes a policy wrong"], rows)
        else:
            show_table(["feature", "the world then has"], [[name, meaning] for name, meaning in FEATURES.items()])
    return True


def _show(policy: str, result: Result) -> None:
    from fpstate.cli.output import say

    say(result.title())
    if result.path:
        _show_path(policy, result.path, result)
    colour = {"holds": "bold green", "violated": "bold red"}.get(result.verdict, "bold yellow")
    say(result.told(), colour)
    for sentence in result.caveats():
        say(sentence, "yellow")


def show_path(title: str, steps: Sequence[Step], cpus: Sequence[int]) -> None:
    """Print a path: whose values the registers hold, and as a table."""
    from fpstate.cli.output import Column, say, show_table
    from fpstate.cli.story import show_story
    from fpstate.paths.tell import table

    heads, rows = table(steps, cpus)
    say(title)
    show_story({f"CPU{c}": [s.registers[c] for s in steps] for c in cpus}, [str(s.number) for s in steps], 3)
    show_table([Column(heads[0], number=True), *heads[1:]], rows)


def _show_path(policy: str, path: Path, result: Result) -> None:
    from fpstate.cli.output import say
    from fpstate.kernel.named import PREFIX, with_line
    from fpstate.paths.blame import ending
    from fpstate.paths.properties import TIMING

    show_path(f"path {path.code}", path.steps, range(result.scope.cpus))
    blame = with_line(policy, path.blame) if policy.startswith(PREFIX) else path.blame
    for sentence in ending(path.wrong, blame):
        say(sentence)
    if path.wrong and path.code and result.property != TIMING:  # a path of two worlds cannot be followed in one
        say(f"again: fpstate check {shlex.quote(policy)} {_options(result)} --path {path.code}", whole=True)


def _options(result: Result) -> str:
    from fpstate.paths.properties import DEFAULT
    from fpstate.paths.scope import default_events

    s = result.scope
    numbers = f"--cpus {s.cpus} --tasks {s.tasks} --vcpus {s.vcpus} --kthreads {s.kthreads}"
    numbers += f" --plain-vcpus {s.plain_vcpus}" if s.plain_vcpus else ""
    numbers += f" --boot {s.boot}" if s.boot != "unknown" else ""
    numbers += f" --features {','.join(result.features)}" if result.features else ""
    wanted = result.property not in DEFAULT and result.property
    numbers += f" --property {wanted}" if wanted else ""
    whole = s.events == ("all",) == default_events(result.features)
    return numbers if whole else f"{numbers} --events {','.join(s.events)}"


def _as_pytest(policy: str, result: Result) -> str:
    from fpstate.kernel.named import PREFIX

    assert result.path is not None
    name = "".join(ch if ch.isalnum() else "_" for ch in result.policy)
    s = result.scope
    finder, module = "find_policy", "fpstate.policies.catalogue"
    if policy.startswith(PREFIX):
        finder, module = "named_kernel", "fpstate.kernel.named"
    given = f"{finder}({policy!r})"
    imports = ""
    if result.features:
        given = f"with_features({given}, {list(result.features)!r})"
        imports = "from fpstate.policies.base import with_features\n"
    scope = f"Scope({s.cpus}, {s.tasks}, {s.vcpus}, {s.kthreads}, {s.events!r}, {s.boot!r}, {s.plain_vcpus})"
    return f'''from fpstate.check.run import replay_path
from fpstate.paths.scope import Scope
{imports}from {module} import {finder}


def test_{name}_breaks_{result.property.replace("-", "_")}() -> None:
    """{result.path.wrong}."""
    result = replay_path({given}, {scope}, {result.path.code!r})
    assert result.property == {result.property!r}'''

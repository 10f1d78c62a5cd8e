"""`fpstate run`: real AArch64 programs on a machine whose registers a policy shares out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli.options import takes

if TYPE_CHECKING:
    from fpstate.machine.elf import Program
    from fpstate.machine.run import Outcome, Result
    from fpstate.policies.base import Policy


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    programs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROGRAM]...", help="Bundled programs by name, or static ELF files; all bundled ones if none."
        ),
    ] = None
    policy: Annotated[
        str,
        typer.Option("--policy", "-p", help="A policy by name, FILE.py:CLASS, or the id of a bug for its faulty one."),
    ] = "linux-6.14"
    cpus: Annotated[
        int | None, typer.Option(help="CPUs, each with one register file.  [default: 2]", show_default=False)
    ] = None
    vcpus: Annotated[
        int | None,
        typer.Option(
            help="vCPUs, each with a VMM task; dealt programs in turn.  [default: one for each bundled program]",
            show_default=False,
        ),
    ] = None
    tasks: Annotated[
        int | None,
        typer.Option(
            help="Tasks; programs are dealt to them in turn.  [default: one for each program]", show_default=False
        ),
    ] = None
    slice_: Annotated[int, typer.Option("--slice", help="Time slice, in instructions.")] = 10_000
    seed: Annotated[int, typer.Option(help="Decides all that is random: the same seed gives the same run.")] = 1
    softirq: Annotated[
        float, typer.Option(help="Probability of a softirq that uses NEON, at each entry of the kernel.", min=0, max=1)
    ] = 0.1
    vector_length: Annotated[
        int,
        typer.Option(
            help="Bytes of an SVE register: 16 to 256. Tasks, not guests, may then use SVE.", show_default=False
        ),
    ] = 0
    trace: Annotated[str | None, typer.Option(metavar="OUT", help="Write what happened as a trace (Parquet).")] = None
    path: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="Drive the machine along a path of `check`, with its --cpus, --tasks, --vcpus."
        ),
    ] = None
    kthreads: Annotated[int, typer.Option(help="With --path: as for `check`.")] = 0
    plain_vcpus: Annotated[int, typer.Option(help="With --path: as for `check`.")] = 0
    boot: Annotated[str, typer.Option(help="With --path: as for `check`.")] = "unknown"
    events: Annotated[str, typer.Option(help="With --path: as for `check`.")] = "all"
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.run/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Run real AArch64 programs, as tasks and as guests, and see whether each computes what it computes alone.

    Example: fpstate run --policy defer-to-put --slice 3000
    """
    policy = _policy(given.policy)
    good = _run(policy, given) if given.path is None else _follow(policy, given.path, given)
    raise typer.Exit(0 if good else 1)


def _run(policy: type[Policy], given: Given) -> bool:
    """Run programs, print what came of it, and return whether all went well."""
    from fpstate.cli.output import print_json
    from fpstate.errors import FpstateError
    from fpstate.machine.engine import unicorn
    from fpstate.machine.host import Settings
    from fpstate.machine.run import check_limits, run
    from fpstate.policies.base import with_features
    from fpstate.traces.parquet import write_parquet

    if given.kthreads or given.events != "all" or given.boot != "unknown" or given.plain_vcpus:
        given_them = "--kthreads, --plain-vcpus, --events or --boot are given without --path"
        raise FpstateError(given_them, expected="them with --path only")
    unicorn()
    cpus = 2 if given.cpus is None else given.cpus
    check_limits(cpus=cpus, tasks=given.tasks or 0, vcpus=given.vcpus or 0, slice=given.slice_)
    tasks, guests = _programs(policy, given)
    if given.vector_length:
        policy = with_features(policy, ["sve"])
    settings = Settings(cpus, given.slice_, given.seed, given.softirq)
    result, recorded = run(policy, tasks=tasks, guests=guests, settings=settings, vector_length=given.vector_length)
    if given.trace is not None:
        write_parquet(recorded, given.trace)
    if given.json:
        print_json("fpstate.run/1", result.to_json())
    else:
        _show(result, given.trace)
    return result.ok


def _programs(policy: type[Policy], given: Given) -> tuple[list[Program], list[Program]]:
    """Return the programs that run as tasks and those that run as guests."""
    from fpstate.errors import FpstateError
    from fpstate.machine.elf import find_program
    from fpstate.machine.run import all_bundled, deal, handles_guests

    found = [find_program(name) for name in given.programs] if given.programs else all_bundled()
    ours = [p for p in found if p in all_bundled()]
    tasks = found if given.tasks is None else deal(found, given.tasks)
    if given.vcpus and not handles_guests(policy):
        raise FpstateError(f"the policy '{policy.name}' handles no guests", expected="--vcpus 0, or another policy")
    guests = (ours if handles_guests(policy) else []) if given.vcpus is None else deal(found, given.vcpus)
    if not tasks and not guests:
        raise FpstateError("there is nothing to run", expected="--tasks or --vcpus of at least 1")
    if given.vector_length:
        tasks = [*tasks, find_program("sve")] if given.programs is None and given.tasks is None else tasks
    elif any(p.name == "sve" for p in tasks):
        raise FpstateError("the program 'sve' needs a machine with SVE", expected="--vector-length of 16 to 256")
    return tasks, guests


def _policy(name: str) -> type[Policy]:
    """Return a policy by name, or the faulty policy of a bug by its id."""
    from fpstate.check.gallery import bugs
    from fpstate.errors import FpstateError
    from fpstate.policies.catalogue import find_policy

    by_id = {bug_id.lower(): bug for bug_id, bug in bugs().items()}
    if name.lower() not in by_id:
        return find_policy(name)
    bug = by_id[name.lower()]
    if bug.features:
        given = f"the bug '{bug.id}' needs {', '.join(bug.features)}"
        raise FpstateError(given, expected="one of FPSIMD alone", hint=f"`fpstate bugs {bug.id}` checks it")
    return bug.faulty


def _show(result: Result, trace: str | None) -> None:
    from rich.table import Table

    from fpstate.cli.check import path_table, shortened
    from fpstate.cli.output import console

    s = result.settings
    title = f"{result.policy}: {s.cpus} CPUs, slices of {s.slice:,} instructions, seed {s.seed}"
    table = Table(title=title, title_justify="left")
    table.add_column("program", no_wrap=True)
    table.add_column("result")
    for name in ("saves", "loads", "traps", "instructions"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("as alone", no_wrap=True)
    for p in result.programs:
        numbers = [f"{n:,}" for n in (p.saves, p.loads, p.traps, p.instructions)]
        table.add_row(p.name, _cut(p.result or p.stopped), *numbers, _verdict(p), style="" if p.ok else "red")
    out = console()
    out.print(table)
    rate = result.instructions / result.seconds / 1e6
    totals = f"{result.saves:,} saves, {result.loads:,} loads, {result.traps:,} traps, {result.exits:,} guest exits"
    out.print(f"{totals}; {result.instructions:,} instructions", highlight=False)
    if out.is_terminal:
        out.print(f"{result.seconds:.2f} s, {rate:.1f} M instructions/s", highlight=False)
    for what, times in result.verdicts.items():
        out.print(f"{times:,} times somebody {what}", highlight=False)
    for p in result.programs:
        if p.stopped:
            out.print(f"{p.name}: {p.stopped}", highlight=False)
        if not p.identical:
            out.print(f"{p.name}: alone it computes {_cut(p.expected)!r}", highlight=False, soft_wrap=True)
        if p.first_wrong:
            out.print(_first_wrong(p), highlight=False)
    told = next((p for p in result.programs if p.path and not p.identical), None)
    told = told or next((p for p in result.programs if p.path), None)
    if told:
        involved = sorted({step.cpu for step in told.path})
        out.print(path_table(f"how {told.name} came to read it", told.path, involved))
        out.print(f"decided at {shortened(told.blame)}", highlight=False)
    if trace is not None:
        out.print(f"written to {trace}: {result.events:,} rows", highlight=False)


def _first_wrong(p: Outcome) -> str:
    w = p.first_wrong
    assert w is not None
    where = f"(CPU {w.cpu}, row {w.event})"
    return f"{p.name}: first wrong value: {w.register} holds {w.got} of {w.owner}, expected {w.expected} {where}"


def _verdict(p: Outcome) -> str:
    return "identical" if p.ok else "identical by luck" if p.identical else "WRONG"


def _cut(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:29]}..."


def _follow(policy: type[Policy], code: str, given: Given) -> bool:
    """Drive the machine along a path, print what came of it, and return whether all went well."""
    from fpstate.cli.check import path_table, scope_of, shortened
    from fpstate.cli.output import console, print_json
    from fpstate.errors import FpstateError
    from fpstate.machine.follow import follow_path

    if given.programs or given.trace is not None:
        raise FpstateError(
            "--path is given with programs or --trace", expected="--path alone: it runs a pattern checker"
        )
    result = follow_path(policy, scope_of(policy, given), code)
    if given.json:
        print_json("fpstate.run-path/1", result.to_json())
        return not result.wrong
    out = console()
    out.print(path_table(f"path {code}", result.steps, range(result.scope.cpus)))
    for read in result.reads:
        out.print(read.sentence(), highlight=False, style="" if read.ok else "red")
    if result.wrong:
        out.print(f"{result.wrong}\ndecided at {shortened(result.blame)}", highlight=False)
    return not result.wrong

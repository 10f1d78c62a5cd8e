"""`fpstate run`: real AArch64 programs on a machine whose registers a policy shares out."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import chosen, refuse, takes, words
from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.machine.elf import Program
    from fpstate.machine.run import Outcome, Result
    from fpstate.policies.base import Policy
    from fpstate.traces.trace import Trace


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    programs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROGRAM",
            help="Bundled programs by name, or static ELF files; all bundled ones if none.",
            autocompletion=complete.programs,
            show_default=False,
        ),
    ] = None
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            "-p",
            metavar="POLICY",
            help="A policy by name, by the id of a bug, or as FILE.py:CLASS.",
            autocompletion=complete.policies,
        ),
    ] = "linux-6.14"
    cpus: Annotated[
        int | None,
        typer.Option(metavar="N", help="CPUs, each with one register file. [default: 2]", show_default=False),
    ] = None
    vcpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="vCPUs, each with a VMM task; dealt programs in turn. [default: one for each bundled program]",
            show_default=False,
        ),
    ] = None
    tasks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Tasks; programs are dealt to them in turn. [default: one for each program]",
            show_default=False,
        ),
    ] = None
    slice_: Annotated[int, typer.Option("--slice", metavar="N", help="Time slice, in instructions.")] = 10_000
    seed: Annotated[
        int, typer.Option(metavar="N", help="Decides all that is random: the same seed gives the same run.")
    ] = 1
    softirq: Annotated[
        float,
        typer.Option(
            metavar="P", help="Probability of a softirq that uses NEON, at each entry of the kernel.", min=0, max=1
        ),
    ] = 0.1
    vl: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            help="Bytes of an SVE register, 16 to 256: tasks, not guests, may then use SVE. [default: no SVE]",
            show_default=False,
        ),
    ] = None
    vl_before: Annotated[int | None, typer.Option("--vector-length", hidden=True)] = None
    trace: Annotated[str | None, typer.Option(metavar="FILE", help="Write what happened as a trace (Parquet).")] = None
    path: Annotated[
        str | None,
        typer.Option(
            metavar="CODE", help="Drive the machine along a path of `check`, with its --cpus, --tasks, --vcpus."
        ),
    ] = None
    kthreads: Annotated[int, typer.Option(metavar="N", help="With --path: as for `check`.")] = 0
    plain_vcpus: Annotated[int, typer.Option(metavar="N", help="With --path: as for `check`.")] = 0
    boot: Annotated[str, typer.Option(metavar="STATE", help="With --path: as for `check`.")] = "unknown"
    events: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT,...", help="With --path: as for `check`.", show_default=False),
    ] = None
    features: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE,...", help="With --path: as for `check`.", show_default=False),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.run/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Run real AArch64 programs, as tasks and as guests, and see whether each computes what it computes alone.

    Exit codes: 0 all results are right, 1 one is not, 2 bad input.

    Example: fpstate run --policy defer-to-put --slice 3000
    """
    if given.vl is not None and given.vl_before is not None:
        raise FpstateError("--vl and --vector-length are the same", expected="--vl alone")
    given = replace(given, vl=given.vl if given.vl_before is None else given.vl_before, vl_before=None)
    policy = chosen(given.policy)
    good = _run(policy, given) if given.path is None else _follow(policy, given.path, given)
    raise typer.Exit(0 if good else 1)


def _run(policy: type[Policy], given: Given) -> bool:
    """Run programs, print what came of it, and return whether all went well."""
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import stage
    from fpstate.machine.engine import unicorn
    from fpstate.machine.host import Settings
    from fpstate.machine.run import check_limits, run
    from fpstate.policies.base import with_features

    refuse(given, "without --path", "kthreads", "plain_vcpus", "boot", "events", "features")
    if policy.features:
        given_them = f"policy '{given.policy}' needs {', '.join(sorted(policy.features))}"
        raise FpstateError(given_them, expected="one of FPSIMD alone", hint=f"`fpstate bugs {given.policy}` checks it")
    unicorn()
    cpus = 2 if given.cpus is None else given.cpus
    check_limits(cpus=cpus, tasks=given.tasks or 0, vcpus=given.vcpus or 0, slice=given.slice_)
    tasks, guests = _programs(policy, given)
    if given.trace is not None:
        _refuse_place(Path(given.trace))
    if given.vl:
        policy = with_features(policy, ["sve"])
    settings = Settings(cpus, given.slice_, given.seed, given.softirq)
    with stage("running programs"):
        result, recorded = run(policy, tasks=tasks, guests=guests, settings=settings, vector_length=given.vl or 0)
    failed = _write(recorded, given.trace) if given.trace is not None else None
    if given.json:
        print_json("fpstate.run/1", result.to_json())
    else:
        _show(result, None if failed else given.trace)
    if failed:  # what was computed is shown all the same
        typer.echo(f"fpstate: {failed}", err=True)
        raise typer.Exit(2)
    return result.ok


def _refuse_place(path: Path) -> None:
    """Raise FpstateError if no file can be written there: a run may take minutes, and would be in vain."""
    if path.exists() and not path.is_file():
        raise FpstateError(f"'{path}' is not a regular file", expected="the name of a file to write")
    if not path.parent.is_dir():
        raise FpstateError("there is no such folder", expected="a file in a folder", where=str(path))
    if not os.access(path.parent, os.W_OK):
        raise FpstateError("nothing can be written in this folder", expected="one of your own", where=str(path.parent))


def _write(trace: Trace, path: str) -> FpstateError | None:
    from fpstate.traces.parquet import write_parquet

    try:
        write_parquet(trace, path)
    except FpstateError as error:
        return error
    return None


def _programs(policy: type[Policy], given: Given) -> tuple[list[Program], list[Program]]:
    """Return the programs that run as tasks and those that run as guests."""
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
    if given.vl:
        tasks = [*tasks, find_program("sve")] if given.programs is None and given.tasks is None else tasks
    elif any(p.name == "sve" for p in tasks):
        raise FpstateError("the program 'sve' needs a machine with SVE", expected="--vl of 16 to 256")
    return tasks, guests


def _show(result: Result, trace: str | None) -> None:
    from fpstate.cli.check import shortened, show_path
    from fpstate.cli.output import Column, console, say, show_table

    s = result.settings
    rows = []
    for p in result.programs:
        numbers = [f"{n:,}" for n in (p.saves, p.loads, p.traps, p.instructions)]
        rows.append([_verdict(p), p.name, _cut(p.result or p.stopped), *numbers])
    cpus = "1 CPU" if s.cpus == 1 else f"{s.cpus} CPUs"
    say(f"{result.policy}: {cpus}, slices of {s.slice:,} instructions, seed {s.seed}")
    figures = [Column(name, number=True) for name in ("saves", "loads", "traps", "instructions")]
    red = {i: "red" for i, p in enumerate(result.programs) if not p.ok}
    show_table(["as alone", "program", "result", *figures], rows, styles=red)
    totals = f"{result.saves:,} saves, {result.loads:,} loads, {result.traps:,} traps, {result.exits:,} guest exits"
    say(f"{totals}; {result.instructions:,} instructions")
    if console().is_terminal:
        say(f"{result.seconds:.2f} s, {result.instructions / result.seconds / 1e6:.1f} M instructions/s")
    for what, times in result.verdicts.items():
        say(f"{times:,} times somebody {what}")
    for p in result.programs:
        if p.stopped:
            say(f"{p.name}: {p.stopped}")
        if not p.identical:
            say(f"{p.name}: alone it computes {_cut(p.expected)!r}")
        if p.first_wrong:
            say(_first_wrong(p))
    told = next((p for p in result.programs if p.path and not p.identical), None)
    told = told or next((p for p in result.programs if p.path), None)
    if told:
        involved = sorted({step.cpu for step in told.path})
        show_path(f"how {told.name} came to read it", told.path, involved)
        say(f"decided at {shortened(told.blame)}")
    if trace is not None:
        say(f"written to {trace}: {result.events:,} rows")


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
    from fpstate.cli.check import default_scope, scope_of, shortened, show_path
    from fpstate.cli.output import print_json, say
    from fpstate.cli.progress import stage
    from fpstate.machine.follow import follow_path
    from fpstate.policies.base import with_features

    refuse(given, "with --path, which runs a pattern checker", "programs", "trace", "slice_", "seed", "softirq", "vl")
    if asked := words(given.features):
        policy = with_features(policy, asked)
    scope = scope_of(default_scope(given.policy, policy), given)
    with stage("following the path"):
        result = follow_path(policy, scope, code)
    if given.json:
        print_json("fpstate.run-path/1", result.to_json())
        return not result.wrong
    show_path(f"path {code}", result.steps, range(result.scope.cpus))
    for read in result.reads:
        say(read.sentence(), "" if read.ok else "red")
    if result.wrong:
        say(f"{result.wrong}\ndecided at {shortened(result.blame)}")
    return not result.wrong

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
    from fpstate.machine.run import Outcome, Result
    from fpstate.policies.base import Policy
    from fpstate.traces.trace import Trace


LINES_SHOWN = 4
"""Of what a program printed otherwise than alone."""


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
    instructions: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="End after N instructions of all programs together. [default: when all have ended]",
            show_default=False,
        ),
    ] = None
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="End after S seconds; such a run is not repeatable.", show_default=False),
    ] = None
    signals: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="Probability of a SIGUSR1 or SIGUSR2 to a task that handles it, at each return to user mode.",
            min=0,
            max=1,
        ),
    ] = 0.0
    vl: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            help="Bytes of an SVE register, 16 to 256; for tasks, not guests. [default: 32 if a program uses SVE]",
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

    Exit codes: 0 all results are right, 1 one is not, 2 bad input, 3 none is wrong, but some were still running when
    the bound of the run was reached.

    Example: fpstate run --policy defer-to-put --slice 3000
    """
    if given.vl is not None and given.vl_before is not None:
        raise FpstateError("--vl and --vector-length are the same", expected="--vl alone")
    given = replace(given, vl=given.vl if given.vl_before is None else given.vl_before, vl_before=None)
    policy = chosen(given.policy)
    raise typer.Exit(_run(policy, given) if given.path is None else _follow(policy, given.path, given))


def _run(policy: type[Policy], given: Given) -> int:
    """Run programs, print what came of it, and return the exit code."""
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import stage
    from fpstate.emulator import unicorn
    from fpstate.machine.dealt import Programs
    from fpstate.machine.host import Settings
    from fpstate.machine.record import as_trace
    from fpstate.machine.run import VECTOR_LENGTH, check_limits, run
    from fpstate.policies.base import with_features

    refuse(given, "without --path", "kthreads", "plain_vcpus", "boot", "events", "features")
    if policy.features - {"sve"}:
        given_them = f"policy '{given.policy}' needs {', '.join(sorted(policy.features))}"
        raise FpstateError(
            given_them, expected="one of FPSIMD and SVE", hint=f"`fpstate bugs {given.policy}` checks it"
        )
    unicorn()
    cpus = 2 if given.cpus is None else given.cpus
    check_limits(cpus=cpus, tasks=given.tasks or 0, vcpus=given.vcpus or 0, slice=given.slice_)
    check_limits(**{name: n for name in ("instructions", "seconds") if (n := getattr(given, name)) is not None})
    programs = Programs(policy, given.programs or [], tasks=given.tasks, vcpus=given.vcpus, sve=bool(given.vl))
    programs.choose(frozenset())  # what is wrong with them is said before anything runs
    if given.trace is not None:
        _refuse_place(Path(given.trace))
    if given.vl:
        with_features(policy, ["sve"])  # it may be refused
    if given.signals and not (hasattr(policy, "signal") and hasattr(policy, "sigreturn")):
        raise FpstateError(f"the policy '{policy.name}' handles no signals", expected="no --signals, or another policy")
    settings = Settings(
        cpus,
        given.slice_,
        given.seed,
        given.softirq,
        instructions=given.instructions,
        seconds=given.seconds,
        signals=given.signals,
    )
    with stage("running programs"):
        result, host = run(policy, programs.choose, settings, given.vl or (VECTOR_LENGTH if policy.features else 0))
    failed = _write(as_trace(host), given.trace) if given.trace is not None else None
    if given.json:
        print_json("fpstate.run/1", result.to_json())
    else:
        _show(result, None if failed else given.trace)
    if failed:  # what was computed is shown all the same
        typer.echo(f"fpstate: {failed}", err=True)
        raise typer.Exit(2)
    return 1 if not result.ok else 3 if result.running else 0


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


def _show(result: Result, trace: str | None) -> None:
    from fpstate.cli.check import show_path
    from fpstate.cli.output import Column, console, say, show_table
    from fpstate.paths.blame import shortened

    s = result.settings
    rows = []
    for p in result.programs:
        numbers = [f"{n:,}" for n in (p.saves, p.loads, p.traps, p.instructions)]
        rows.append([_verdict(p), p.name, _cut(_last_line(p.result) or p.stopped), *numbers])
    cpus = "1 CPU" if s.cpus == 1 else f"{s.cpus} CPUs"
    sve = f" with SVE of {result.vector_length} bytes" if result.vector_length else ""
    say(f"{result.policy}: {cpus}{sve}, slices of {s.slice:,} instructions, seed {s.seed}")
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
            _show_difference(p)
        if p.first_wrong:
            say(_first_wrong(p))
    if result.running:
        say(f"{result.running} of {len(result.programs)} still running at the bound of the run")
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


def _show_difference(p: Outcome) -> None:
    """Print what a program did otherwise than alone: on one line if it prints one, else from where they differ on."""
    from itertools import takewhile

    from fpstate.cli.output import say

    got, expected = p.result.splitlines(), p.expected.splitlines()
    if got == expected:
        say(f"{p.name}: it prints the same as alone, and ends otherwise")
        return
    if max(len(got), len(expected)) < 2:
        said = f"alone it computes {_cut(p.expected)!r}" if p.expected else "alone it has printed nothing"
        say(f"{p.name}: {said}")
        return
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(got, expected, strict=False)))
    for lines, whose in ((got, "it prints"), (expected, "alone it prints")):
        shown = [line.expandtabs(2) for line in lines[same : same + LINES_SHOWN]]
        say(f"{p.name}: from line {same + 1} on {whose}{'' if shown else ' nothing'}")
        say("\n".join(f"  {line}" for line in shown), whole=True)


def _last_line(text: str) -> str:
    return " ".join((text.splitlines() or [""])[-1].split())


def _verdict(p: Outcome) -> str:
    if not p.ok:
        return "identical by luck" if p.identical else "WRONG"
    return "running" if p.running else "identical"


def _cut(text: str) -> str:
    return text if len(text) <= 32 else f"{text[:29]}..."


def _follow(policy: type[Policy], code: str, given: Given) -> int:
    """Drive the machine along a path, print what came of it, and return the exit code."""
    from fpstate.cli.check import scope_given, show_path
    from fpstate.cli.output import print_json, say
    from fpstate.cli.progress import stage
    from fpstate.machine.follow import follow_path
    from fpstate.paths.asked import asked_of
    from fpstate.paths.blame import ending

    alone = "with --path, which runs a pattern checker"
    refuse(given, alone, "programs", "trace", "slice_", "seed", "softirq", "vl", "instructions", "seconds", "signals")
    asked = asked_of(given.policy, policy, words(given.features), (), scope_given(given))
    with stage("following the path"):
        result = follow_path(asked.policy, asked.scope, code)
    if given.json:
        print_json("fpstate.run-path/1", result.to_json())
        return int(bool(result.wrong))
    show_path(f"path {code}", result.steps, range(result.scope.cpus))
    for read in result.reads:
        say(read.sentence(), "" if read.ok else "red")
    for sentence in ending(result.wrong, result.blame):
        say(sentence)
    return int(bool(result.wrong))

"""`fpstate capture`: a trace from a real Linux/KVM on an emulated arm64 machine."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import refuse, takes

if TYPE_CHECKING:
    from fpstate.lab.capture import Capture
    from fpstate.lab.kernel import Kernel
    from fpstate.lab.qemu import Machine
    from fpstate.lab.scenario import Scenario


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO",
            help="What runs: a name from --list, or a TOML file.",
            autocompletion=complete.scenarios,
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The trace to write. [default: SCENARIO.MODE.trace.txt.gz]",
            show_default=False,
        ),
    ] = None
    cpus: Annotated[
        int | None, typer.Option(metavar="N", help="CPUs of the machine, 1 to 8. [default: the scenario's own]")
    ] = None
    cpu_model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="QEMU's: neoverse-n1, cortex-a57, max... [default: the scenario's own]"),
    ] = None
    mode: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="Where KVM runs: vhe, nvhe or hvhe. [default: the kernel's choice]"),
    ] = None
    kernel: Annotated[
        str | None,
        typer.Option(
            metavar="KERNEL",
            help="An arm64 Image of your own, or one of Debian's by name: debian-6.12... [default: debian-6.1]",
            autocompletion=complete.kernels,
            show_default=False,
        ),
    ] = None
    modules: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of that kernel's modules.")] = None
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Record for at most so long (emulated time). [default: the scenario's own]"),
    ] = None
    no_emulator: Annotated[
        bool, typer.Option("--no-emulator", help="Record only what the kernel itself can: FP use stays unknown.")
    ] = False
    allow_lost: Annotated[bool, typer.Option("--allow-lost", help="Keep a trace although events were lost.")] = False
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder for all that the run leaves, to look into.")
    ] = None
    list_: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False
    doctor: Annotated[bool, typer.Option("--doctor", help="Say what is missing here, and how to install it.")] = False
    print_commands: Annotated[
        bool, typer.Option("--print-commands", help="Print how to record the same on real hardware.")
    ] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.capture/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Record a trace of a real Linux/KVM: boots a kernel under QEMU, runs guests and tasks, and writes what they did.

    The emulator tells which runs used FP, so that nothing of that is left unknown.

    Exit codes: 0 good, 1 something is missing (--doctor), 2 bad input, 3 events were lost.

    Example: fpstate capture contended -o contended.trace.txt.gz
    """
    _refuse_combinations(given)
    if given.doctor:
        _doctor(given.json)
    elif given.list_:
        _list(given.json)
    elif given.print_commands:
        _commands(given)
    else:
        _capture(given)


RUNS = ("scenario", "output", "cpus", "cpu_model", "mode", "no_emulator", "allow_lost", "keep")
"""Options of a run."""


def _refuse_combinations(given: Given) -> None:
    if given.doctor:
        refuse(given, "with --doctor", *RUNS, "kernel", "modules", "seconds", "list_", "print_commands")
    elif given.list_:
        refuse(given, "with --list", *RUNS, "kernel", "modules", "seconds", "print_commands")
    elif given.print_commands:
        refuse(given, "with --print-commands", *RUNS)


def _capture(given: Given) -> None:
    from fpstate.cli.progress import stage
    from fpstate.errors import FpstateError
    from fpstate.lab.capture import Wishes, capture, write_trace
    from fpstate.lab.qemu import Machine, check_machine
    from fpstate.lab.scenario import check_cpus, check_seconds, find_scenario, scenario_names

    if given.scenario is None:
        names = ", ".join(scenario_names())
        raise FpstateError("no scenario given", expected=f"one of {names}", hint="--list says what they do")
    scenario = find_scenario(given.scenario)
    machine = Machine(given.cpu_model or scenario.cpu_model, given.cpus or scenario.cpus, given.mode or "")
    check_cpus(scenario, given.cpus if given.cpus is not None else scenario.cpus)
    check_seconds(scenario.seconds if given.seconds is None else given.seconds)
    if given.output is not None and not given.output.parent.is_dir():
        raise FpstateError("there is no such folder", expected="a file in a folder", where=str(given.output))
    if given.output is not None and given.output.is_dir():
        raise FpstateError("this is a folder", expected="a file to write", where=str(given.output))
    find = _kernel(given.kernel, given.modules)
    check_machine(machine)
    wishes = Wishes(given.seconds, not given.no_emulator, given.allow_lost, given.keep)
    with stage("getting a kernel") as tell:
        made = capture(scenario, find(tell), machine, wishes, tell=tell)
    target = given.output or Path(f"{scenario.name}.{made.mode}.trace.txt.gz")
    write_trace(made.trace, target)
    _show(scenario, machine, made, target, json=given.json)
    if made.lost:
        raise typer.Exit(3)


def _kernel(which: str | None, modules: Path | None) -> Callable[[Callable[[str], None]], Kernel]:
    """Return what gives the kernel asked for, and may fetch it; an image of one's own is looked at at once."""
    from fpstate.errors import FpstateError
    from fpstate.lab.apt import DEFAULT, check_name, fetch_kernel, is_name
    from fpstate.lab.kernel import read_kernel

    if modules is not None and not modules.is_dir():
        raise FpstateError("there is no such folder", expected="a folder of kernel modules", where=str(modules))
    name = which or DEFAULT
    if is_name(name):
        check_name(name)
        if modules is not None:
            expected = "--kernel IMAGE with --modules"
            raise FpstateError("modules without their kernel", expected=expected, where=str(modules))
        return lambda tell: read_kernel(fetch_kernel(tell, name))
    own = read_kernel(Path(name), modules)
    return lambda _: own


def _show(scenario: Scenario, machine: Machine, made: Capture, target: Path, *, json: bool) -> None:
    from fpstate.cli.output import print_json, say

    lines = sum(not line.startswith("#") for line in made.trace.splitlines())
    if json:
        content = {
            "scenario": scenario.name,
            "output": str(target),
            "kernel": made.kernel,
            "mode": made.mode,
            "cpu_model": machine.cpu_model,
            "cpus": machine.cpus,
            "lines": lines,
            "lost": made.lost,
            "missing": list(made.missing),
            "observed": made.observed,
            "unfinished": made.unfinished,
            "runs": {"user": made.user_runs, "guest": made.guest_runs},
            "traps": {"guest_fp": made.fp_traps, "guest_sve": made.sve_traps},
        }
        print_json("fpstate.capture/1", content)
        return
    of = f"{machine.cpus} CPUs ({machine.cpu_model})"
    say(f"{target}: {lines:,} lines, Linux {made.kernel}, {made.mode}, {of}")
    if made.observed:
        say(
            f"seen by the emulator: {made.user_runs:,} runs of user mode, {made.guest_runs:,} of guests; "
            f"{made.fp_traps:,} FP and {made.sve_traps:,} SVE traps of guests"
        )
    else:
        say("the emulator was not asked: FP use in user mode and guests is unknown", "yellow")
    if made.missing:
        say(f"not in this kernel: {', '.join(made.missing)}", "yellow")
    if made.unfinished:
        say("time was up before all actors were done; --seconds gives them longer", "yellow")
    if made.lost:
        say(f"the recorder lost {made.lost:,} events", "bold red")
    say(f"next: fpstate validate {shlex.quote(str(target))}", "dim", whole=True)


def _list(json: bool) -> None:
    from fpstate.cli.output import Column, print_json, show_table
    from fpstate.lab.scenario import find_scenario, scenario_names

    scenarios = [find_scenario(name) for name in scenario_names()]
    if json:
        rows = [{"name": s.name, "title": s.title, "cpus": s.cpus, "cpu_model": s.cpu_model} for s in scenarios]
        print_json("fpstate.capture/1", {"scenarios": rows})
        return
    lines = [[s.name, str(s.cpus), s.cpu_model, s.title] for s in scenarios]
    show_table(["scenario", Column("CPUs", number=True), "model", "what runs"], lines)


def _doctor(json: bool) -> None:
    from fpstate.cli.output import print_json, say
    from fpstate.lab.doctor import examine

    found = examine()
    if json:
        print_json("fpstate.capture/1", {"checks": [vars(check) for check in found]})
    else:
        for check in found:
            sign = "ok     " if check.ok else ("MISSING" if check.needed else "without")
            say(f"{sign} {check.what}: {check.found}", "" if check.ok else "yellow")
            if not check.ok:
                say(f"        {check.hint}", whole=True)
    if not all(check.ok for check in found if check.needed):
        raise typer.Exit(1)


def _commands(given: Given) -> None:
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import stage
    from fpstate.lab.recipe import commands

    recipe = None
    find = _kernel(given.kernel, given.modules)
    if given.kernel:
        from fpstate.lab.capture import known

        with stage("looking into the kernel") as tell:
            recipe = known(find(tell), tell).recipe
    lines = commands(recipe, 10 if given.seconds is None else given.seconds)
    if given.json:
        print_json("fpstate.capture/1", {"commands": lines})
    else:
        typer.echo("\n".join(lines))

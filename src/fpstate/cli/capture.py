"""`fpstate capture`: a trace from a real Linux/KVM on an emulated arm64 machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fpstate.lab.capture import Capture
    from fpstate.lab.kernel import Kernel
    from fpstate.lab.scenario import Scenario


def command(
    scenario: Annotated[str | None, typer.Argument(help="What runs: a name from --list, or a TOML file.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The trace to write; SCENARIO.MODE.trace.txt.gz if none.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(help="CPUs of the machine, 1 to 8; the scenario's own if none.")] = None,
    cpu_model: Annotated[str | None, typer.Option(help="QEMU's CPU model: neoverse-n1, cortex-a57, max...")] = None,
    mode: Annotated[
        str | None, typer.Option(help="Where KVM runs: vhe, nvhe or hvhe; the kernel's choice if none.")
    ] = None,
    kernel: Annotated[Path | None, typer.Option(help="An arm64 Image of your own; Debian's if none.")] = None,
    modules: Annotated[Path | None, typer.Option(help="Folder of that kernel's modules.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Record for at most so long (emulated time).")] = None,
    no_emulator: Annotated[
        bool, typer.Option("--no-emulator", help="Record only what the kernel itself can: FP use stays unknown.")
    ] = False,
    allow_lost: Annotated[bool, typer.Option("--allow-lost", help="Keep a trace although events were lost.")] = False,
    keep: Annotated[Path | None, typer.Option(help="A folder for all that the run leaves, to look into.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    doctor: Annotated[bool, typer.Option("--doctor", help="Say what is missing here, and how to install it.")] = False,
    print_commands: Annotated[
        bool, typer.Option("--print-commands", help="Print how to record the same on real hardware.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.capture/1).")] = False,
) -> None:
    """Record a trace of a real Linux/KVM: boots a kernel under QEMU, runs guests and tasks, and writes what they did.

    The emulator tells which runs used FP, so that nothing of that is left unknown.

    Example: fpstate capture contended -o contended.trace.txt.gz
    """
    if doctor:
        _doctor(json)
    elif list_:
        _list(json)
    elif print_commands:
        _commands(kernel, modules, seconds, json)
    else:
        _capture(
            scenario, output, cpus, cpu_model, mode, (kernel, modules), seconds, no_emulator, allow_lost, keep, json
        )


def _capture(
    name: str | None,
    output: Path | None,
    cpus: int | None,
    cpu_model: str | None,
    mode: str | None,
    kernel: tuple[Path | None, Path | None],
    seconds: float | None,
    no_emulator: bool,
    allow_lost: bool,
    keep: Path | None,
    json: bool,
) -> None:
    from fpstate.errors import FpstateError
    from fpstate.lab.apt import fetch_kernel
    from fpstate.lab.capture import capture, write_trace
    from fpstate.lab.kernel import read_kernel
    from fpstate.lab.qemu import Machine, check_machine
    from fpstate.lab.scenario import check_cpus, check_seconds, find_scenario, scenario_names

    if name is None:
        names = ", ".join(scenario_names())
        raise FpstateError("no scenario given", expected=f"one of {names}", hint="--list says what they do")
    scenario = find_scenario(name)
    machine = Machine(cpu_model or scenario.cpu_model, cpus or scenario.cpus, mode or "")
    check_cpus(scenario, cpus if cpus is not None else scenario.cpus)
    check_seconds(scenario.seconds if seconds is None else seconds)
    if output is not None and not output.parent.is_dir():
        raise FpstateError("there is no such folder", expected="a file in a folder", where=str(output))
    own = _own_kernel(*kernel)
    check_machine(machine)
    with _telling() as tell:
        image = own or read_kernel(fetch_kernel(tell))
        made = capture(
            scenario,
            image,
            machine,
            seconds=seconds,
            observe=not no_emulator,
            allow_lost=allow_lost,
            keep=keep,
            tell=tell,
        )
    target = output or Path(f"{scenario.name}.{made.mode}.trace.txt.gz")
    write_trace(made.trace, target)
    _show(scenario, machine.cpu_model, machine.cpus, made, target, json)
    if made.lost:
        raise typer.Exit(3)


def _own_kernel(image: Path | None, modules: Path | None) -> Kernel | None:
    from fpstate.errors import FpstateError
    from fpstate.lab.kernel import read_kernel

    if modules is not None and not modules.is_dir():
        raise FpstateError("there is no such folder", expected="a folder of kernel modules", where=str(modules))
    if modules is not None and image is None:
        raise FpstateError("modules without their kernel", expected="--kernel IMAGE with --modules", where=str(modules))
    return read_kernel(image, modules) if image else None


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Show what is being done on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("capture") as status:
        yield status.update


def _show(scenario: Scenario, cpu_model: str, cpus: int, made: Capture, target: Path, json: bool) -> None:
    from fpstate.cli.output import console, print_json

    lines = sum(not line.startswith("#") for line in made.trace.splitlines())
    if json:
        content = {
            "scenario": scenario.name,
            "output": str(target),
            "kernel": made.kernel,
            "mode": made.mode,
            "cpu_model": cpu_model,
            "cpus": cpus,
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
    out = console()
    out.print(
        f"{target}: {lines:,} lines, Linux {made.kernel}, {made.mode}, {cpus} CPUs ({cpu_model})", highlight=False
    )
    if made.observed:
        out.print(
            f"seen by the emulator: {made.user_runs:,} runs of user mode, {made.guest_runs:,} of guests; "
            f"{made.fp_traps:,} FP and {made.sve_traps:,} SVE traps of guests",
            highlight=False,
        )
    else:
        out.print("the emulator was not asked: FP use in user mode and guests is unknown", style="yellow")
    if made.missing:
        out.print(f"not in this kernel: {', '.join(made.missing)}", style="yellow", highlight=False)
    if made.unfinished:
        out.print("time was up before all actors were done; --seconds gives them longer", style="yellow")
    if made.lost:
        out.print(f"the recorder lost {made.lost:,} events", style="bold red")
    out.print(f"next: fpstate validate {target}", style="dim", highlight=False)


def _list(json: bool) -> None:
    from fpstate.cli.output import console, print_json
    from fpstate.lab.scenario import find_scenario, scenario_names

    scenarios = [find_scenario(name) for name in scenario_names()]
    if json:
        rows = [{"name": s.name, "title": s.title, "cpus": s.cpus, "cpu_model": s.cpu_model} for s in scenarios]
        print_json("fpstate.capture/1", {"scenarios": rows})
        return
    from rich.table import Table

    table = Table()
    for column in ("scenario", "CPUs", "model", "what runs"):
        table.add_column(column, no_wrap=column != "what runs")
    for s in scenarios:
        table.add_row(s.name, str(s.cpus), s.cpu_model, s.title)
    console().print(table)


def _doctor(json: bool) -> None:
    from fpstate.cli.output import console, print_json
    from fpstate.lab.doctor import examine

    found = examine()
    if json:
        print_json("fpstate.capture/1", {"checks": [vars(check) for check in found]})
    else:
        out = console()
        for check in found:
            sign = "ok     " if check.ok else ("MISSING" if check.needed else "without")
            out.print(f"{sign} {check.what}: {check.found}", highlight=False, style="" if check.ok else "yellow")
            if not check.ok:
                out.print(f"        {check.hint}", highlight=False)
    if not all(check.ok for check in found if check.needed):
        raise typer.Exit(1)


def _commands(image: Path | None, modules: Path | None, seconds: float | None, json: bool) -> None:
    from fpstate.cli.output import print_json
    from fpstate.lab.recipe import commands

    recipe = None
    if own := _own_kernel(image, modules):
        from fpstate.lab.capture import known

        with _telling() as tell:
            recipe = known(own, tell).recipe
    lines = commands(recipe, 10 if seconds is None else seconds)
    if json:
        print_json("fpstate.capture/1", {"commands": lines})
    else:
        typer.echo("\n".join(lines))

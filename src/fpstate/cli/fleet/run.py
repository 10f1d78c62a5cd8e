"""`fpstate fleet run`: programs under many policies and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.fleet.common import Common, finish, numbers
from fpstate.cli.options import takes, words


@dataclass(frozen=True, kw_only=True)
class Given(Common):
    """What is given on the command line."""

    programs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROGRAM[+PROGRAM]",
            help="Each argument is one run; + joins programs that run together. All bundled ones together if none.",
            autocompletion=complete.programs,
            show_default=False,
        ),
    ] = None
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            "-p",
            metavar="POLICY,...",
            help="Policies by name, by the id of a bug, or as FILE.py:CLASS. [default: linux-6.14]",
            autocompletion=complete.policies,
            show_default=False,
        ),
    ] = None
    seeds: Annotated[
        list[str] | None,
        typer.Option(metavar="N,...", help="Seeds, 1-10 being all from 1 to 10. [default: 1-10]", show_default=False),
    ] = None
    cpus: Annotated[list[str] | None, typer.Option(metavar="N,...", help="CPUs. [default: 2]", show_default=False)] = (
        None
    )
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", metavar="N,...", help="Time slices, in instructions. [default: 10000]", show_default=False
        ),
    ] = None
    softirq: Annotated[
        float, typer.Option(metavar="P", help="Probability of a softirq that uses NEON, as for `run`.", min=0, max=1)
    ] = 0.1
    signals: Annotated[
        float, typer.Option(metavar="P", help="Probability of a signal to a task, as for `run`.", min=0, max=1)
    ] = 0.0
    tasks: Annotated[
        int | None, typer.Option(metavar="N", help="Tasks. [default: one for each program]", show_default=False)
    ] = None
    vcpus: Annotated[
        int | None,
        typer.Option(metavar="N", help="vCPUs. [default: one for each bundled program]", show_default=False),
    ] = None
    instructions: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="End each run after N instructions. [default: when all have ended]", show_default=False
        ),
    ] = None
    vl: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES", help="Bytes of an SVE register. [default: 32 if a program uses SVE]", show_default=False
        ),
    ] = None


@takes(Given)
def command(given: Given) -> None:
    """Run programs under all combinations of these policies, seeds, CPUs and time slices.

    Exit codes: 0 all results are right, 1 one is not, 2 bad input, 3 not all was answered, or a run came to its bound.

    Example: fpstate fleet run rounding+nbody -p linux-6.14,defer-to-put --seeds 1-20 -o runs.parquet
    """
    from fpstate.fleet.asking import run
    from fpstate.fleet.running import ALL, Machines

    rest = {"instructions_at_most" if n == "instructions" else n: getattr(given, n) for n in _REST}
    machines = Machines(
        numbers(given.seeds, "--seeds", range(1, 11)),
        numbers(given.cpus, "--cpus", (2,)),
        numbers(given.slices, "--slice", (10_000,)),
        rest,
    )
    policies = words(given.policy) or ["linux-6.14"]
    finish(run(given.programs or [ALL], policies, machines, output=given.output, where=given.where()), given)


_REST = ("softirq", "signals", "tasks", "vcpus", "instructions", "vl")

"""`fpstate export`: what a policy does along a trace, for Perfetto's viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import Costs, OfKernel, chosen
from fpstate.errors import FpstateError


def command(
    trace: Annotated[
        str,
        typer.Argument(
            metavar="TRACE", help="A recording, a .parquet, or a bundled name.", autocompletion=complete.samples
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write, in place of one that was written so."),
    ],
    policy: OfKernel = None,
    costs: Costs = "altra-vhe",
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.export/1).")] = False,
) -> None:
    """Write what a policy does along a trace as a trace for Perfetto's viewer (ui.perfetto.dev).

    Per CPU whose values its registers hold, with marks for saves, loads and traps; per task and vCPU which CPU holds
    its values; the cycles so far. What the trace does not show is taken to have happened.

    Exit codes: 0 good, 1 the policy corrupts registers on the trace (the file is written), 2 bad input.

    Example: fpstate export contended.vhe -p linux-6.14 -o contended.pftrace
    """
    from fpstate.cli.output import print_json, say
    from fpstate.cli.progress import compiling, stage
    from fpstate.costs import load_profile
    from fpstate.files import refuse_input, write_whole
    from fpstate.pictures.perfetto import BEGINS, perfetto_trace
    from fpstate.policies.catalogue import find_policy
    from fpstate.replay.compare import figures
    from fpstate.replay.timeline import timeline
    from fpstate.replay.told import other_machine
    from fpstate.replay.validate import policy_of_kernel
    from fpstate.traces.samples import open_trace

    profile = load_profile(costs)
    asked = chosen(policy) if policy is not None else None
    refuse_input(output, trace)
    new = compiling("the importer", "the replay")
    with stage(f"compiling {new}, and reading" if new else "reading") as tell:
        read = open_trace(trace)
        read.refuse_idle()
        if asked is None and other_machine(read.header.arch):
            given = f"the recording is of {read.header.arch}, and the policies of kernels are of arm64"
            raise FpstateError(given, expected="-p with the policy to show", where=read.header.source)
        tell("replaying")
        line = timeline(read, asked or find_policy(policy_of_kernel(read)))
        tell("writing")
        write_whole(output, perfetto_trace(read, line, profile), begins=BEGINS)
    whole = figures(line.outcome, profile)
    sums = {"saves": whole.saves, "loads": whole.loads, "traps": whole.traps}
    if json:
        about = {"output": str(output), "source": read.header.source, "policy": line.policy, "costs": profile.name}
        found = {"events": len(line.at), **sums, "cycles": whole.cycles, "corrupts": bool(line.outcome.wrong)}
        print_json("fpstate.export/1", about | found)
    else:
        done = ", ".join(f"{n:,} {name}" for name, n in sums.items())
        say(f"{output}: {line.policy} on {read.header.source}, {len(line.at):,} events, {done}")
        if line.outcome.wrong:
            say(f"{line.policy} corrupts registers on this trace", "red")
    if line.outcome.wrong:
        raise typer.Exit(1)

"""`fpstate validate`: hold the model against what a real kernel did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import OfKernel, chosen

if TYPE_CHECKING:
    from fpstate.replay.validate import Validation
    from fpstate.traces.trace import Trace


def command(
    trace: Annotated[
        str,
        typer.Argument(
            metavar="TRACE",
            help="A trace that holds what the kernel did (function tracer lines).",
            autocompletion=complete.samples,
        ),
    ],
    policy: OfKernel = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.validate/1).")] = False,
) -> None:
    """Predict from scheduling, system calls and KVM events what the kernel did about FP state, and compare in order.

    Exit codes: 0 exact, 1 it differs, 2 bad input, 3 exact, but the recording lost events.

    Example: fpstate validate contended.vhe
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, stage
    from fpstate.policies.catalogue import find_policy
    from fpstate.replay.validate import policy_of_kernel, validate
    from fpstate.traces.samples import open_trace

    asked = chosen(policy) if policy is not None else None
    new = compiling("the importer", "the replay")
    with stage(f"compiling {new}, and reading" if new else "reading") as tell:
        read = open_trace(trace)
        tell("predicting")
        held = asked or find_policy(policy_of_kernel(read))
        result = validate(read, held)
    if json:
        header = read.header
        about = {"source": header.source, "events": len(read), "unobserved": header.unobserved}
        about |= {"lost": header.lost, "holes": header.holes}
        print_json("fpstate.validate/1", {"trace": about, "policy": held.name, **result.to_json()})
    else:
        _show(read, held.name, result)
    if not result.exact:
        raise typer.Exit(1)
    if read.header.lost:
        raise typer.Exit(3)


def _show(trace: Trace, policy: str, result: Validation) -> None:
    from fpstate.cli.output import Column, say, show_table
    from fpstate.replay.validate import around
    from fpstate.traces.holes import sentences

    sides = ("predicted", "observed", "missed", "extra")
    rows = [
        [name, *(f"{counts[side]:,}" for side in sides)]
        for name, counts in result.to_json()["events"].items()
        if any(counts.values())
    ]
    say(f"{policy} against {trace.header.source}")
    show_table(["what the kernel did", *(Column(side, number=True) for side in sides)], rows)
    if result.excluded:
        say(f"excluded: {result.excluded}, of tasks whose state was set before the trace began")
    for sentence in [*sentences(trace.header.holes), *trace.header.unobserved]:
        say(f"note: {sentence}", "dim")
    if result.first is None:
        say("exact: every one predicted, in order", "bold green")
        return
    first = result.first
    say(f"differs; first on CPU {first.cpu}:", "bold red")
    say(f"  predicted: {', '.join(first.predicted) or 'nothing'}")
    say(f"  observed:  {', '.join(first.observed) or 'nothing'}")
    say("\n".join(around(trace, first)), whole=True)

"""`fpstate validate`: hold the model against what a real kernel did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fpstate.replay.validate import Validation
    from fpstate.traces.trace import Trace


def command(
    trace: Annotated[str, typer.Argument(help="A trace that holds what the kernel did (function tracer lines).")],
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", "-p", help="A policy by name, or FILE.py:CLASS.  [default: that of the kernel recorded]"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.validate/1).")] = False,
) -> None:
    """Predict from scheduling, system calls and KVM events what the kernel did about FP state, and compare in order.

    Exit code 0: exact; 1: it differs; 3: exact, but the recording lost events.

    Example: fpstate validate contended.vhe
    """
    from fpstate.cli.output import compiling_notice, print_json
    from fpstate.policies.catalogue import find_policy
    from fpstate.replay.validate import policy_of_kernel, validate
    from fpstate.traces.samples import open_trace

    asked = find_policy(policy) if policy is not None else None
    compiling_notice("importer", "replay")
    read = open_trace(trace)
    chosen = asked or find_policy(policy_of_kernel(read))
    result = validate(read, chosen)
    if json:
        header = read.header
        about = {"source": header.source, "unobserved": header.unobserved, "lost": header.lost, "holes": header.holes}
        print_json("fpstate.validate/1", {"trace": about, "policy": chosen.name, **result.to_json()})
    else:
        _show(read, chosen.name, result)
    if not result.exact:
        raise typer.Exit(1)
    if read.header.lost:
        raise typer.Exit(3)


def _show(trace: Trace, policy: str, result: Validation) -> None:
    from rich.table import Table

    from fpstate.cli.output import console
    from fpstate.replay.validate import around
    from fpstate.traces.holes import sentences

    out = console()
    table = Table(title=f"{policy} against {trace.header.source}", title_justify="left")
    table.add_column("what the kernel did")
    for side in ("predicted", "observed", "missed", "extra"):
        table.add_column(side, justify="right")
    for name, counts in result.to_json()["events"].items():
        if not any(counts.values()):
            continue
        table.add_row(name, *(f"{counts[side]:,}" for side in ("predicted", "observed", "missed", "extra")))
    out.print(table)
    if result.excluded:
        out.print(f"excluded: {result.excluded}, of tasks whose state was set before the trace began", highlight=False)
    for sentence in [*sentences(trace.header.holes), *trace.header.unobserved]:
        out.print(f"note: {sentence}", highlight=False, style="dim")
    if result.first is None:
        out.print("exact: every one predicted, in order", style="bold green")
        return
    first = result.first
    out.print(f"differs; first on CPU {first.cpu}:", style="bold red", highlight=False)
    out.print(f"  predicted: {', '.join(first.predicted) or 'nothing'}", highlight=False)
    out.print(f"  observed:  {', '.join(first.observed) or 'nothing'}", highlight=False)
    out.print("\n".join(around(trace, first)), highlight=False, markup=False)

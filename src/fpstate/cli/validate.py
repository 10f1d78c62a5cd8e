"""`fpstate validate`: hold the model against what a real kernel did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import chosen

if TYPE_CHECKING:
    from fpstate.replay.auto import Tried
    from fpstate.replay.validate import Validation
    from fpstate.traces.trace import Trace

AUTO = "auto"


def command(
    trace: Annotated[
        str,
        typer.Argument(
            metavar="TRACE",
            help="A trace that holds what the kernel did (function tracer lines).",
            autocompletion=complete.samples,
        ),
    ],
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            "-p",
            metavar="POLICY",
            help="A policy by name, by the id of a bug, or as FILE.py:CLASS; auto tries all that describe a kernel. "
            "[default: that of the kernel recorded]",
            autocompletion=complete.of_kernels,
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.validate/1).")] = False,
) -> None:
    """Predict from scheduling, system calls and KVM events what the kernel did about FP state, and compare in order.

    Exit codes: 0 exact, 1 it differs (with auto: from all), 2 bad input, 3 exact, but the recording lost events.

    Example: fpstate validate contended.vhe --policy auto
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, stage
    from fpstate.policies.catalogue import find_policy
    from fpstate.replay.auto import try_all
    from fpstate.replay.validate import policy_of_kernel, validate
    from fpstate.traces.samples import open_trace

    asked = chosen(policy) if policy not in (None, AUTO) else None
    tried: list[Tried] = []
    new = compiling("the importer", "the replay")
    with stage(f"compiling {new}, and reading" if new else "reading") as tell:
        read = open_trace(trace)
        tell("predicting")
        if policy == AUTO:
            tried = try_all(read, lambda name: tell(f"predicting as {name}"))
            result = tried[0].result
        else:
            result = validate(read, asked or find_policy(policy_of_kernel(read)))
    if json:
        all_tried = {"tried": [each.to_json() for each in tried]} if tried else {}
        print_json("fpstate.validate/1", {**all_tried, **result.to_json()})
    else:
        if tried:
            _show_tried(tried, read)
        _show(read, result)
    if not result.exact:
        raise typer.Exit(1)
    if read.header.lost:
        raise typer.Exit(3)


def _show_tried(tried: list[Tried], trace: Trace) -> None:
    from fpstate.cli.output import Column, say, show_table

    say(f"{len(tried)} policies of kernels against {trace.header.source}")
    rows = [[each.policy.name, each.kernels, f"{each.missed:,}", f"{each.extra:,}"] for each in tried]
    show_table(["policy", "kernels", Column("missed", number=True), Column("extra", number=True)], rows)
    exact = [each.policy.name for each in tried if each.result.exact]
    if exact:
        among = "; this trace does not tell them apart" if len(exact) > 1 else ""
        say(f"this kernel behaves as {', '.join(exact)}{among}", "bold green")
    else:
        say(f"this kernel behaves as none of them; the nearest is {tried[0].policy.name}", "bold red")
    say("")


def _show(trace: Trace, result: Validation) -> None:
    from fpstate.cli.output import Column, say, show_table
    from fpstate.replay.validate import around

    sides = ("predicted", "observed", "missed", "extra")
    rows = [[row["event"], *(f"{row[side]:,}" for side in sides)] for row in result.rows()]
    say(f"{result.policy} against {trace.header.source}")
    show_table(["what the kernel did", *(Column(side, number=True) for side in sides)], rows)
    for sentence in result.sentences():
        say(sentence, "dim" if sentence.startswith("note: ") else "")
    verdict, *told = result.verdict()
    say(verdict, "bold green" if result.exact else "bold red")
    if result.first is not None:
        say("\n".join(told))
        say("\n".join(around(trace, result.first)), whole=True)

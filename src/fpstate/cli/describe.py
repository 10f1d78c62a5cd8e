"""`fpstate describe`: what a trace holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fpstate.cli import complete


def command(
    trace: Annotated[
        str,
        typer.Argument(
            metavar="TRACE", help="A recording, a .parquet, or a bundled name.", autocompletion=complete.samples
        ),
    ],
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema fpstate.describe/1) instead of tables.")
    ] = False,
) -> None:
    """Show what a trace holds: events, tasks and vCPUs, and what the recording could not show.

    Exit codes: 0 good, 2 bad input.

    Example: fpstate describe contended.vhe
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, stage
    from fpstate.traces.describe import describe
    from fpstate.traces.samples import open_trace

    new = compiling("the importer")
    with stage(f"compiling {new}, and reading" if new else "reading"):
        summary = describe(open_trace(trace))
    if json:
        print_json(summary.pop("schema"), summary)
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    from fpstate.cli.output import Column, say, show_table
    from fpstate.traces.holes import sentences

    figures = Column("rows", number=True)
    say(_machine(summary))
    show_table(["event", figures], [[name, f"{n:,}"] for name, n in summary["events"].items()])
    if summary["truths"]:
        say("")
        show_table(["what the kernel did", figures], [[name, f"{n:,}"] for name, n in summary["truths"].items()])
    say("")
    rows = [[c["name"], c["kind"], f"{c['events']:,}"] for c in summary["contexts"]]
    show_table(["task or vCPU", "kind", Column("events", number=True)], rows)
    for sentence in [*sentences(summary["holes"]), *summary["unobserved"]]:
        say(f"note: {sentence}", "dim")
    if summary["ignored"]:
        say(f"Lines without a meaning here: {_listed(summary['ignored'])}")


def _machine(summary: dict[str, Any]) -> str:
    parts = [
        f"{summary['source']}: {summary['format']}",
        summary["arch"],
        " ".join(filter(None, (summary["kernel"], summary["mode"]))),
        f"{summary['cpus']} CPU" + ("s" if summary["cpus"] != 1 else ""),
        f"{summary['duration_ns'] / 1e9:.3f} s" + (f" ({summary['clock']})" if summary["clock"] else ""),
        f"{summary['lines']:,} lines",
        f"{summary['rows']:,} rows",
        "put in order of time" if summary["sorted"] else "",
    ]
    return ", ".join(filter(None, parts))


def _listed(counts: dict[str, int], most: int = 12) -> str:
    order = sorted(counts.items(), key=lambda item: -item[1])
    more = f", and {len(order) - most} more names" if len(order) > most else ""
    return ", ".join(f"{name} ({count})" for name, count in order[:most]) + more

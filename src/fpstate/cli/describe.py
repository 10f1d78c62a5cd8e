"""`fpstate describe`: what a trace holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def command(
    trace: Annotated[str, typer.Argument(metavar="TRACE", help="A recording, a .parquet, or a bundled name.")],
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema fpstate.describe/1) instead of tables.")
    ] = False,
) -> None:
    """Show what a trace holds: events, tasks and vCPUs, and what the recording could not show.

    Example: fpstate describe contended.vhe
    """
    from fpstate.cli.output import compiling_notice, print_json
    from fpstate.traces.describe import describe
    from fpstate.traces.samples import open_trace

    compiling_notice("importer")
    summary = describe(open_trace(trace))
    if json:
        print_json(summary.pop("schema"), summary)
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    from fpstate.cli.output import console as output
    from fpstate.traces.holes import sentences

    console = output()
    console.print(_machine(summary), markup=False)
    console.print(_counts("event", summary["events"]))
    if summary["truths"]:
        console.print(_counts("what the kernel did", summary["truths"]))
    console.print(_contexts(summary["contexts"]))
    for sentence in [*sentences(summary["holes"]), *summary["unobserved"]]:
        console.print(f"- {sentence}", markup=False)
    if summary["ignored"]:
        console.print(f"Lines without a meaning here: {_listed(summary['ignored'])}", markup=False)


def _machine(summary: dict[str, Any]) -> str:
    parts = [
        f"{summary['source']}: {summary['format']}",
        " ".join(filter(None, (summary["kernel"], summary["mode"]))),
        f"{summary['cpus']} CPUs",
        f"{summary['duration_ns'] / 1e9:.3f} s" + (f" ({summary['clock']})" if summary["clock"] else ""),
        f"{summary['lines']} lines",
        f"{summary['rows']} rows",
        "put in order of time" if summary["sorted"] else "",
    ]
    return ", ".join(filter(None, parts))


def _listed(counts: dict[str, int], most: int = 12) -> str:
    order = sorted(counts.items(), key=lambda item: -item[1])
    more = f", and {len(order) - most} more names" if len(order) > most else ""
    return ", ".join(f"{name} ({count})" for name, count in order[:most]) + more


def _counts(title: str, counts: dict[str, int]) -> Table:
    from rich.table import Table

    table = Table()
    table.add_column(title, no_wrap=True)
    table.add_column("rows", justify="right")
    for name, count in counts.items():
        table.add_row(name, str(count))
    return table


def _contexts(contexts: list[dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table("task or vCPU", "kind")
    table.add_column("events", justify="right")
    for context in contexts:
        table.add_row(escape(context["name"]), context["kind"], str(context["events"]))
    return table

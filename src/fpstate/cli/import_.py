"""`fpstate import`: a recording to a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fpstate.traces.trace import Header


def command(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Text of ftrace, `trace-cmd report` or `perf script`, compressed or not; a trace.dat or perf.data.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The file to write, in place of any that is there. [default: the trace's name with .parquet added]",
            show_default=False,
        ),
    ] = None,
    refuse_lost: Annotated[
        bool, typer.Option("--refuse-lost", help="Refuse a recording that lost events, instead of noting it.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema fpstate.import/1) instead of sentences.")
    ] = False,
) -> None:
    """Import a recording of a kernel: what happened, in columns, in a Parquet file.

    Reads in bounded memory. What the recording could not show is said and kept in the file.

    Exit codes: 0 good, 2 bad input.

    Example: fpstate import trace.txt.gz -o trace.parquet
    """
    from dataclasses import asdict

    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, portion
    from fpstate.traces.parquet import import_parquet

    target = output or trace.parent / f"{trace.name}.parquet"
    new = compiling("the importer")
    with portion(f"compiling {new}, and reading" if new else "reading") as progress:
        header = import_parquet(trace, target, progress=progress, allow_lost=not refuse_lost)
    if json:
        print_json("fpstate.import/1", {"output": str(target), "header": asdict(header)})
    else:
        _print_text(target, header)


def _print_text(target: Path, header: Header) -> None:
    from fpstate.cli.output import say
    from fpstate.traces.holes import sentences

    say(f"{target}: {header.lines:,} lines of {header.format}, {header.cpus} CPU{'s' if header.cpus != 1 else ''}")
    for sentence in [*sentences(header.holes), *header.unobserved]:
        say(f"note: {sentence}", "dim")

"""`fpstate import`: a recording to a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fpstate.traces.importer import Progress
    from fpstate.traces.trace import Header


def command(
    trace: Annotated[
        Path,
        typer.Argument(
            metavar="TRACE",
            help="Text of ftrace, `trace-cmd report` or `perf script` (plain, gzip, zstd), or a trace.dat.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; by default the trace's name with .parquet added."),
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

    Example: fpstate import trace.txt.gz -o trace.parquet
    """
    from dataclasses import asdict

    from fpstate.cli.output import compiling_notice, print_json
    from fpstate.traces.parquet import import_parquet

    compiling_notice("importer")
    target = output or trace.parent / f"{trace.name}.parquet"
    with _progress() as progress:
        header = import_parquet(trace, target, progress=progress, allow_lost=not refuse_lost)
    if json:
        print_json("fpstate.import/1", {"output": str(target), "header": asdict(header)})
    else:
        _print_text(target, header)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show a bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=min(done, total), total=total)


def _print_text(target: Path, header: Header) -> None:
    from fpstate.traces.holes import sentences

    typer.echo(f"{target}: {header.lines} lines of {header.format}, {header.cpus} CPUs")
    for sentence in [*sentences(header.holes), *header.unobserved]:
        typer.echo(f"- {sentence}")

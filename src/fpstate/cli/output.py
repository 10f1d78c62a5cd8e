"""What commands share in printing: JSON, tables that do not depend on the terminal when there is none, progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_json(schema: str, content: dict[str, Any]) -> None:
    """Print one JSON document with its schema's name and version first."""
    sys.stdout.write(json.dumps({"schema": schema, **content}, indent=2, ensure_ascii=False) + "\n")


def console() -> Console:
    """Return where human output goes: as wide as the terminal, and always 110 columns into a pipe."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=110, soft_wrap=False)


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show progress of `total` steps on stderr if that is a terminal; yields what to call after each."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def compiling_notice(*engines: str) -> None:
    """Say on stderr which of these engines are being compiled now, once after installation, and how long it takes."""
    from fpstate.jit import ENGINES, first_use

    if new := [engine for engine in engines if first_use(engine)]:
        seconds = sum(ENGINES[engine][1] for engine in new)
        sys.stderr.write(f"fpstate: compiling the {' and the '.join(new)}, once, about {seconds} s\n")

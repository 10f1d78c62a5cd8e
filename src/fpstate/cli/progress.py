"""What is shown on a terminal while something takes its time: on stderr, and gone when it is done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def shown() -> bool:
    """Return whether progress is shown: not in a pipe, and not where lines cannot be written over."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


@contextmanager
def _line(what: str, total: int | None, *columns: str) -> Iterator[tuple[Progress, TaskID] | None]:
    """Show one line of these columns of rich, and the time last; None where nothing is shown."""
    if not shown():
        yield None
        return
    from rich import progress as rich
    from rich.console import Console

    text = rich.TextColumn("{task.description}", markup=False)
    every = [text if name == "TextColumn" else getattr(rich, name)() for name in columns]
    console = Console(stderr=True)
    with rich.Progress(*every, rich.TimeElapsedColumn(), console=console, transient=True) as progress:
        yield progress, progress.add_task(what, total=total)


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how many of `total` steps are done; yields what to call after each."""
    with _line(what, total, "TextColumn", "BarColumn", "MofNCompleteColumn") as line:
        yield (lambda: line[0].advance(line[1])) if line else lambda: None


@contextmanager
def stage(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done and for how long; yields what to call with the next stage."""
    with _line(what, None, "SpinnerColumn", "TextColumn") as line:
        yield (lambda text: line[0].reset(line[1], description=text)) if line else lambda _: None


@contextmanager
def portion(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show how much of a whole is done; yields what to call with both, or None where nothing is shown."""
    with _line(what, None, "TextColumn", "BarColumn", "TaskProgressColumn") as line:
        yield (lambda done, total: line[0].update(line[1], completed=min(done, total), total=total)) if line else None


@contextmanager
def search(first: str) -> Iterator[Callable[[int, int, int], None]]:
    """Show what comes `first`, then how a search grows; yields what to call with states, states waiting, and depth."""
    with stage(first) as tell:
        began = last = time.monotonic()

        def show(states: int, waiting: int, depth: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last > 0.5:
                last = now
                rate = states / (now - began) / 1e6
                tell(f"{states:,} states, {rate:.2f} M/s, {waiting:,} waiting, depth {depth}")

        yield show


def compiling(*engines: str) -> str:
    """Say which of these engines will be compiled now, once after installation; "" if all have been, or nobody looks.

    What it says stays on the terminal, since it is why this once takes longer.
    """
    from fpstate.jit import ENGINES, first_use

    new = [engine for engine in engines if shown() and first_use(engine)]
    if new:
        seconds = sum(ENGINES[engine][1] for engine in new)
        sys.stderr.write(f"compiling {' and '.join(new)}, once: about {seconds} s on an idle core\n")
    return " and ".join(new)

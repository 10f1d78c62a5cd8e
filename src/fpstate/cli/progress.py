"""What is shown on a terminal while something takes its time: on stderr, and gone when it is done."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def shown() -> bool:
    """Return whether progress is shown: not in a pipe, and not where lines cannot be written over."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how many of `total` steps are done; yields what to call after each."""
    if not shown():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def stage(what: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done and for how long; yields what to call with the next stage."""
    if not shown():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda text: progress.reset(task, description=text)


@contextmanager
def portion(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show how much of a whole is done; yields what to call with both, or None where nothing is shown."""
    if not shown():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=min(done, total), total=total)


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

"""Jobs taken to their end: what is done already is left out, and what comes is kept at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fpstate.fleet.job import Job
from fpstate.fleet.kinds import kind_of
from fpstate.fleet.table import Table
from fpstate.fleet.where import HERE, Note, SchedulerGoneError, Where
from fpstate.fleet.work import answered

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Asked:
    """Jobs of one kind, the file their rows go to, and where they run."""

    kind: str
    jobs: Sequence[Job]
    output: Path
    where: Where = HERE


@dataclass(frozen=True)
class Done:
    """What is there in the end: `rows` of what was asked, in its order; `before`: so many were there at the start.

    `left`: so many have no row. `gone`: the address of the scheduler, if it went away.
    """

    rows: pa.Table
    asked: int
    before: int
    left: int
    gone: str = ""


def go(asked: Asked, progress: Callable[[], None] = lambda: None, note: Note = lambda _: None) -> Done:
    """Take jobs to their end and return the rows; `progress` is called once for each job.

    Raise FpstateError for an output that cannot be used, for workers that cannot be had, and for those with other code.
    What is interrupted keeps what came, and says so by `note`.
    """
    asks = [ask for job in asked.jobs for ask in job.asks]
    with Table(asked.output, kind_of(asked.kind)) as table:
        waiting = [job for every in asked.jobs if (job := every.without(table.answered)).asks]
        for _ in range(len(asked.jobs) - len(waiting)):
            progress()
        before = sum(table.answered(ask) for ask in asks)
        gone, came = "", before
        try:
            with closing(answers(waiting, asked.where, note)) as rows_of_jobs:
                for job, lines in rows_of_jobs:
                    table.add(lines)
                    came += len(job.asks)
                    progress()
        except SchedulerGoneError as error:
            gone = str(error)
        except BaseException:
            table.close()
            if came > before:
                note(f"{came:,} of {len(asks):,} rows are kept in {asked.output}; the same command goes on from there")
            raise
        if not gone and came > before:
            table.write(asks)
        rows = table.rows_of(asks)
        return Done(rows, len(asks), before, len(asks) - came, gone)


def answers(jobs: Sequence[Job], where: Where, note: Note) -> Generator[tuple[Job, bytes]]:
    """Yield each job with the lines of its rows, as they come. Raise SchedulerGoneError if a scheduler goes away."""
    if not jobs:
        return
    if not where.workers and not where.scheduler:
        yield from ((job, answered(job)[0]) for job in jobs)
        return
    from fpstate.fleet.cluster import client_of, spread

    with client_of(where, len(jobs)) as client:
        yield from spread(client, jobs, note)

"""Jobs taken to their end: what is done already is left out, and what comes is kept at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fpstate.errors import FpstateError
from fpstate.fleet.job import Job, Row
from fpstate.fleet.kinds import kind_of
from fpstate.fleet.lines import table_of
from fpstate.fleet.table import Table
from fpstate.fleet.where import HERE, Note, SchedulerGoneError, Where
from fpstate.fleet.work import answered

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Asked:
    """Jobs of one kind, the file their rows are kept in, if any, and where they run. Iterating yields rows.

    `left_out`: why combinations are not among them that cannot be.
    """

    kind: str
    jobs: Sequence[Job]
    output: Path | None = None
    where: Where = HERE
    left_out: Sequence[str] = ()

    def __len__(self) -> int:
        """Return how many rows are asked for."""
        return sum(len(job.asks) for job in self.jobs)

    def __iter__(self) -> Iterator[Row]:
        """Yield each row as it comes, those first that the file has already. What came is kept, however this ends.

        A row has the columns of the table: `error` is None, or says why there is no answer. Raise FpstateError for an
        output that cannot be used, and for workers that cannot be had or go away.
        """
        try:
            yield from self._rows() if self.output is None else self._kept_rows(self.output)
        except SchedulerGoneError as error:
            raise FpstateError(f"the scheduler at '{error}' is gone", expected="one that stays") from None

    def _rows(self) -> Iterator[Row]:
        with closing(answers(self.jobs, self.where, _unsaid)) as came:
            for _, lines in came:
                yield from table_of(kind_of(self.kind), lines).to_pylist()

    def _kept_rows(self, output: Path) -> Iterator[Row]:
        asks = [ask for job in self.jobs for ask in job.asks]
        with Table(output, kind_of(self.kind)) as table:
            yield from table.rows_of([ask for ask in asks if table.answered(ask)]).to_pylist()
            with closing(_kept(_waiting(self, table), table, self.where, _unsaid)) as came:
                for _, lines in came:
                    yield from table_of(kind_of(self.kind), lines).to_pylist()
            table.write(asks)


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
    assert asked.output is not None
    asks = [ask for job in asked.jobs for ask in job.asks]
    with Table(asked.output, kind_of(asked.kind)) as table:
        before = sum(table.answered(ask) for ask in asks)
        waiting = _waiting(asked, table)
        for _ in range(len(asked.jobs) - len(waiting)):
            progress()
        gone, came = "", before
        try:
            with closing(_kept(waiting, table, asked.where, note)) as answered_jobs:
                for job, _ in answered_jobs:
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


def _waiting(asked: Asked, table: Table) -> list[Job]:
    """Return the jobs less what the table has answers to."""
    return [job for every in asked.jobs if (job := every.without(table.answered)).asks]


def _kept(waiting: Sequence[Job], table: Table, where: Where, note: Note) -> Generator[tuple[Job, bytes]]:
    """Yield each job with the lines of its rows, as they come and are in the table."""
    with closing(answers(waiting, where, note)) as rows_of_jobs:
        for job, lines in rows_of_jobs:
            table.add(lines)
            yield job, lines


def _unsaid(_: str) -> None:
    """Say nothing."""


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

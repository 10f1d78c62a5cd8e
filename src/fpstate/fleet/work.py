"""What a worker does: answers a job, row by row; what cannot be answered is a row that says why."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fpstate.errors import FpstateError
from fpstate.fleet.digest import code_digest
from fpstate.fleet.job import Ask, Job, Row, failed
from fpstate.fleet.kind import Kind
from fpstate.fleet.kinds import kind_of
from fpstate.fleet.lines import lines_of

Handed = tuple[bytes, float]
"""What comes of a job: its rows as lines, and how many seconds they took."""


class OtherCodeError(Exception):
    """The process that asks has other code of fpstate than the one that is to answer."""


def work(job: Job) -> list[Row]:
    """Return a row for each ask of a job. Raise OtherCodeError where the answers would be those of other code."""
    if job.code != code_digest():
        raise OtherCodeError
    kind = kind_of(job.kind)
    try:
        prepared = kind.prepare(job)
    except Exception as error:
        return [failed(ask, sentence(error)) for ask in job.asks]
    return [_answer(kind, prepared, ask) for ask in job.asks]


def handed_over(jobs: Sequence[Job]) -> list[Handed]:
    """Return what comes of several jobs, in their order, as `Handed`."""
    return [answered(job) for job in jobs]


def answered(job: Job) -> Handed:
    """Return what comes of one job."""
    began = time.perf_counter()
    lines = lines_of(kind_of(job.kind), work(job))
    return lines, time.perf_counter() - began


def _answer(kind: Kind, prepared: object, ask: Ask) -> Row:
    began = time.perf_counter()
    try:
        answer = kind.answer_of(prepared, ask)
    except Exception as error:
        return failed(ask, sentence(error))
    return {**ask.label, "error": None, **answer, "seconds": round(time.perf_counter() - began, 6), "key": ask.key}


def sentence(error: BaseException) -> str:
    """Say in one line why there is no answer."""
    if isinstance(error, FpstateError):
        return str(error)
    if isinstance(error, OSError):
        return f"cannot read '{error.filename}': {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "not enough memory; narrow what is asked, or give the process more"
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"an error of fpstate itself: {' '.join(what.split())}"


def warm(name: str) -> None:
    """Compile what a kind of job needs, once on a machine, so that other workers there find it done."""
    from fpstate import jit

    if not any(jit.first_use(engine) for engine in kind_of(name).engines):
        return
    if name in ("compare", "search"):
        from fpstate.api import compare

        compare("hvc-fp.vhe", "eager")
    if name in ("check", "search"):
        from fpstate.api import check

        check("eager", cpus=1, tasks=1, vcpus=1, cores=1)

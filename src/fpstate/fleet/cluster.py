"""Jobs on Dask's workers: some of this machine's own, started for it, or those of a scheduler that is there."""

from __future__ import annotations

import logging
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any

from fpstate.errors import FpstateError
from fpstate.fleet.digest import code_digest
from fpstate.fleet.job import Job, failed
from fpstate.fleet.kinds import kind_of
from fpstate.fleet.lines import lines_of
from fpstate.fleet.where import Note, SchedulerGoneError, Where
from fpstate.fleet.work import Handed, OtherCodeError, handed_over, sentence, warm

if TYPE_CHECKING:
    from distributed import Client, Future

INSTALL = "in the folder of fpstate's source: pip install -e '.[fleet]'"
SILENT = logging.CRITICAL + 1
"""What Dask would log is told by us, as far as it bears on the answers."""
CONNECT_SECONDS = 10
Key = tuple[str, int]
"""How Dask knows a job: the first part is the same for all, so that it counts them as a group."""
MOST_DEATHS = 2
"""A job that so many workers of our own have died of is given to one more, the last."""
TASK_SECONDS = 1.0
MOST_JOBS = 256
"""A task has as many jobs as take about so long, by those of late, and no more than so many."""
RECENT = 50
PATIENCE = 5.0
"""Seconds without a worker until that is said."""
SETTINGS = {
    "distributed.scheduler.allowed-failures": MOST_DEATHS,
    "distributed.scheduler.worker-saturation": 1.0,  # one job at a time, so that it is known which one a worker died of
    "distributed.logging.distributed": "critical",
    "distributed.admin.system-monitor.gil.enabled": False,
}
GONE = (OSError, TimeoutError)


def dask() -> Any:
    """Return the package distributed. Raise FpstateError, with what to do, when it is not installed."""
    try:
        import distributed
    except ImportError:
        raise FpstateError("workers need Dask (distributed), which is not installed", hint=INSTALL) from None
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(SILENT)
    return distributed


@contextmanager
def client_of(where: Where, jobs: int) -> Iterator[Client]:
    """Yield a client of the workers; those started for it are gone afterwards. Raise FpstateError if there are none."""
    made = _here(min(where.workers, jobs)) if where.workers else _there(where.scheduler)
    with made as client:
        yield client


@contextmanager
def _here(workers: int) -> Iterator[Client]:
    """Start workers on this machine, each a process of one thread."""
    distributed = dask()
    import dask as settings

    with settings.config.set(SETTINGS):
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs=SILENT,
        )
        client = None
        try:
            client = distributed.Client(cluster, set_as_default=False)
            yield client
        finally:
            _end(cluster)
            for each in (client, cluster):
                if each is not None:
                    with suppress(Exception):
                        each.close(timeout=5)


def _end(cluster: Any) -> None:
    """Kill the workers: there is nothing in them that is still wanted, and what they are at may take minutes."""
    for nanny in list(cluster.workers.values()):
        process = getattr(nanny, "process", None)
        nanny.auto_restart = False
        if process is not None and process.process is not None:
            with suppress(Exception):
                process.process._process.kill()


@contextmanager
def _there(address: str) -> Iterator[Client]:
    """Connect to a scheduler."""
    distributed = dask()
    from distributed.comm import get_address_host_port
    from distributed.comm.registry import get_backend

    expected = "the address of a Dask scheduler, like tcp://127.0.0.1:8786"
    try:
        get_backend(address.partition("://")[0] if "://" in address else "tcp")
        get_address_host_port(address)
    except ValueError as error:
        raise FpstateError(f"'{address}' is no address: {error}", expected=expected) from None
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except GONE:
        raise FpstateError(f"no scheduler answers at '{address}'", expected=expected) from None
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=2)


def spread(
    client: Client, jobs: Sequence[Job], note: Note, answer: Callable[[Sequence[Job]], list[Handed]] = handed_over
) -> Iterator[tuple[Job, bytes]]:
    """Yield each job with the lines of its rows, made by `answer` on a worker, as they come.

    A worker that is gone is told by `note`, and what it was at is done by another; a job that has cost several workers
    fails. Raise SchedulerGoneError if the scheduler is gone, FpstateError if workers have no fpstate or another.
    """
    try:
        yield from _Spread(client, jobs, note, answer).rows()
    except (*GONE, dask().CancelledError):
        raise SchedulerGoneError(_address(client)) from None


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler is not None else "?"


class _Spread:
    """One set of jobs on its way: as tasks, each of so many jobs that Dask has little to do beside them."""

    def __init__(
        self, client: Client, jobs: Sequence[Job], note: Note, answer: Callable[[Sequence[Job]], list[Handed]]
    ) -> None:
        self.client, self.note, self.answer = client, note, answer
        self.kind, self.name = jobs[0].kind, f"fpstate-{jobs[0].kind}-{secrets.token_hex(4)}"
        self.waiting = deque(jobs)
        self.alone: deque[Job] = deque()  # jobs that go by themselves: a worker has died of some of them
        self.tasks: dict[Key, tuple[Sequence[Job], Future]] = {}
        self.finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self.seconds: deque[float] = deque(maxlen=RECENT)
        self.workers: set[str] = set()
        self.number = 0
        self.tell_none_at = time.monotonic() + PATIENCE

    def rows(self) -> Iterator[tuple[Job, bytes]]:
        """Yield each job with its rows."""
        self.client.subscribe_topic("all", lambda event: self.events.put(event[1]))
        self.workers |= set(self.client.nthreads())
        self._warm()
        self._submit()
        try:
            while self.tasks:
                batch = self._batch()
                self._hear()
                yield from self._gathered(batch)
                self._submit()
        finally:
            with suppress(Exception):
                self.client.unsubscribe_topic("all")

    def _warm(self) -> None:
        """Compile what is needed on one worker of each machine, before the others want it as well."""
        first = {address.rpartition(":")[0]: address for address in self.workers}
        where: dict[str, Any] = {"pure": False, "allow_other_workers": True}
        for future in [self.client.submit(warm, self.kind, workers=[a], **where) for a in first.values()]:
            future.add_done_callback(self.finished.put)
            while self.finished.empty():
                self._look()
                time.sleep(0.01)
            self._refuse(self.finished.get().exception())

    def _submit(self) -> None:
        """Give the scheduler so many tasks that each worker has one to go on with."""
        while len(self.tasks) < 2 * len(self.workers) + 2 and (self.alone or self.waiting):
            jobs = [self.alone.popleft()] if self.alone else [self.waiting.popleft() for _ in range(self._size())]
            key = self.name, self.number
            self.number += 1
            future = self.client.submit(self.answer, jobs, key=key, pure=False)
            self.tasks[key] = jobs, future
            future.add_done_callback(self.finished.put)

    def _size(self) -> int:
        """Return of how many jobs the next task is: about a second of them, but so that all workers have some."""
        if not self.seconds:
            return 1
        lasting = TASK_SECONDS * len(self.seconds) / max(sum(self.seconds), 1e-9)
        return max(1, min(int(lasting), len(self.waiting) // (3 * max(1, len(self.workers))), MOST_JOBS))

    def _batch(self) -> list[Future]:
        """Wait for tasks that are finished; return all that are by then."""
        while True:
            try:
                batch = [self.finished.get(timeout=0.5)]
                break
            except queue.Empty:
                self._look()
                self._hear()
        while not self.finished.empty():
            batch.append(self.finished.get())
        return batch

    def _look(self) -> None:
        """Raise SchedulerGoneError if the client is not connected any more; say once if there is no worker."""
        if self.client.status != "running":
            raise SchedulerGoneError(_address(self.client))
        if not self.workers and time.monotonic() > self.tell_none_at:
            self.tell_none_at = inf
            self.note(f"'{_address(self.client)}' has no worker; waiting for one")

    def _gathered(self, batch: Sequence[Future]) -> Iterator[tuple[Job, bytes]]:
        """Yield what came of tasks; one that was split meanwhile is none of them."""
        ended = [future for future in batch if future.key in self.tasks]
        if any(future.status == "cancelled" for future in ended):
            raise SchedulerGoneError(_address(self.client))
        good = [future for future in ended if future.status == "finished"]
        for future, came in zip(good, self._results(good), strict=True):
            if came is None:
                continue
            jobs, _ = self.tasks.pop(future.key)
            for job, (lines, seconds) in zip(jobs, came, strict=True):
                self.seconds.append(seconds)
                yield job, lines
        for future in ended:
            if future.status == "error":
                yield from self._failed(future)

    def _results(self, good: Sequence[Future]) -> list[list[Handed] | None]:
        """Return what came of tasks, all at once; one by one if some was lost again, with None for those."""
        from distributed import KilledWorker

        try:
            return list(self.client.gather(good))
        except KilledWorker:
            found: list[list[Handed] | None] = []
            for future in good:
                error = future.exception()
                found.append(future.result() if error is None else None)
            return found

    def _failed(self, future: Future) -> Iterator[tuple[Job, bytes]]:
        """Yield rows that say why there are no others, of a task that no worker could do."""
        from distributed import KilledWorker

        error = future.exception()
        self._refuse(error)
        jobs, _ = self.tasks.pop(future.key)
        if len(jobs) > 1:
            self.alone.extend(jobs)
            return
        if isinstance(error, KilledWorker):
            why = f"{error.allowed_failures + 1} workers died while they were at it"
        else:
            why = sentence(error)
        for job in jobs:
            yield job, lines_of(kind_of(job.kind), [failed(ask, why) for ask in job.asks])

    def _refuse(self, error: BaseException | None) -> None:
        """Raise FpstateError if this is what workers say that are of no use at all."""
        where = f"the workers of '{_address(self.client)}'"
        expected = f"the same fpstate there as here ({code_digest()})"
        while error is not None:
            if isinstance(error, OtherCodeError):
                raise FpstateError(f"{where} have another fpstate", expected=expected)
            if isinstance(error, ImportError) and (error.name or "").startswith("fpstate"):
                raise FpstateError(f"{where} have no such fpstate", expected=expected)
            error = error.__cause__

    def _hear(self) -> None:
        """Take note of workers that have come and gone, and say which are gone that had something to do.

        Of several jobs that one was at, each goes on by itself: then it is known of which the next one dies.
        """
        while not self.events.empty():
            event = self.events.get()
            if event.get("action") == "add-worker":
                self.workers.add(event["worker"])
            if event.get("action") != "remove-worker":
                continue
            self.workers.discard(event["worker"])
            if event.get("expected"):
                continue
            held = [(key, self.tasks[key][0]) for key in event["processing-tasks"] if key in self.tasks]
            names = [job.name for _, jobs in held for job in jobs]
            at = f"; it was at {', '.join(names[:3])}" if names else ""
            at += f" and {len(names) - 3} more" if len(names) > 3 else ""
            self.note(f"worker {event['worker']} is gone{at}")
            for key, jobs in held:
                if len(jobs) > 1:
                    _, future = self.tasks.pop(key)
                    future.cancel()
                    self.alone.extend(jobs)
            self._submit()

"""Jobs on Dask's workers: some of this machine's own, started for it, or those of a scheduler that is there."""

from __future__ import annotations

import logging
import queue
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from fpstate.errors import FpstateError
from fpstate.fleet.digest import code_digest
from fpstate.fleet.go import Note, SchedulerGoneError, Where
from fpstate.fleet.job import Job, Row, failed
from fpstate.fleet.work import OtherCodeError, sentence, warm, work

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
WINDOW = 5000
"""So many jobs are with the scheduler at a time."""
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


def spread(client: Client, jobs: Sequence[Job], note: Note) -> Iterator[list[Row]]:
    """Yield the rows of each job as they come from the workers.

    A worker that is gone is told by `note`, and what it was at is done by another; a job that has cost several workers
    fails. Raise SchedulerGoneError if the scheduler is gone, FpstateError if workers have no fpstate or another.
    """
    try:
        yield from _Spread(client, jobs, note).rows()
    except GONE:
        raise SchedulerGoneError(_address(client)) from None


def _address(client: Client) -> str:
    return str(client.scheduler.address) if client.scheduler is not None else "?"


class _Spread:
    """One set of jobs on its way."""

    def __init__(self, client: Client, jobs: Sequence[Job], note: Note) -> None:
        self.client, self.note = client, note
        run = secrets.token_hex(4)
        self.waiting: dict[Key, Job] = {(f"fpstate-{job.kind}-{run}", i): job for i, job in enumerate(jobs)}
        self.todo = iter(list(self.waiting))
        self.futures: dict[Key, Future] = {}
        self.finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.events: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self.last_seen = time.monotonic()

    def rows(self) -> Iterator[list[Row]]:
        """Yield the rows of each job."""
        self.client.subscribe_topic("all", lambda event: self.events.put(event[1]))
        self._warm()
        self._submit(WINDOW)
        try:
            while self.waiting:
                batch = self._batch()
                self._tell()
                yield from self._gathered(batch)
                self._submit(len(batch))
        finally:
            with suppress(Exception):
                self.client.unsubscribe_topic("all")

    def _warm(self) -> None:
        """Compile what is needed on one worker of each machine, before the others want it as well."""
        addresses = list(self.client.scheduler_info(n_workers=-1)["workers"])
        first = {address.rpartition(":")[0]: address for address in addresses}
        kind = next(iter(self.waiting.values())).kind
        pinned = [
            self.client.submit(warm, kind, workers=[a], pure=False, allow_other_workers=True) for a in first.values()
        ]
        for future in pinned:
            self._await(future)
            if future.status == "error":
                self._refuse(future.exception())

    def _await(self, future: Future) -> None:
        """Wait for one future, with an eye on the scheduler."""
        future.add_done_callback(self.finished.put)
        while self.finished.empty():
            self._look()
            time.sleep(0.02)
        self.finished.get()

    def _submit(self, most: int) -> None:
        for _, key in zip(range(most), self.todo, strict=False):
            future = self.client.submit(work, self.waiting[key], key=key, pure=False)
            self.futures[key] = future
            future.add_done_callback(self.finished.put)

    def _batch(self) -> list[Future]:
        """Wait for jobs that are finished; return all that are by then."""
        while True:
            try:
                batch = [self.finished.get(timeout=0.5)]
                break
            except queue.Empty:
                self._look()
                self._tell()
        while len(batch) < 256:
            try:
                batch.append(self.finished.get_nowait())
            except queue.Empty:
                break
        return batch

    def _look(self) -> None:
        """Raise SchedulerGoneError if the client is not connected any more; say it if there is no worker."""
        if self.client.status != "running":
            raise SchedulerGoneError(_address(self.client))

    def _gathered(self, batch: Sequence[Future]) -> Iterator[list[Row]]:
        if any(future.status == "cancelled" for future in batch):
            raise SchedulerGoneError(_address(self.client))
        good = [future for future in batch if future.status == "finished"]
        for future, rows in zip(good, self.client.gather(good), strict=True):
            yield self._done(future, rows)
        for future in batch:
            if future.status == "error":
                yield self._done(future, self._failed(future))

    def _done(self, future: Future, rows: list[Row]) -> list[Row]:
        key = future.key
        del self.futures[key], self.waiting[key]
        future.release()
        return rows

    def _failed(self, future: Future) -> list[Row]:
        """Return the rows of a job that no worker could answer."""
        from distributed import KilledWorker

        error = future.exception()
        job = self.waiting[future.key]
        self._refuse(error)
        if isinstance(error, KilledWorker):
            why = f"{error.allowed_failures + 1} workers died while they were at it"
        else:
            why = sentence(error)
        return [failed(ask, why) for ask in job.asks]

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

    def _tell(self) -> None:
        """Say which workers are gone since it was last said."""
        while not self.events.empty():
            event = self.events.get()
            if event.get("action") != "remove-worker" or event.get("expected"):
                continue
            held = [self.waiting[key].name for key in event["processing-tasks"] if key in self.waiting]
            at = f"; it was at {', '.join(held)}" if held else ""
            self.note(f"worker {event['worker']} is gone{at}")

"""A limit of time for Python that does not run on the main thread, where no signal comes: on a worker of Dask."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK = 0.25
"""Seconds from one look at the clock to the next."""

_lock = threading.Lock()
_deadlines: dict[int, tuple[float, type[BaseException]]] = {}  # by thread
_watching: list[threading.Thread] = []


@contextmanager
def watched(seconds: float, error: type[BaseException]) -> Iterator[None]:
    """Raise `error`, which takes no arguments, in what is inside if that is Python and takes longer than so."""
    me = threading.get_ident()
    with _lock:
        if not _watching or not _watching[0].is_alive():
            _watching[:] = [threading.Thread(target=_watch, name="fpstate-watch", daemon=True)]
            _watching[0].start()
        _deadlines[me] = time.monotonic() + seconds, error
    try:
        yield
    finally:
        with _lock:
            _deadlines.pop(me, None)


def _watch() -> None:
    while True:
        time.sleep(LOOK)
        with _lock:
            for thread, (deadline, error) in list(_deadlines.items()):
                if time.monotonic() > deadline:
                    del _deadlines[thread]
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))

"""Running code that a user wrote: for so long, its prints on stderr, and without ending this process.

This is no sandbox: what such code does to files or over the network is not held back. It only must not be mistaken for
an answer: a policy that ends the process would else leave the exit code of a good result.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import Any, Final

from fpstate.watch import watched

ENDS: Final = {name: f for name, f in vars(os).items() if name in ("_exit", "abort", "fork") or name.startswith("exec")}
"""Functions of `os` that end this process, or go on in two."""


class Stopped(Exception):
    """A user's code took too long, or tried to end the process; the message says which, as what it did."""


@cache
def _refusals(thread: int) -> dict[str, Callable[..., Any]]:
    """Return what stands for functions of ENDS while a user's code runs on a thread."""
    return {name: _refusing(function, thread) for name, function in ENDS.items()}


def _refusing(function: Callable[..., Any], thread: int) -> Callable[..., Any]:
    """Return what refuses to do what `function` does on one thread: others may have to end the process meanwhile."""

    def called(*given: Any, **named: Any) -> Any:
        if threading.get_ident() == thread:
            raise Stopped("ends the process")
        return function(*given, **named)

    return called


@contextmanager
def users_code(seconds: float) -> Iterator[None]:
    """Run what is inside for at most so many seconds: by a timer on the main thread, else by a thread that watches.

    Raise Stopped there if it takes longer, or if it ends the process by a function of `os`.
    """
    for name, refusal in _refusals(threading.get_ident()).items():
        setattr(os, name, refusal)
    try:
        with redirect_stdout(sys.stderr), _limit(seconds):
            yield
    finally:
        for name, function in ENDS.items():
            setattr(os, name, function)


@cache
def _too_long(seconds: float) -> type[Stopped]:
    """Return the exception for what takes longer: a class without arguments, as one is raised on another thread."""
    return type("TooLong", (Stopped,), {"__str__": lambda _: f"has not ended after {seconds:g} seconds"})


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        with watched(seconds, _too_long(seconds)):
            yield
        return

    def stop(*_: object) -> None:
        raise _too_long(seconds)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

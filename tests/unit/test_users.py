"""A user's code on any thread: for so long, and without ending the process; other threads are not held back."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from fpstate import watch
from fpstate.users import Stopped, users_code


def forever() -> None:
    while True:
        pass


def leave() -> None:
    os._exit(0)


def stopped(what: Callable[[], None]) -> str:
    """Return why a user's code was stopped."""
    with pytest.raises(Stopped) as said, users_code(0.2):
        what()
    return str(said.value)


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize(("what", "why"), [(forever, "has not ended after 0.2 seconds"), (leave, "ends the process")])
def test_it_is_stopped_on_each_thread(threads: bool, what: Callable[[], None], why: str) -> None:
    if not threads:
        assert stopped(what) == why
        return
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(stopped, what).result() == why
        assert pool.submit(stopped, what).result() == why


def test_what_ends_in_time_is_not_stopped_later() -> None:
    def work() -> int:
        with users_code(0.1):
            pass
        time.sleep(2 * watch.LOOK)
        return 1

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == 1


def test_another_thread_may_end_the_process_meanwhile() -> None:
    """As a worker does whose parent is gone."""
    code = (
        "import os, threading, time\n"
        "from fpstate.users import users_code\n"
        "with users_code(60):\n"
        "    threading.Thread(target=lambda: os._exit(7)).start()\n"
        "    time.sleep(30)\n"
    )
    began = time.monotonic()
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 7
    assert time.monotonic() - began < 20

"""Where jobs run, and how what happens there is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Note = Callable[[str], None]
"""What is called with a sentence that is to be said at once."""


class SchedulerGoneError(Exception):
    """The scheduler was there, and is not any more; the message is its address."""


@dataclass(frozen=True)
class Where:
    """Where jobs run: in this process, on so many workers here, or on those of the scheduler at an address."""

    workers: int = 0
    scheduler: str = ""


HERE = Where()
"""One job after the other in this process."""

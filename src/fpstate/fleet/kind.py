"""What a kind of job is: the columns of its rows, and how a worker answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fpstate.fleet.job import Ask, Job, Row

TEXT, NUMBER, REAL, YES = "text", "number", "real", "yes"
"""What a column holds: text, a whole number, a real number, yes or no. Each may be missing."""


@dataclass(frozen=True)
class Kind:
    """One of the commands that can be asked in many ways.

    `label` and `answer` are columns with what they hold. `prepare` makes once what all rows of a job share, `answer_of`
    returns the columns of `answer` for one row; both raise FpstateError or OSError for what cannot be used. `engines`
    are those of fpstate.jit that it needs.
    """

    name: str
    label: dict[str, str]
    answer: dict[str, str]
    prepare: Callable[[Job], Any]
    answer_of: Callable[[Any, Ask], Row]
    engines: tuple[str, ...]

    @property
    def schema(self) -> str:
        """Name and version of the form of its rows."""
        return f"fpstate.fleet.{self.name}/1"

    @property
    def columns(self) -> dict[str, str]:
        """All columns of its table, in order."""
        return {**self.label, "error": TEXT, **self.answer, "seconds": REAL, "key": TEXT}

"""What is asked for, and what one worker does at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """One row that is asked for.

    `label`: its first columns, by which it is told from others. `key`: a digest of all that its other columns hang on.
    """

    label: Row
    key: str

    @property
    def place(self) -> tuple[Any, ...]:
        """The label as what a row can be looked up by."""
        return tuple(self.label.values())


@dataclass(frozen=True)
class Job:
    """What one worker does at a time: rows of one kind that share what has to be read or made for them.

    `name`: what a person would call it. `given`: what the kind needs beside the labels, with paths that do not hang on
    the folder a process runs in. `code`: digest of the package that has asked.
    """

    kind: str
    name: str
    asks: tuple[Ask, ...]
    given: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""

    def without(self, answered: Callable[[Ask], bool]) -> Job:
        """Return the job less what is answered already."""
        return replace(self, asks=tuple(ask for ask in self.asks if not answered(ask)))


def failed(ask: Ask, error: str) -> Row:
    """Return the row of what could not be answered, with one sentence that says why."""
    return {**ask.label, "key": ask.key, "error": error}

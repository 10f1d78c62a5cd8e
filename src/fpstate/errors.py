"""The one shape of every error a user can cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FpstateError(Exception):
    """Something the user gave cannot be used; shown as one message, never as a traceback.

    `given` says what came in, `expected` what would have been right, `where` the file and line,
    `hint` what to do next. All but `given` may be empty. `str()` joins them into one message.
    """

    def __init__(self, given: str, *, expected: str = "", where: str = "", hint: str = "") -> None:
        super().__init__(given)
        self.given = given
        self.expected = expected
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.given}" if self.where else self.given]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.hint:
            parts.append(self.hint)
        return "; ".join(parts)


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str = "") -> FpstateError:
    """Return the error for a `name` that is not among the `known` ones, with the nearest of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else ""
    expected = f"one of {', '.join(names)}" if names else f"a {kind} that is there: there is none"
    return FpstateError(f"unknown {kind} '{name}'", expected=expected, where=where, hint=hint)

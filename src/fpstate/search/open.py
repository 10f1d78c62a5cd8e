"""Ways to fill in holes, one after another: what was found out about one rules out all that are like it.

A finding names the holes that were asked for on the way to it. Handlers decide by what they see and by these holes
alone, so each way that agrees on them meets the same end: the pruning of VerC3 (Elver, Banks, Jackson, Nagarajan:
"VerC3: A Library for Explicit State Synthesis of Concurrent Systems", DATE 2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


class Ways:
    """All ways to fill in holes, less those ruled out so far; holes that come first are changed last."""

    def __init__(self, choices: Mapping[str, Sequence[Any]]) -> None:
        self.choices = choices
        self.order = list(choices)
        self._depth = {name: i for i, name in enumerate(self.order)}
        self._ruled_out: list[dict[tuple[str, ...], set[tuple[Any, ...]]]] = [{} for _ in self.order]
        self._jump = len(self.order)  # how far up to go before anything else is tried
        self._none_left = False

    @property
    def count(self) -> int:
        """How many ways there are in all."""
        number = 1
        for choices in self.choices.values():
            number *= len(choices)
        return number

    def rule_out(self, values: Mapping[str, Any], holes: Iterable[str]) -> None:
        """Rule out each way that has these values in these holes; without a hole, all there are."""
        names = sorted(set(holes), key=self._depth.__getitem__)
        deepest = self._depth[names[-1]] if names else -1
        if names:
            self._ruled_out[deepest].setdefault(tuple(names), set()).add(tuple(values[name] for name in names))
        else:
            self._none_left = True
        self._jump = min(self._jump, deepest)

    def is_open(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a way is not ruled out so far."""
        return not self._none_left and not any(_has(at, values) for at in self._ruled_out)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what is left, one at a time; what is ruled out meanwhile is left out from then on."""
        self._jump = len(self.order)
        return iter(()) if self._none_left else self._fill(0, {})

    def _fill(self, depth: int, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if depth == len(self.order):
            yield dict(values)
            return
        name = self.order[depth]
        for choice in self.choices[name]:
            values[name] = choice
            if _has(self._ruled_out[depth], values):
                continue
            yield from self._fill(depth + 1, values)
            if self._jump < depth:
                break
            self._jump = len(self.order)
        values.pop(name, None)


def _has(ruled_out: Mapping[tuple[str, ...], set[tuple[Any, ...]]], values: Mapping[str, Any]) -> bool:
    """Tell whether values are among those ruled out, which are kept by the names of their holes."""
    return any(tuple(values[name] for name in names) in each for names, each in ruled_out.items())

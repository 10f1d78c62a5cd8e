"""One check from end to end: policy and scope in, verdict and counterexample out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from fpstate.check import following
from fpstate.check.moves import Setting, with_bits
from fpstate.check.parts import make_layout
from fpstate.check.search import Found, Progress, Search
from fpstate.errors import FpstateError
from fpstate.notebook import frame, html_table
from fpstate.paths import order
from fpstate.paths.blame import ending
from fpstate.paths.order import Bounds
from fpstate.paths.properties import (
    CONFIDENTIALITY,
    DEFAULT,
    FALSE_NATIVE,
    INTEGRITY,
    USER_SVE_TRAP_WRONG,
    bits_of,
    first_name,
)
from fpstate.paths.scope import KIND_NAMES, Scope, build, named_kinds
from fpstate.paths.tell import Path, Step, table, tell
from fpstate.paths.walk import Walker, follow
from fpstate.policies.base import Policy
from fpstate.rows.decisions import all_decisions
from fpstate.rows.fields import features_of
from fpstate.rows.learn import Rows
from fpstate.world import wide
from fpstate.world.operations import CLEAR, FETCH
from fpstate.world.state import World

if TYPE_CHECKING:
    import polars

HOLDS, VIOLATED, NOT_REACHED, INCOMPLETE = "holds", "violated", "not reached", "incomplete"
OF_GUESTS = (order.GUEST_FP, order.GUEST_SVE, order.GUEST_SVCR)
MAX_STATES = 100_000_000
FEW = 4_000_000
"""States beyond which the values of contexts are followed one by one."""


@dataclass(frozen=True)
class Result:
    """The verdict of a check. `path` is there when it was violated; `missing` names events that never happened.

    `followed`: what values were followed one by one, each in a search of its own, if not all at once.
    `default` is the scope the policy would have been looked at in if nothing had been said, where that is known.
    """

    policy: str
    verdict: str
    property: str
    scope: Scope
    states: int
    moves: int
    depth: int
    seconds: float
    path: Path | None = None
    missing: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    default: Scope | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        apart = ("path", "missing", "scope", "features", "followed", "default")
        known = {k: v for k, v in vars(self).items() if k not in apart}
        path = self.path
        steps = [asdict(s) for s in path.steps] if path else []
        wrong = {"blame": path.blame, "code": path.code} if path else {"blame": "", "code": ""}
        known |= {"features": list(self.features), "followed": list(self.followed)}
        return known | {"scope": asdict(self.scope), "missing": list(self.missing), "path": steps} | wrong

    def title(self) -> str:
        """Return what was looked at: the policy, its scope and features."""
        beyond = f"; features: {','.join(self.features)}" if self.features else ""
        return f"{self.policy}: {self.scope.describe()}{beyond}"

    def told(self) -> str:
        """Return the verdict in one line, with its property or scope and the size of the search."""
        what = f" {self.property}" if self.property else ""
        what += f" at {self.scope.counted()}" if self.verdict == HOLDS else ""
        numbers = f"{self.states:,} states, {self.moves:,} moves, depth {self.depth}, {self.seconds:.2f} s"
        return f"{self.verdict}{what}: {numbers}"

    def caveats(self) -> list[str]:
        """Return what the verdict does not say, as sentences."""
        said = []
        if self.verdict == HOLDS and self.default and self.scope.smaller_than(self.default):
            said.append(f"smaller than the default scope: {self.default.counted()}; what holds here may fail there")
        if self.followed:
            said.append(f"followed one by one, in a search each: {', '.join(self.followed)}")
        if self.missing:
            said.append(f"never happened: {', '.join(self.missing)}; a search without them shows nothing")
        if self.verdict == INCOMPLETE:
            said.append("the bound on states was reached; raise --max-states or narrow the scope")
        return said

    def to_polars(self) -> polars.DataFrame:
        """Return a row for each step of the path, none without one, in the columns of `path[]` in docs/json.md.

        Raise FpstateError if Polars is not installed.
        """
        steps = [asdict(s) for s in self.path.steps] if self.path else []
        return frame(steps, get_type_hints(Step))

    def _repr_html_(self) -> str:
        """Return verdict and path for a notebook."""
        steps = self.path.steps if self.path else []
        heads, rows = table(steps, range(self.scope.cpus))
        above = [f"path {self.path.code}"] if self.path else []
        wrong = ending(self.path.wrong, self.path.blame) if self.path else []
        return html_table(self.title(), heads, rows, above=above, below=[*wrong, self.told(), *self.caveats()])


def check(
    policy: type[Policy],
    scope: Scope,
    *,
    properties: Iterable[str] = DEFAULT,
    max_states: int = MAX_STATES,
    cores: int = 2,
    fold: bool = True,
    progress: Progress = lambda *_: None,
) -> Result:
    """Search every order of events of `scope` for one that breaks one of `properties` under `policy`.

    `fold`: treat worlds as one that differ only in the names of CPUs, tasks and vCPUs, or in what the policy will never
    know of (rows.unread). Where there are more than FEW states, values are followed one by one then (check.following).
    """
    rows, wanted = Rows(policy, interruptible=True), bits_of(properties)
    bounds = build(scope, rows)[0]
    _refuse_without_flags(bounds, wanted, policy)
    question = Question(rows, scope, wanted, fold, cores, progress)
    few = min(max_states, FEW) if fold and following.is_worth_it(features_of(policy), bounds, wanted) else max_states
    followed: tuple[str, ...] = ()
    end = question.search(few)
    if few < max_states and not end.complete:
        end, followed = question.one_by_one(max_states)
    missing = () if end.path else _never_happened(end.kinds, scope, bounds.events)
    verdict = VIOLATED if end.path else INCOMPLETE if not end.complete else NOT_REACHED if missing else HOLDS
    name = first_name(end.path.broken) if end.path else ""
    had, numbers = tuple(sorted(policy.features)), (end.states, end.moves, end.depth, end.seconds)
    return Result(policy.name, verdict, name, scope, *numbers, end.path, missing, had, followed)


@dataclass(frozen=True)
class Ending:
    """How searches have ended. `sure`: what they found, if anything, was found again with all values known."""

    complete: bool
    states: int
    moves: int
    depth: int
    seconds: float
    kinds: dict[int, int]
    path: Path | None
    sure: bool = True


@dataclass(frozen=True)
class Question:
    """What is searched for, and how."""

    rows: Rows
    scope: Scope
    wanted: int
    fold: bool
    cores: int = 2
    progress: Progress = lambda *_: None

    def search(self, max_states: int, followed: int = 0) -> Ending:
        """Search, knowing all values or those that are followed."""
        seconds = 0.0
        for search in searches(self.rows, self.scope, self.wanted, fold=self.fold, cores=self.cores, followed=followed):
            search.compile()
            began = time.perf_counter()
            found = search.run(max_states, self.progress)
            path = rebuild(search, found, self.scope, self.wanted) if found.violation else None
            seconds += time.perf_counter() - began
            if path or not found.violation:
                break  # else it went wrong only since each context had zeros of its own
        sure = path is not None or not found.violation
        return Ending(found.complete, found.states, found.moves, found.depth, seconds, found.kinds, path, sure)

    def one_by_one(self, max_states: int) -> tuple[Ending, tuple[str, ...]]:
        """Search following one thing after the other; return also what they were: nothing if all had to be known."""
        each = following.each(self.scope, features_of(self.rows.policy))
        ends = []
        for followed in each.values():
            try:
                ends.append(self.search(max_states, followed))
            except FpstateError:  # of a handler, perhaps beyond where a search that knows more would have ended
                return self.search(max_states), ()
        told = min((end for end in ends if end.path), key=lambda end: end.depth, default=None)
        if not all(end.sure for end in ends):
            whole = self.search(max_states)
            if whole.complete or not told:
                return whole, ()
        complete, depth = all(end.complete for end in ends), told.depth if told else max(end.depth for end in ends)
        states, moves, seconds = (sum(getattr(end, what) for end in ends) for what in ("states", "moves", "seconds"))
        path = told.path if told else None
        return Ending(complete, states, moves, depth, seconds, ends[0].kinds, path), tuple(each)


def replay_path(policy: type[Policy], scope: Scope, code: str, *, properties: Iterable[str] = DEFAULT) -> Result:
    """Follow a path by its code (`0/3/1`); the verdict is "violated", or "not reached": one path shows no more."""
    began = time.perf_counter()
    walker = Walker(Rows(policy, interruptible=True), scope)
    broken, wrong = follow(walker, code, bits_of(properties))
    n = len(walker.moves)
    choices = [int(word) for word in code.split("/")[:n]] if code else []
    path = tell(walker, choices, broken, wrong)
    verdict, name = (VIOLATED, first_name(broken)) if broken else (NOT_REACHED, "")
    seconds = time.perf_counter() - began
    return Result(
        policy.name, verdict, name, scope, n + 1, n, n, seconds, path, features=tuple(sorted(policy.features))
    )


def rebuild(search: Search, found: Found, scope: Scope, wanted: int) -> Path | None:
    """Return the path to the violation a search has found, in the names of the first world.

    None if nothing goes wrong on it with all values known, and zeros nobody's: then the search took for wrong what is
    not.
    """
    assert found.violation is not None
    _, verdict, broken = found.violation
    walker = Walker(search.rows, scope, zeros=bool(search.first.zeros))
    walker.worlds = [search.known_of(search.first)]
    choices = [_towards(walker, search, lambda after, *_: search.packed(after) == goal) for goal in found.chain()[1:]]  # noqa: B023
    if found.move >= 0:
        choices.append(_towards(walker, search, lambda _, v, b: v == verdict and bool(b & broken)))
    walker = Walker(search.rows, scope)
    broken, verdict = follow(walker, "/".join(map(str, choices)), wanted)
    if not broken:
        if search.first.zeros and not search.first.followed:
            raise AssertionError("what was found is not wrong; this is a bug of ours")
        return None
    return tell(walker, choices[: len(walker.moves)], broken, verdict)


def _towards(walker: Walker, search: Search, wanted: Callable[[World, int, int], bool]) -> int:
    """Make the first move whose world, verdict and broken properties are as wanted; return which it was."""
    for choice, move in enumerate(walker.enabled()):
        after, verdict, broken = walker.attempt(move)
        if wanted(after, verdict, broken):
            walker.go(move, search.known_of(after))
            return choice
    raise AssertionError("a path cannot be walked again; this is a bug of ours")


def searches(
    rows: Rows, scope: Scope, wanted: int, *, fold: bool, cores: int, forget: bool = True, followed: int = 0
) -> Iterator[Search]:
    """Yield the searches that decide about a policy, not begun: with zeros that are somebody's, then with nobody's."""
    for zeros in (False, True):
        if not zeros and (CLEAR in operations_of(rows.policy) or scope.boot == "initial"):  # type: ignore[arg-type]
            continue  # there are zeros from the start, or made by the policy: whose they are is likely to matter
        first = build(scope, rows, zeros=zeros)[1].but(followed=followed)
        yield _search_from(first, rows, scope, wanted, fold=fold, cores=cores, forget=forget)


def search_for(
    rows: Rows, scope: Scope, wanted: int, *, fold: bool, cores: int, zeros: bool, forget: bool = True
) -> Search:
    """Return a search of a policy in a scope, not begun. `zeros` as in `new_world`: without, there are fewer states.

    `fold`: worlds that differ in names only are one, and if `forget` in what the policy will never know of, too.
    """
    first = build(scope, rows, zeros=zeros)[1]
    return _search_from(first, rows, scope, wanted, fold=fold, cores=cores, forget=forget)


@cache
def operations_of(policy: type[Policy]) -> frozenset[int]:
    """Return the operations a policy may ask for, in whole handlers, points or not."""
    try:
        return frozenset(op for d in all_decisions(Rows(policy)) for op, _, _ in d.ops)
    except FpstateError:  # some view that never comes up asks for the impossible; then all may be asked for
        return frozenset((CLEAR, FETCH))


def _search_from(
    first: World, rows: Rows, scope: Scope, wanted: int, *, fold: bool, cores: int, forget: bool
) -> Search:
    old = bool(wanted & CONFIDENTIALITY and not wanted & INTEGRITY)  # else what is old breaks integrity first
    layout = make_layout(
        scope, features=first.features, zeros=bool(first.zeros), fold=fold, followed=first.followed, old=old
    )
    crosses = int(bool(operations_of(rows.policy) & {FETCH, wide.FETCH_SVE}))  # type: ignore[arg-type]
    nothing = np.zeros(3, np.int64), np.zeros((2, 2), np.int64)
    setting = with_bits(Setting(layout, build(scope, rows)[0], wanted, crosses, *nothing, 0, 0, 0), 16)
    return Search(rows, setting, first, cores=cores, forget=fold and forget)


def _refuse_without_flags(bounds: Bounds, wanted: int, policy: type[Policy]) -> None:
    """Raise FpstateError if a property asks about a flag that the policy has not."""
    if wanted & FALSE_NATIVE and not bounds.foreign:
        given = f"'false-native' asks about a task's flag 'foreign', and policy '{policy.name}' has none"
        raise FpstateError(given, expected="another property; --property list shows them")
    if wanted & USER_SVE_TRAP_WRONG and not bounds.tif_sve:
        given = f"'user-sve-trap' asks about a task's flag 'tif_sve', and policy '{policy.name}' has none in this world"
        raise FpstateError(given, expected="--features sve with a policy that supports it")


def _never_happened(kinds: dict[int, int], scope: Scope, events: int) -> tuple[str, ...]:
    """Return the uses that never came about, and the events asked for by name: a search without them shows nothing."""
    asked_for = set(named_kinds(scope.events))
    asked_for |= {k for k in order.MOVES if wide.USES >> k & events >> k & 1 and (scope.vcpus or k not in OF_GUESTS)}
    return tuple(KIND_NAMES[k] for k in order.MOVES if k in asked_for and not kinds[k])

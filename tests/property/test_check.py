"""The checker against plain Python: what a name is, and what a search reaches."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.check.run import search_for
from fpstate.check.search import Found, Search
from fpstate.paths.properties import DEFAULT, bits_of
from fpstate.paths.scope import Scope
from fpstate.paths.walk import Walker
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_policy
from fpstate.rows.learn import Rows
from fpstate.world.state import (
    BIRTH,
    CURRENT,
    IMAGE,
    INITIAL,
    KERNEL_IMAGE,
    KERNEL_LATEST,
    LATEST,
    PER_CLASS,
    POINTER,
    REGISTERS,
    RUNS,
    SECOND,
    STASH,
    SVE_IMAGE,
    VERSION,
    World,
    classes_end,
    copy_of,
)

Words = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A policy and a scope to look at it in."""

    policy: str
    scope: Scope
    features: tuple[str, ...] = ()

    def rows(self) -> Rows:
        policy: type[Policy] = find_policy(self.policy)
        return Rows(with_features(policy, self.features), interruptible=True)

    def search(self, rows: Rows, *, fold: bool, forget: bool = True) -> Search:
        return search_for(rows, self.scope, bits_of(DEFAULT), fold=fold, cores=1, zeros=True, forget=forget)

    def __str__(self) -> str:
        s = self.scope
        return f"{'-'.join((self.policy, *self.features))}-{s.cpus}{s.tasks}{s.vcpus}{s.kthreads}"


def states_of(found: Found) -> set[Words]:
    return {shard.store.words_of(i) for shard in found.shards for i in range(shard.store.total)}


# Names.


def renamings(scope: Scope) -> Iterator[tuple[list[int], list[int]]]:
    """Every way to call CPUs and contexts otherwise: the new number of each CPU and of each context."""
    for cpus in itertools.permutations(range(scope.cpus)):
        start, choices = scope.cpus, []
        for count in (scope.tasks, scope.kthreads, scope.vcpus):
            choices.append(list(itertools.permutations(range(start, start + count))))
            start += count
        for chosen in itertools.product(*choices):
            yield list(cpus), [*cpus, *itertools.chain(*chosen)]


def labels_of(w: World) -> tuple[list[int], list[int]]:
    """Return the columns of CPUs and of contexts that hold labels."""
    classes = range(0, classes_end(w), PER_CLASS)
    of_cpus = [place + k for place in (REGISTERS, STASH) for k in classes]
    of_contexts = [place + k for place in (IMAGE, LATEST, INITIAL, BIRTH) for k in classes]
    return of_cpus, [*of_contexts, KERNEL_IMAGE, KERNEL_LATEST, *([SVE_IMAGE] if w.features else [])]


def renamed(w: World, cpus: list[int], contexts: list[int]) -> World:
    """Return the same world, in which CPU c is called `cpus[c]` and context x `contexts[x]`."""
    other, n = copy_of(w), len(contexts)

    def owner(label: int) -> int:
        number = label % VERSION
        return label if number < 2 else label - number + 2 * contexts[number // 2 - 1] + 2 + number % 2

    def one_more(value: int) -> int:
        return contexts[value - 1] + 1 if 0 < value <= n else value

    label_of_cpu, label_of_context = labels_of(w)
    for c, record in enumerate(w.cpu.tolist()):
        record[CURRENT] = contexts[record[CURRENT]]
        for i in (POINTER, POINTER + 1, *label_of_cpu):
            record[i] = owner(record[i])
        other.cpu[cpus[c]] = record
    for x, record in enumerate(w.context.tolist()[:n]):
        for i in (POINTER, POINTER + 1):
            record[i] = cpus[record[i] - 1] + 1 if record[i] else 0
        record[RUNS], record[SECOND] = one_more(record[RUNS]), one_more(record[SECOND])
        for i in label_of_context:
            record[i] = owner(record[i])
        other.context[contexts[x]] = record
    return other


NAMED = (
    Case("linux-4.18", Scope(1, 2, 2, 1)),
    Case("first-class", Scope(3, 2, 1)),
    Case("linux-6.14", Scope(2, 1, 1, 2)),
    Case("linux-6.14", Scope(2, 2, 1), ("sme", "guest-sve", "fpmr")),
    Case("riscv-kvm", Scope(2, 3, 0)),
)


class Names:
    """A case with what all walks in it share."""

    def __init__(self, case: Case) -> None:
        self.case, self.rows = case, case.rows()
        self.folded, self.plain = (case.search(self.rows, fold=fold, forget=False) for fold in (True, False))
        for search in (self.folded, self.plain):
            search.run(0)  # makes what `packed` works with
        self.renamings = list(renamings(case.scope))

    def walk(self, choices: list[int]) -> list[World]:
        walker = Walker(self.rows, self.case.scope)
        for choice in choices:
            moves = walker.enabled()
            move = moves[choice % len(moves)]
            after, _, broken = walker.attempt(move)
            if broken & bits_of(DEFAULT):
                break
            walker.go(move, after)
        return walker.worlds


names_in = functools.cache(Names)


@pytest.mark.parametrize("case", NAMED, ids=str)
@settings(max_examples=8, deadline=None)
@given(choices=st.lists(st.integers(0, 10**6), min_size=1, max_size=40), data=st.data())
def test_worlds_are_packed_the_same_just_if_they_differ_in_names_only(
    case: Case, choices: list[int], data: st.DataObject
) -> None:
    """By trying all names by hand: two worlds are one to the checker if, and only if, some renaming makes them one."""
    names = names_in(case)
    worlds = names.walk(choices)
    cpus, contexts = data.draw(st.sampled_from(names.renamings))
    for world in worlds[-3:]:
        assert names.folded.packed(renamed(world, cpus, contexts)) == names.folded.packed(world)
    orbits: dict[Words, frozenset[Words]] = {}
    for world in worlds[::4]:
        orbit = frozenset(names.plain.packed(renamed(world, *names_)) for names_ in names.renamings)
        assert orbits.setdefault(names.folded.packed(world), orbit) == orbit
    assert len(set(orbits.values())) == len(orbits)


# What a search reaches.


TINY = (
    Case("linux-4.18", Scope(1, 1, 1, 0, ("base", "kvm", "neon"))),
    Case("riscv-kvm", Scope(1, 1, 2, 1, ("base", "kvm"))),
    Case("linux-6.14", Scope(1, 1, 0, 1, ("base", "neon"))),
    Case("first-class-dirty", Scope(2, 1, 0, 0, ("base", "signals"))),
    Case("linux-5.2", Scope(1, 1, 1, 0, ("base", "kvm")), ("aarch32",)),
    Case("linux-4.15", Scope(1, 1, 0, 0, ("base", "user_sve", "interrupt", "softirq_neon_begin")), ("sve",)),
    Case("linux-6.2", Scope(1, 1, 0, 0, ("base", "sme", "exit")), ("sme",)),
)


def successors(walker: Walker, search: Search) -> list[tuple[World, Words]]:
    """Return the worlds after each move that may be made where the walker is."""
    reached = []
    for move in walker.enabled():
        after, _, broken = walker.attempt(move)
        assert not broken & bits_of(DEFAULT)
        reached.append((after, search.packed(after)))
    return reached


@pytest.mark.parametrize("case", TINY, ids=str)
def test_a_search_reaches_what_a_walk_reaches(case: Case) -> None:
    """Breadth first with worlds as they are: the same states, the same number of moves, folded and not.

    Worlds that are packed the same go on the same: every tenth world that was met again is followed by the states that
    follow the first of its kind.
    """
    rows = case.rows()
    plain, folded = (case.search(rows, fold=fold) for fold in (False, True))
    found, found_folded = plain.run(100_000), folded.run(100_000)
    walker = Walker(rows, case.scope)
    seen = {plain.packed(walker.world)}
    follow: dict[Words, set[Words]] = {}
    again: list[tuple[World, Words]] = []
    waiting, worlds, moves, repeats = deque([walker.world]), [], 0, 0
    while waiting:
        world = waiting.popleft()
        worlds.append(world)
        walker.worlds = [world]
        next_ones = successors(walker, plain)
        follow[plain.packed(world)] = {state for _, state in next_ones}
        moves += len(next_ones)
        for after, state in next_ones:
            if state in seen:
                repeats += 1
                again += [(after, state)] if repeats % 10 == 0 else []
            else:
                seen.add(state)
                waiting.append(after)
    assert seen == states_of(found)
    assert moves == found.moves
    assert {folded.packed(world) for world in worlds} == states_of(found_folded)
    for world, state in again:
        walker.worlds = [world]
        assert {then for _, then in successors(walker, plain)} == follow[state]

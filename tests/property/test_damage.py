"""Every trace is a path of the world, whatever its recording lacks; so no correct policy is ever blamed for a hole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fpstate.errors import FpstateError
from fpstate.paths import order
from fpstate.paths.scope import Scope
from fpstate.paths.walk import Walker
from fpstate.policies.base import Policy, with_features
from fpstate.rows.learn import Rows
from fpstate.traces.events import known, path
from fpstate.traces.events.rules import AT_START
from fpstate.traces.samples import open_trace, sample_names
from fpstate.traces.trace import Kind
from fpstate.world.events import Event
from fpstate.world.state import CURRENT, MODE, RUNS
from tests.damage import DATA, KINDS, damaged, faults
from tests.ordered import first_not_allowed

SEEDS = 6  # of each kind; `make damage` tries a thousand


@pytest.mark.parametrize("name", sample_names())
def test_the_bundled_recordings_are_paths(name: str) -> None:
    """Nothing had to be filled in, and the checker could take every step, whether what may have been was or not."""
    trace = open_trace(name)
    assert trace.header.holes == []
    assert (trace.line > 0).all()
    for maybe in (False, True):
        assert first_not_allowed(trace, maybe=maybe) == -1


GONE = [Event.THREAD_SWITCH, Event.SYSCALL, Event.RET_TO_USER, Event.VCPU_LOAD, Event.GUEST_EXIT, Event.VCPU_PUT]


@pytest.mark.parametrize("event", [*GONE, Event.INTERRUPT, Event.RUN_ENTER, Event.KERNEL_NEON_END, Event.CPU_UP])
def test_the_order_sees_a_step_that_is_missing(event: Event) -> None:
    """A trace without one of its events is no path any more: the walk that says so of others can say no."""
    name = {Event.KERNEL_NEON_END: "kneon.vhe", Event.CPU_UP: "hotplug.vhe"}.get(event, "contended.vhe")
    trace = open_trace(name)
    rows = np.flatnonzero(trace.event == event)
    trace.event[rows[len(rows) // 2]] = 255
    assert first_not_allowed(trace, maybe=False) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_recordings_blame_no_correct_policy(kind: str, tmp_path: Path) -> None:
    """Lines dropped, doubled, swapped, cut; CPUs or kinds of lines left out: still a path, and nobody is blamed."""
    wrong = {seed: f for seed in range(SEEDS) if (f := faults(damaged(kind, seed), tmp_path))}
    assert wrong == {}


@pytest.mark.parametrize("file", sorted(DATA.glob("*.txt")), ids=lambda file: file.stem)
def test_small_recordings_blame_no_correct_policy(file: Path, tmp_path: Path) -> None:
    """The same of recordings in which somebody's correct policy was blamed once, or that were read wrongly."""
    try:
        assert faults(file.read_text(), tmp_path) == []
    except FpstateError:
        assert file.stem == "host-and-guest"


class Nothing(Policy):
    """A policy that does nothing: a walk need not be correct to be one that the order allows."""

    name = "nothing"
    supports = frozenset({"sve", "guest-sve"})


IN_TRACES = "base,kvm,neon,hotplug,lifecycle,signals,ptrace_write,user_sve,interrupt,guest_sve"


def rows_of_walk(walker: Walker, rng: np.random.Generator, steps: int) -> list[tuple[int, int, int, int]]:
    """Return rows (CPU, event, subject, object) of a random walk of the checker, in the words of a trace.

    A record that is used again after a death is another context: numbers from 100 on.
    """
    rows: list[tuple[int, int, int, int]] = []
    called = list(range(len(walker.names) + 1))
    for _ in range(steps):
        weights = np.array([0.05 if order.kind_of(m) == order.EXIT else 1.0 for m in walker.enabled()])
        move = int(rng.choice(walker.enabled(), p=weights / weights.sum()))  # deaths are rare, or nobody is left
        kind, c = order.kind_of(move), order.cpu_of(move)
        before = walker.world
        t = int(before.cpu[c, CURRENT])
        s = int(order.other_participant(before, kind, t, order.other_of(move)))
        if kind == order.FORK:
            called[s] = 100 + len(rows)
        if kind == order.SWITCH and before.context[t, MODE] == order.RUN:
            rows.append((c, order.PUT, called[t], called[before.context[t, RUNS] - 1]))
        rows.append((c, kind, called[t], called[s] if s < len(walker.names) else -1))
        if kind == order.SOFTIRQ:
            rows.append((c, order.SOFTIRQ_END, called[t], -1))
        if kind == order.PUT:
            rows.append((c, order.RUN_EXIT, called[t], called[s]))
        after, _, _ = walker.attempt(move)
        if kind == order.USER_SVE and after.context[t, MODE] == order.KERNEL:  # it trapped
            rows.append((c, order.INTERRUPT, called[t], -1))
        walker.go(move, after)
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_walks_of_the_checker_have_no_holes(seed: int) -> None:
    """What the checker's order allows, the importer's table allows too: a random walk goes through it unchanged."""
    rows = Rows(with_features(Nothing, frozenset({"sve", "guest-sve"})))
    walker = Walker(rows, Scope(2, 2, 1, 0, tuple(IN_TRACES.split(","))))
    walked = rows_of_walk(walker, np.random.default_rng(seed), 300)
    m = known.new_known(1024, 1 << 10)
    m.facts[known.CONTEXTS] = 512
    for x in range(512):
        m.context[x, known.STATE], m.context[x, known.PLACE] = AT_START, known.NEVER
        m.context[x, known.KIND] = Kind.IDLE if x < 2 else Kind.VCPU if x == 4 else Kind.USER
    m.cpu[:2, known.IDLE] = m.cpu[:2, known.HERE] = 0, 1
    m.context[:2, known.PLACE] = 0, 1
    for i, (c, e, t, s) in enumerate(walked):
        m.rows[:, i] = 0, c, e, t, s, i + 1
    m.facts[known.ROWS] = len(walked)
    assert path.follow(m, 0) == (len(walked), True)
    assert m.holes.sum() == 0
    steps = m.steps[1:5, : m.facts[known.STEPS]].T.tolist()
    assert [tuple(step) for step in steps] == walked
    assert len({kind for _, kind, _, _ in walked}) > 15

"""What must hold of every policy on every trace."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.policies.catalogue import find_policy, policies
from fpstate.replay.bound import bound
from fpstate.replay.engine import replay
from fpstate.rows.learn import Rows
from fpstate.traces.generate import mixed_trace
from fpstate.traces.trace import Trace
from fpstate.world.events import MAYBE, Event
from fpstate.world.operations import N_CLEAR, N_LOAD_HOST, N_USER_TRAP

ROWS = {name: Rows(policy) for name, policy in policies().items()}
SAFE = sorted(set(ROWS) - {"defer-to-put", "riscv-kvm-6.8"})  # these lose guests to softirqs
LEARNING = {"adaptive", "adaptive-dirty", "adaptive-wiped", "zircon"}  # a use more may be a trap less, later on

seeds = st.integers(0, 2**31)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 9))


def figures(trace: Trace, name: str, *, maybe: bool) -> tuple[int, int, int]:
    outcome = replay(trace, ROWS[name], maybe=maybe)
    assert outcome.wrong == 0, f"{name} corrupts at event {outcome.first}"
    c = outcome.counts
    return int(c[:N_LOAD_HOST].sum()), int(c[N_LOAD_HOST:N_CLEAR].sum()), int(c[N_USER_TRAP:].sum())


@settings(max_examples=30, deadline=None)
@given(seed=seeds, shape=shapes, maybe=st.booleans())
def test_no_policy_beats_the_bound(seed: int, shape: tuple[int, int], maybe: bool) -> None:
    """The clairvoyant bound is below every correct policy in saves and in loads, and none of those corrupts."""
    trace = mixed_trace(2000, seed=seed, cpus=shape[0], threads_per_cpu=shape[1])
    saves, loads = bound(trace, maybe=maybe)
    for name in SAFE:
        s, n, _ = figures(trace, name, maybe=maybe)
        assert s >= saves, name
        assert n >= loads, name


@settings(max_examples=20, deadline=None)
@given(seed=seeds, shape=shapes)
def test_low_and_high_hold_whatever_was_not_seen(seed: int, shape: tuple[int, int]) -> None:
    """With any choice of which unseen uses happened, every figure lies between low and high, but of who learns."""
    trace = mixed_trace(1500, seed=seed, cpus=shape[0], threads_per_cpu=shape[1])
    some = mixed_trace(1500, seed=seed, cpus=shape[0], threads_per_cpu=shape[1])
    happened = np.random.default_rng(seed).random(len(some)) < 0.5
    for maybe, sure in MAYBE.items():
        some.event[(some.event == maybe) & happened] = sure
    for name in set(SAFE) - LEARNING:
        low, middle, high = (figures(t, name, maybe=m) for t, m in ((trace, False), (some, False), (trace, True)))
        assert all(a <= b <= c for a, b, c in zip(low, middle, high, strict=True)), name


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_learning_order_does_not_matter(seed: int) -> None:
    """Rows learned on one trace give the same counts on another as rows learned on that."""
    first, second = mixed_trace(500, seed=seed), mixed_trace(500, seed=seed + 1)
    rows = Rows(find_policy("linux-6.14"))
    replay(first, rows, maybe=True)
    warm = replay(second, rows, maybe=True)
    cold = replay(second, Rows(find_policy("linux-6.14")), maybe=True)
    assert warm.counts.tolist() == cold.counts.tolist()


SCRIPT = """
from fpstate.policies.catalogue import policies
from fpstate.replay.bound import bound
from fpstate.replay.engine import replay
from fpstate.rows.learn import Rows
from fpstate.traces.generate import mixed_trace
for seed in range(4):
    trace = mixed_trace(600, seed=seed, cpus=2, threads_per_cpu=7)
    print(bound(trace, maybe=True))
    for name, policy in policies().items():
        outcome = replay(trace, Rows(policy), maybe=True, keep_rows=True)
        print(name, outcome.counts.tolist(), outcome.wrong, outcome.first, outcome.verdict, outcome.used.tolist())
"""


@pytest.mark.long
def test_compiled_and_interpreted_agree() -> None:
    """The same source, compiled and run by the interpreter, uses the same row at every event and counts the same."""
    printed = []
    for disabled in ("0", "1"):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disabled}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    assert "defer-to-put" in printed[0]


def test_the_mix_reaches_every_kind_of_event() -> None:
    """The made-up traces hold VM runs, signals, kernel NEON and both kinds of uncertain use."""
    seen = set(mixed_trace(20000, seed=1).event.tolist())
    wanted = {Event.GUEST_FP, Event.GUEST_FP_MAYBE, Event.USER_FP_MAYBE, Event.SIGRETURN, Event.SOFTIRQ_NEON_BEGIN}
    assert wanted <= seen

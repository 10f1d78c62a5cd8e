"""Which event may follow which: what `paths.order` lists as possible, one rule at a time."""

from __future__ import annotations

from fpstate.paths.order import kind_of
from fpstate.paths.scope import KIND_NAMES, Scope
from fpstate.paths.walk import Walker, label
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import find_policy
from fpstate.policies.host_deferred import DeferredHost
from fpstate.rows.learn import Rows
from fpstate.world.state import LATEST, ZEROS, Z, is_latest


class Host(DeferredHost):
    name = "host"


def walker(scope: Scope) -> Walker:
    return Walker(Rows(Host), scope)


def go(walk: Walker, *moves: str) -> None:
    """Make moves by name, as far as the name says: "thread_switch A->B", or "user_fp" alone."""
    for name in moves:
        (move,) = (m for m in walk.enabled() if label(walk, m).startswith(name + " "))
        after, verdict, _ = walk.attempt(move)
        assert verdict == 0, name
        walk.go(move, after)


def possible(walk: Walker) -> set[str]:
    return {KIND_NAMES[kind_of(move)] for move in walk.enabled()}


def test_a_child_inherits_a_waiting_signal_frame() -> None:
    """Fork inside a signal handler: the child's stack is a copy, so it may return from the signal as its parent may."""
    for signals, expected in (([], "signal"), (["signal A"], "sigreturn")):
        walk = walker(Scope(1, 2, 0))
        go(walk, "thread_switch idle0->B", "exit B", "thread_switch B->A", *signals, "fork A->B", "thread_switch A->B")
        assert possible(walk) & {"signal", "sigreturn"} == {expected}


def test_the_last_cpu_stays_up() -> None:
    """A CPU may go down while another one is up, however many are down already."""
    assert "cpu_down" not in possible(walker(Scope(1, 1, 0)))
    walk = walker(Scope(3, 1, 0))
    for cpus_up in (3, 2):
        assert "cpu_down" in possible(walk), cpus_up
        move = next(m for m in walk.enabled() if KIND_NAMES[kind_of(m)] == "cpu_down")
        walk.go(move, walk.attempt(move)[0])
    assert "cpu_down" not in possible(walk)
    assert sorted(KIND_NAMES[kind_of(m)] for m in walk.enabled()).count("cpu_up") == 2


def test_what_a_debugger_writes_may_not_be_discarded() -> None:
    """A system call lets the kernel drop Z; a value written after it, from outside, must be there afterwards."""
    walk = Walker(Rows(with_features(find_policy("linux-4.18"), ["sve"])), Scope(1, 2, 0))
    a = walk.names.index("A")
    go(walk, "thread_switch idle0->A", "ret_to_user A", "user_sve A", "ret_to_user A", "user_sve A", "syscall A")
    assert walk.world.context[a, LATEST + Z] != ZEROS
    assert is_latest(walk.world, Z, a, ZEROS)
    go(walk, "thread_switch A->B", "ptrace_sve B->A")
    assert not is_latest(walk.world, Z, a, ZEROS)

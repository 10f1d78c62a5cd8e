"""What is argued about in 2026: the naive way of each goes wrong as its page says, and the way proposed holds."""

from __future__ import annotations

from typing import Any

import pytest

from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.errors import FpstateError
from fpstate.machine.follow import follow_path
from fpstate.paths.order import kind_of, other_of
from fpstate.paths.scope import KIND_NAMES, Scope
from fpstate.paths.tell import operations
from fpstate.paths.walk import Walker
from fpstate.policies.base import Policy, bounded, with_features
from fpstate.policies.catalogue import find_policy
from fpstate.policies.host_deferred import DeferredHost
from fpstate.replay.engine import replay
from fpstate.rows.learn import Rows
from fpstate.traces.samples import open_trace
from fpstate.world.events import Event
from fpstate.world.operations import N_IPI, N_SAVE_HOST, N_SVE_TRAP
from fpstate.world.state import CURRENT
from fpstate.world.verdicts import OK

MODES = Scope(1, 1, 1, 0, ("base", "kvm", "neon", "guest_sve", "guest_sme"))


@pytest.mark.parametrize(
    ("name", "broken"),
    [("Written", "memory-safety"), ("InTrap", "mode-bits"), ("sme-guest-v12", ""), ("first-class-sme", "")],
)
def test_who_may_write_svcr_at_guest_entry(name: str, broken: str) -> None:
    """Where the registers may be somebody's, he must be given up first; and it cannot wait for the first trap."""
    policy = find_policy(name if "-" in name else f"examples/argued.py:{name}")
    found = check(with_features(policy, ["guest-sme"]), MODES, cores=1)
    assert (found.verdict, found.property) == (VIOLATED if broken else HOLDS, broken)


SVE = Scope(1, 2, 0, 0, ("base", "user_sve", "interrupt"))


@pytest.mark.parametrize(
    ("name", "broken"), [("sve-timeout", ""), ("sve-timeout-syscall", ""), ("Unflushed", "integrity")]
)
def test_sve_may_stay_enabled_if_what_is_beyond_fpsimd_is_flushed(name: str, broken: str) -> None:
    """Whenever the time is over."""
    policy = find_policy(name if "-" in name else f"examples/argued.py:{name}")
    found = check(with_features(policy, ["sve"]), SVE, cores=1)
    assert (found.verdict, found.property) == (VIOLATED if broken else HOLDS, broken)


def sve_traps(policy: type[Policy]) -> int:
    rows = Rows(with_features(policy, ["sve", "guest-sve"] if "guest-sve" in policy.supports else ["sve"]))
    return int(replay(open_trace("sve.vhe"), rows, maybe=True).counts[N_SVE_TRAP])


def test_a_replay_takes_the_time_from_the_recording() -> None:
    """Without patience all is as in linux-7.2; with more of it there are ever fewer traps, and never none."""

    def within(seconds: float) -> type[Policy]:
        about = {"name": "within", "__module__": __name__, "timeout": seconds}
        return type("Within", (find_policy("sve-timeout"),), about)

    traps = [sve_traps(within(seconds)) for seconds in (0, 0.01, 0.1, 1, 1000)]
    assert traps[0] == sve_traps(find_policy("linux-7.2"))
    assert traps == sorted(traps, reverse=True)
    assert 0 < traps[-1] < traps[0] // 10


class Patient(DeferredHost):
    """A task's registers are saved at a switch only as long as its time is not over: wrong, and at that time alone."""

    name = "patient"

    class Task(DeferredHost.Task):
        expired: bool = True

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:  # noqa: A002
        if task.expired:
            task.foreign = True
        super().thread_switch(cpu, task, next)

    def ret_to_user(self, cpu: Any, task: Any) -> None:
        super().ret_to_user(cpu, task)
        task.expired = False


def test_a_search_lets_time_be_over_whenever_it_likes() -> None:
    """What goes wrong only then is found, and by the machine too; until then nothing does."""
    scope = Scope(1, 2, 0, 0, ("base",))
    found = check(Patient, scope, cores=1)
    assert found.path is not None
    assert "expire" in [step.event for step in found.path.steps]
    assert follow_path(Patient, scope, found.path.code).wrong == found.path.wrong
    assert found.path.steps[-1].number > 1 + [step.event for step in found.path.steps].index("expire")


def test_only_the_clock_sets_it() -> None:
    class Hasty(Patient):
        name = "hasty"

        def ret_to_user(self, cpu: Any, task: Any) -> None:
            task.expired = True

    class Vague(Policy):
        name = "vague"

        class Task(Policy.Task):
            expired: int = bounded(0, 3)

    for policy, said in ((Hasty, "sets expired; the clock does"), (Vague, "is set by the clock")):
        with pytest.raises(FpstateError, match=said):
            check(policy, Scope(1, 1, 0, 0, ("base",)))


HANDOFFS = ("base", "handoff")


@pytest.mark.parametrize("tasks", [2, 3])
@pytest.mark.parametrize(
    ("name", "broken"), [("thread-handoff", ""), ("Unsaved", "integrity"), ("Unmarked", "integrity"), ("Copied", "")]
)
def test_what_a_handoff_must_do(name: str, broken: str, tasks: int) -> None:
    """Save before it is offered, clear the pair when it is taken over. Of two identities one is a stranger's."""
    policy = find_policy(name if "-" in name else f"examples/argued.py:{name}")
    if tasks == 3 and name in ("Unmarked", "Copied"):
        broken = "confidentiality"
    scope = Scope(2, tasks, 0, 0, HANDOFFS)
    for fold in (True, False) if tasks == 2 else (True,):
        found = check(policy, scope, fold=fold, cores=1)
        assert (found.verdict, found.property) == (VIOLATED if broken else HOLDS, broken)


def test_an_identity_that_comes_back_unused_is_still_its_own() -> None:
    """Registers that hold what they should are not called old: no value has changed."""

    class Keeps(find_policy("examples/argued.py:Unmarked")):  # type: ignore[misc]
        name = "keeps"

    walker = Walker(Rows(Keeps), Scope(1, 2, 0, 0, HANDOFFS))
    for words in (
        "thread_switch A", "ret_to_user A", "user_fp A", "syscall A", "handoff_prepare A", "thread_switch B",
        "handoff_finish A", "handoff_prepare B", "thread_switch A", "handoff_finish B", "ret_to_user A", "user_fp A",
    ):  # fmt: skip
        after, verdict, broken = walker.attempt(_move(walker, words))
        assert (verdict, broken) == (OK, 0), words
        walker.go(_move(walker, words), after)


def _move(walker: Walker, words: str) -> int:
    """Return the move of that event; it names who is switched to or taken over, else the task that makes it."""
    event, name = words.split()
    for move in walker.enabled():
        named = walker.names[other_of(move)] if other_of(move) else walker.names[walker.world.cpu[0, CURRENT]]
        if KIND_NAMES[kind_of(move)] == event and named == name:
            return move
    raise AssertionError(words)


@pytest.mark.parametrize(
    ("scope", "features", "expected"),
    [
        (Scope(1, 1, 0, 0, ("base", "handoff_finish")), (), "a task and a worker"),
        (Scope(1, 2, 0, 0, ("handoff_prepare",)), ("sve",), "FPSIMD registers alone"),
    ],
)
def test_a_handoff_that_cannot_happen_is_refused(scope: Scope, features: tuple[str, ...], expected: str) -> None:
    with pytest.raises(FpstateError, match=expected):
        check(with_features(find_policy("linux-7.2"), features), scope)


def test_what_zircon_learns_it_never_forgets() -> None:
    """After eight loads at a trap a thread is loaded at each switch, whether it uses FP any more or not."""
    walker = Walker(Rows(find_policy("zircon")), Scope(1, 1, 0, 0, ("base",)))

    def turn(*events: str) -> list[str]:
        for event in events:
            move = _move(walker, f"{event} A")
            walker.go(move, walker.attempt(move)[0])
        away = next(m for m in walker.enabled() if KIND_NAMES[kind_of(m)] == "thread_switch")
        walker.go(away, walker.attempt(away)[0])
        return [op for used in walker.used[-len(events) - 1 :] for r in used for op in operations(walker, r, "A", "A")]

    used = ("thread_switch", "ret_to_user", "user_fp", "ret_to_user", "user_fp", "syscall")
    for _ in range(8):
        assert turn(*used) == ["load A", "save A"]
    for _ in range(3):
        assert turn("thread_switch") == ["load A", "save A"]


def test_zephyr_interrupts_no_cpu_that_has_not_what_it_wants() -> None:
    """It looks at the other's owner first: of two waits for the same registers, one is an interrupt."""
    counts = replay(open_trace("contended.vhe"), Rows(find_policy("zephyr")), maybe=True).counts

    class Blind(find_policy("zephyr")):  # type: ignore[misc]
        name = "blind"

        def user_fp_trap(self, cpu: Any, task: Any) -> None:
            self.arch_flush_local_fpu(cpu)
            self.lift_trap(cpu)
            cpu.fetch(task)
            cpu.owner = task
            task.live_on = cpu
            cpu.load(task)

    blind = replay(open_trace("contended.vhe"), Rows(Blind), maybe=True).counts
    assert 0 <= counts[N_IPI] < blind[N_IPI]
    assert counts[:N_IPI].tolist() == blind[:N_IPI].tolist()


def test_an_interrupt_is_an_entry_where_there_is_v_alone() -> None:
    """A recording shows them, and who saves at each entry saves there too."""
    trace = open_trace("smp4-mixed.vhe")
    saves = int(replay(trace, Rows(find_policy("nuttx")), maybe=True).counts[N_SAVE_HOST])
    assert saves == ((trace.event == Event.INTERRUPT) | (trace.event == Event.SYSCALL)).sum()


def test_za_is_left_enabled_for_the_normal_world() -> None:
    """A partition manager that stops it as well, and does not save it, is caught; who cannot reach ZA does not mind."""

    class Stops(find_policy("hafnium")):  # type: ignore[misc]
        name = "stops"

        def guest_enter(self, cpu: Any, task: Any, vcpu: Any) -> None:
            super().guest_enter(cpu, task, vcpu)
            cpu.smstop()

    scope = Scope(1, 1, 1, 0, ("base", "kvm", "sme"))
    assert check(with_features(find_policy("hafnium"), ["sme"]), scope, cores=1).verdict == HOLDS
    assert check(with_features(Stops, ["sme"]), scope, cores=1).property == "mode-bits"

"""Timing: a context can tell whether another has used FP exactly under the policies that give that up."""

from __future__ import annotations

import pytest

from fpstate.check.answer import answer
from fpstate.check.run import HOLDS, INCOMPLETE, NOT_REACHED, VIOLATED, Result
from fpstate.check.timing import timing
from fpstate.errors import FpstateError
from fpstate.paths.asked import asked_of
from fpstate.paths.properties import TIMING
from fpstate.paths.scope import Scope
from fpstate.policies.base import Context, Policy
from fpstate.policies.catalogue import find_policy, policies

CORRUPT = ("defer-to-put", "riscv-kvm-6.8")  # once kernel code uses NEON between guest runs
LEFT_OUT = (
    "hafnium", "linux-6.6.y", "linux-6.16", "linux-6.19", "sme-guest-v12", "sve-timeout", "sve-timeout-syscall",
    "thread-handoff", "zircon",
)  # fmt: skip
KEEPS = [name for name, policy in policies().items() if "timing" not in policy.gives_up]


def asked(name: str, **scope: object) -> Result:
    return answer(asked_of(name, find_policy(name), (), (TIMING,), scope), cores=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(policies()) - set(KEEPS)))
def test_who_gives_timing_up_can_be_told_by_a_clock(name: str) -> None:
    """What policies say of themselves is so."""
    assert asked(name).verdict == VIOLATED


@pytest.mark.parametrize("name", KEEPS)
def test_who_does_not_shows_nothing_to_one_task_and_its_guest(name: str) -> None:
    """With kernel NEON in between; nothing is said of those that corrupt then."""
    expected = NOT_REACHED if name in CORRUPT else HOLDS
    assert asked(name, tasks=1, events=("base", "kvm", "neon")).verdict == expected


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in KEEPS if name not in LEFT_OUT])
def test_who_does_not_shows_nothing(name: str) -> None:
    """In the default scope; those left out have the guest's half of one that is here, or (zircon) too many pairs."""
    assert asked(name).verdict == HOLDS


@pytest.mark.parametrize("name", policies())
def test_who_gives_exposure_up_leaves_others_values_behind_a_trap(name: str) -> None:
    """And so is what they say of the values of others."""
    policy = find_policy(name)
    given = asked_of(
        name, policy, (), ("transient-exposure",), {"cpus": 1, "tasks": 2, "vcpus": 1, "events": ("base", "kvm")}
    )
    expected = VIOLATED if "transient exposure" in policy.gives_up else HOLDS
    assert answer(given, cores=1).verdict == expected


class Lazy(Policy):
    """A task's first use traps if another has used FP since."""

    name = "lazy-here"

    class Cpu(Policy.Cpu):
        owner: Context | None = None

    def thread_switch(self, cpu: Cpu, task: Policy.Task, next: Policy.Task) -> None:  # noqa: A002
        cpu.user_fp_trap = cpu.owner is not next

    def user_fp_trap(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = False
        if cpu.owner is not None and cpu.owner is not task:
            cpu.save(cpu.owner)
        cpu.load(task)
        cpu.owner = task


def test_lazy_switching_is_told_by_the_trap() -> None:
    """A uses FP, B does or does not, and A finds a trap or none: LazyFP's other side."""
    result = timing(Lazy, Scope(1, 2, 0, 0, ("base",)))
    assert result.verdict == VIOLATED
    assert result.path is not None
    uses = [step.who for step in result.path.steps if step.event == "user_fp"]
    assert uses == ["B", "B", "A"]  # B's traps, and then it has used
    assert result.path.wrong == (
        "A can tell whether steps 3, 4, 5 happened: its last user_fp takes 1 save, 1 load, 1 trap, and 1 load, 1 trap "
        "without"
    )


class TrapAlone(Policy):
    """Every task's registers are moved at each switch; a trap tells no more than that another has used FP."""

    name = "trap-alone"

    class Cpu(Policy.Cpu):
        owner: Context | None = None

    def thread_switch(self, cpu: Cpu, task: Policy.Task, next: Policy.Task) -> None:  # noqa: A002
        cpu.save(task)
        cpu.load(next)
        cpu.user_fp_trap = cpu.owner is not next

    def user_fp_trap(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = False
        cpu.owner = task


def test_a_trap_is_seen_where_nothing_is_moved() -> None:
    result = timing(TrapAlone, Scope(1, 2, 0, 0, ("base",)))
    assert result.path is not None
    assert result.path.wrong.endswith("its last user_fp takes 1 trap, and no work without")


def test_a_bound_on_pairs_is_no_verdict() -> None:
    assert timing(find_policy("eager"), Scope(1, 1, 1, 0, ("base", "kvm")), max_pairs=50).verdict == INCOMPLETE


def test_where_nobody_else_uses_fp_nothing_is_shown() -> None:
    assert timing(find_policy("eager"), Scope(1, 1, 0, 0, ("base",))).verdict == NOT_REACHED


def test_pairs_of_worlds_go_alone() -> None:
    for properties, path in (((TIMING, "integrity"), None), ((TIMING,), "0/1")):
        with pytest.raises(FpstateError, match="searched for alone"):
            answer(asked_of("eager", find_policy("eager"), (), properties, {}), path=path)

"""What `check` says of policies that are hard to judge: each is right or wrong for a reason of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from fpstate.check.run import HOLDS, NOT_REACHED, VIOLATED, Result, check
from fpstate.errors import FpstateError
from fpstate.machine.follow import follow_path
from fpstate.paths.scope import Scope
from fpstate.policies.base import Context, Policy, when, with_features
from fpstate.policies.bugs.arm64 import offline_in_streaming_mode, vl_change_clears_debuggers_flag
from fpstate.policies.bugs.small_kernels import reset_taken_for_a_wipe, upper_halves_not_switched
from fpstate.policies.bugs.x86.owner_pointer_over_preemption import X86Host
from fpstate.policies.bugs.x86.reloaded_by_notifier_only import Fixed as NotifierFixed
from fpstate.policies.catalogue import find_policy
from fpstate.policies.eager import Eager
from fpstate.policies.first_class import FirstClass
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost, FormHost
from fpstate.policies.host_lazy import LazyHost
from fpstate.policies.host_preemptible import PreemptibleHost
from fpstate.policies.linux_6_14 import Linux614
from fpstate.policies.mark_foreign import MarkForeign
from fpstate.replay.compare import broken
from fpstate.replay.engine import replay
from fpstate.rows.decisions import decision_table
from fpstate.rows.learn import Rows
from fpstate.world.events import NEEDS, PARTICIPANTS, Event
from tests.tiny import KTHREAD, START, VCPU, VMM, trace


def verdict(policy: type[Policy], scope: Scope, *features: str, **options: Any) -> Result:
    return check(with_features(policy, features), scope, **options)


def judged(result: Result) -> tuple[str, str, int]:
    return result.verdict, result.property, result.depth


# Uses must come about.


class Livelock(Policy):
    """Nothing is ever loaded: each way to user mode arms the trap again."""

    name = "livelock"

    def ret_to_user(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = True

    def user_fp_trap(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = False


def test_a_trap_taken_again_without_a_use_between_is_a_violation() -> None:
    result = verdict(Livelock, Scope(1, 2, 0, 0, ("base",)))
    assert judged(result) == (VIOLATED, "trap-sanity", 3)
    assert result.path is not None
    assert "traps again" in result.path.wrong


class TwoTraps(Policy):
    """A trap for V and one for SVE, each armed by the handler of the other."""

    name = "two-traps"
    supports = frozenset({"sve"})

    class Cpu(Policy.Cpu):
        user_fp_trap: bool = True

    def user_fp_trap(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap, cpu.user_sve_trap = False, True

    def sve_trap(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap, cpu.user_sve_trap = True, False


def test_two_traps_that_arm_each_other_are_no_progress() -> None:
    result = verdict(TwoTraps, Scope(1, 1, 0, 0, ("base", "user_sve")), "sve", properties=("trap-sanity",))
    assert judged(result) == (VIOLATED, "trap-sanity", 3)


class NeverServed(Policy):
    """The guest's trap stays armed, and its handler sends the guest back: caught at once."""

    name = "never-served"

    class Cpu(Policy.Cpu):
        guest_fp_trap: bool = True

    def guest_fp_trap(self, cpu: Policy.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> Iterator[None]:
        yield


def test_what_never_comes_about_is_not_shown_to_hold() -> None:
    """Interrupted, the handler is not judged at its end; then at least nothing is said to hold."""
    result = verdict(NeverServed, Scope(1, 1, 1, 0, ("kvm",)), properties=("memory-safety",))
    assert (result.verdict, result.missing) == (NOT_REACHED, ("guest_fp",))


def test_events_asked_for_by_name_must_happen() -> None:
    result = verdict(Eager, Scope(1, 1, 0, 0, ("base", "fork")))
    assert (result.verdict, result.missing) == (NOT_REACHED, ("fork",))


# Points of handlers.


class YieldEnter(NotifierFixed):
    """Interrupts are on between the last test and the entry."""

    name = "yield-enter"

    def guest_enter(self, cpu: Any, task: Any, vcpu: Any) -> Iterator[None]:  # type: ignore[override]
        self.load_guest_fpu(cpu, task, vcpu)
        yield


def test_a_softirq_comes_in_at_a_point_of_guest_enter() -> None:
    result = verdict(YieldEnter, Scope(1, 1, 1, 0, ("kvm", "neon")))
    assert judged(result) == (VIOLATED, "confidentiality", 7)


class YieldSwitch(X86Host):
    """Nothing may come between in a switch."""

    name = "yield-switch"

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> Iterator[None]:  # type: ignore[override]
        self.save_fpregs(cpu, task)
        yield


class DropsPoints(Eager):
    """A helper with points, called as if it had none."""

    name = "drops-points"

    def exec(self, cpu: Any, task: Any) -> None:
        self.helper(cpu, task)

    def helper(self, cpu: Any, task: Any) -> Iterator[None]:
        yield
        cpu.overwrite(task)


class HandlesUse(Eager):
    """The kernel does not see a use."""

    name = "handles-use"

    def user_fp(self, cpu: Any, task: Any) -> None:
        cpu.load(task)


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (YieldSwitch, "'thread_switch' of policy 'yield-switch' has a point"),
        (DropsPoints, "calls 'helper', which has points, and drops what it returns"),
        (HandlesUse, "has a handler 'user_fp', and the kernel does not see that happen"),
    ],
)
def test_policies_that_cannot_mean_what_they_say_are_refused(policy: type[Policy], says: str) -> None:
    with pytest.raises(FpstateError, match=says) as caught:
        Rows(policy)
    assert "test_verdicts.py:" in caught.value.where


class SmeYield(FormatHost):
    """d3eaab3c7090: a softirq may take the registers before the handler of the trap looks at them."""

    name = "sme-yield"

    def sme_trap(self, cpu: Any, task: Any) -> Iterator[None]:  # type: ignore[override]
        yield
        super().sme_trap(cpu, task)


class SmeZeroes(FormatHost):
    """The same with storage that is zeroed although it holds what the softirq saved."""

    name = "sme-zeroes"

    def sme_trap(self, cpu: Any, task: Any) -> Iterator[None]:  # type: ignore[override]
        yield
        cpu.alloc_sve(task)
        super().sme_trap(cpu, task)


def test_allocation_may_keep_what_is_there() -> None:
    assert verdict(SmeYield, Scope(1, 1, 0), "sme").verdict == HOLDS
    assert judged(verdict(SmeZeroes, Scope(1, 1, 0), "sme")) == (VIOLATED, "integrity", 7)


class Walk(FormatHost):
    """A debugger's write clears TIF_SME; with names folded, its counterexample once could not be walked again."""

    name = "walk"

    def ptrace_streaming(self, cpu: Any, task: Any, tracee: Any) -> None:
        task.tif_sme = False
        super().ptrace_streaming(cpu, task, tracee)


@pytest.mark.parametrize("fold", [True, False])
def test_a_counterexample_can_be_walked_again(*, fold: bool) -> None:
    events = ("base", "interrupt", "user_smstart", "user_za", "ptrace_streaming")
    result = verdict(Walk, Scope(1, 2, 0, 0, events), "sme", fold=fold)
    assert judged(result) == (VIOLATED, "integrity", 13)


# Events.


class RunExit(Linux614):
    """It loads nobody when KVM_RUN returns."""

    name = "run-exit"

    def run_exit(self, cpu: Any, task: Any, vcpu: Any) -> None:
        cpu.load(None)


def test_the_end_of_kvm_run_is_an_event() -> None:
    assert judged(verdict(RunExit, Scope(1, 1, 1, 0, ("kvm",)))) == (VIOLATED, "memory-safety", 5)


class SwapAtEnd(Policy):
    """x86 since v4.19: guest registers stay until KVM_RUN returns, switched with the thread that runs the vCPU."""

    name = "swap-at-end"

    class Cpu(Policy.Cpu):
        owner: Context | None = None  # whose registers these are, None: they were used by the kernel

    class Task(Policy.Task):
        mm: bool = True
        guest: bool = False  # thread.fpu.fpstate is the guest's

    class Vcpu(Policy.Vcpu):
        """Its state is saved by whoever saves its thread."""

    def give_up(self, cpu: Any) -> None:
        if cpu.owner is not None:
            cpu.save(cpu.owner)
            cpu.owner = None

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        self.give_up(cpu)

    def kernel_neon_begin(self, cpu: Any, task: Any) -> None:
        self.give_up(cpu)

    def cpu_pm_enter(self, cpu: Any, task: Any) -> None:
        self.give_up(cpu)

    def run_enter(self, cpu: Any, task: Any, vcpu: Any) -> None:
        self.give_up(cpu)

    def guest_enter(self, cpu: Any, task: Any, vcpu: Any) -> None:
        if cpu.owner is not vcpu:
            cpu.load(vcpu)
            cpu.owner = vcpu

    def run_exit(self, cpu: Any, task: Any, vcpu: Any) -> None:
        self.give_up(cpu)

    def ret_to_user(self, cpu: Any, task: Any) -> None:
        if cpu.owner is not task:
            cpu.load(task)
            cpu.owner = task


class SwapNever(SwapAtEnd):
    """The guest's registers are still there when the thread returns to user mode."""

    name = "swap-never"

    def run_exit(self, cpu: Any, task: Any, vcpu: Any) -> None:
        pass

    def ret_to_user(self, cpu: Any, task: Any) -> None:
        if cpu.owner is None:
            cpu.load(task)
            cpu.owner = task


def test_a_swap_at_the_end_of_kvm_run_can_be_said() -> None:
    scope = Scope(1, 2, 1, 0, ("kvm", "neon", "pm"))
    assert verdict(SwapAtEnd, scope).verdict == HOLDS
    assert judged(verdict(SwapNever, scope))[:2] == (VIOLATED, "confidentiality")


@pytest.mark.parametrize(
    ("events", "features", "says"),
    [
        (("base", "user_sve"), (), "event 'user_sve' cannot happen .* feature 'sve'"),
        (("base", "guest_enter"), (), "event 'guest_enter' cannot happen .* a vCPU"),
        (("base", "cpu_down"), (), "event 'cpu_down' cannot happen .* a CPU that stays up"),
        (("base", "guest_control"), (), "event 'guest_control' cannot happen .* feature 'aarch32'"),
        (("neon", "-kernel_neon_end"), (), "has kernel_neon_begin, and takes kernel_neon_end away"),
    ],
)
def test_events_that_cannot_happen_are_refused(events: tuple[str, ...], features: tuple[str, ...], says: str) -> None:
    with pytest.raises(FpstateError, match=says):
        verdict(Eager, Scope(1, 1, 0, 0, events), *features)


@pytest.mark.parametrize("events", [("base", "kernel_neon_begin"), ("base", "run_enter", "vcpu_load", "guest_enter")])
def test_what_must_follow_an_event_comes_along(events: tuple[str, ...]) -> None:
    assert verdict(find_policy("linux-4.18"), Scope(1, 1, 1, 0, events)).verdict == HOLDS


# What exec and reset leave.


class ExecKeepsFpmr(FormatHost):
    """exec does nothing about FPMR (Linux up to 6.15, mended by a90878f297d3)."""

    name = "exec-keeps-fpmr"

    def exec(self, cpu: Any, task: Any) -> None:
        super(FormHost, self).exec(cpu, task)
        task.fp_type = Form.FPSIMD


class ResetKeepsFpexc(Linux614):
    """The reset of a vCPU does nothing about its control register."""

    name = "reset-keeps-fpexc"

    def vcpu_reset(self, cpu: Any, task: Any, vcpu: Any) -> None:
        cpu.overwrite(vcpu)


def test_nothing_is_reset_that_the_policy_does_not_reset() -> None:
    assert judged(verdict(ExecKeepsFpmr, Scope(1, 1, 0), "fpmr"))[:2] == (VIOLATED, "confidentiality")
    assert verdict(find_policy("linux-6.14"), Scope(1, 1, 0), "fpmr").verdict == HOLDS
    assert judged(verdict(ResetKeepsFpexc, Scope(1, 1, 1), "aarch32"))[:2] == (VIOLATED, "confidentiality")


# Zeros are nobody's.


class Blank(Policy):
    """A task that has never run is not loaded: its state is what a wipe has left."""

    name = "blank"

    class Cpu(Policy.Cpu):
        wiped: bool = False

    class Task(Policy.Task):
        mm: bool = True
        ran: bool = False

    def wipe(self, cpu: Any, task: Any) -> None:
        cpu.clear(task)

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        if task.mm:
            cpu.save(task)
            self.wipe(cpu, task)
            cpu.wiped = True
        if next.mm:
            if next.ran or not cpu.wiped:
                cpu.load(next)
            next.ran = True
            cpu.wiped = False


class BlankUnwiped(Blank):
    """The same without the wipe."""

    name = "blank-unwiped"

    def wipe(self, cpu: Any, task: Any) -> None:
        pass


class ExecUnused(Policy):
    """exec changes nothing for a task that has not been in user mode since it began."""

    name = "exec-unused"

    class Task(Policy.Task):
        mm: bool = True
        used: bool = False

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        if task.mm:
            cpu.save(task)
        if next.mm:
            cpu.load(next)

    def ret_to_user(self, cpu: Any, task: Any) -> None:
        task.used = True

    def exec(self, cpu: Any, task: Any) -> None:
        if task.used:
            cpu.clear(task)
        task.used = False


class ExecNever(ExecUnused):
    """exec changes nothing at all."""

    name = "exec-never"

    def exec(self, cpu: Any, task: Any) -> None:
        pass


def test_zeros_are_right_for_whoever_is_to_have_them() -> None:
    two = Scope(1, 2, 0, 0, ("base",))
    assert (
        verdict(
            reset_taken_for_a_wipe.Fixed, two, properties=("integrity", "confidentiality", "transient-exposure")
        ).verdict
        == HOLDS
    )
    assert verdict(Blank, two).verdict == HOLDS
    assert judged(verdict(BlankUnwiped, two))[:2] == (VIOLATED, "confidentiality")
    assert verdict(ExecUnused, Scope(1, 1, 0, 0, ("base", "exec"))).verdict == HOLDS
    assert judged(verdict(ExecNever, Scope(1, 1, 0, 0, ("base", "exec"))))[:2] == (VIOLATED, "confidentiality")


class Boot(Policy):
    """Right on any CPU whose reset puts the registers into their initial state: one task, nothing to do."""

    name = "boot"


def test_registers_at_boot_are_unknown_or_initial() -> None:
    unknown = verdict(Boot, Scope(1, 1, 0, 0, ("base",)))
    assert judged(unknown) == (VIOLATED, "integrity", 3)
    assert unknown.path is not None
    assert unknown.path.blame == "step 1: boot has no handler 'thread_switch'"
    assert verdict(Boot, Scope(1, 1, 0, 0, ("base",), "initial")).verdict == HOLDS
    assert verdict(Boot, Scope(1, 2, 0, 0, ("base",), "initial")).verdict == VIOLATED
    with pytest.raises(FpstateError, match="boot 'intial'"):
        Scope(1, 1, 0, 0, ("base",), "intial")


class SignalClear(X86Host):
    """Linux x86, OpenBSD: the frame is built, then the handler starts with the initial state."""

    name = "signal-clear"

    def signal(self, cpu: Any, task: Any) -> None:
        super().signal(cpu, task)
        cpu.clear(task)
        cpu.save(task)


class SignalClearsFirst(X86Host):
    """The frame is built from what was cleared."""

    name = "signal-clears-first"

    def signal(self, cpu: Any, task: Any) -> None:
        cpu.clear(task)
        super().signal(cpu, task)


def test_a_signal_handler_may_begin_with_the_initial_state() -> None:
    scope = Scope(1, 1, 0, 0, ("base", "signals"))
    assert verdict(SignalClear, scope).verdict == HOLDS
    assert judged(verdict(SignalClearsFirst, scope))[:2] == (VIOLATED, "integrity")


# Traps that stop the kernel.


class KernelBehindTrap(LazyHost):
    """Minix 2f892aca9151: the save for another process runs with the FPU off."""

    name = "kernel-behind-trap"

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        cpu.user_fp_trap = True
        if cpu.owner is not None:
            cpu.save(cpu.owner)
            cpu.owner = None


class UserTrapOnly(KernelBehindTrap):
    """The same where the trap is for user mode alone (CPACR_EL1.FPEN = 1)."""

    name = "user-trap-only"
    kernel_traps: ClassVar[tuple[str, ...]] = ()


def test_kernel_code_does_not_touch_registers_behind_a_trap_that_stops_it() -> None:
    scope = Scope(1, 2, 0, 0, ("base",))
    assert judged(verdict(KernelBehindTrap, scope)) == (VIOLATED, "kernel-trap", 4)
    assert verdict(UserTrapOnly, scope).verdict == HOLDS


# The decision that is to blame.


class Mask(PreemptibleHost):
    """A softirq destroys the values of the kernel section it interrupts, and its end puts nothing back."""

    name = "mask"

    def softirq_neon_begin(self, cpu: Any, task: Any) -> None:
        if not task.kernel_fpstate:
            self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def softirq_neon_end(self, cpu: Any, task: Any) -> None:
        pass


class Unsaved(DeferredHost):
    """A switch that saves nothing: the value stays behind in the registers, and its owner goes on elsewhere."""

    name = "unsaved"

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu


def test_blame_falls_on_what_destroyed_the_last_copy() -> None:
    path = verdict(Mask, Scope(1, 1, 0, 0, ("base", "neon"))).path
    assert path is not None
    assert path.wrong == "A loses its kernel-mode FP values"
    assert path.blame.startswith("step 3, ")


def test_two_decisions_share_the_blame() -> None:
    path = verdict(Unsaved, Scope(2, 1, 0, 0, ("base",))).path
    assert path is not None
    left, entered = path.blame.split(" and ")
    assert "test_verdicts.py" in left
    assert path.steps[int(left.split()[1].strip(",")) - 1].event == "thread_switch"
    assert path.steps[int(entered.split()[1].strip(",")) - 1].event == "ret_to_user"


# Every handler fires.


def probe(event: Event) -> type[Policy]:
    """Return a policy whose handler of `event` follows a null pointer, and which arms every trap."""
    needs = {NEEDS[event]} if event in NEEDS else set()

    def handler(self: Policy, cpu: Any, *who: Any) -> None:
        cpu.load(None)

    class Cpu(Policy.Cpu):
        user_fp_trap: bool = event == Event.USER_FP_TRAP
        guest_fp_trap: bool = event == Event.GUEST_FP_TRAP

    about: dict[str, Any] = {"name": f"probe-{event.name}", "supports": frozenset({*needs, "sve"}), "Cpu": Cpu}
    return with_features(type("Probe", (Policy,), about | {event.name.lower(): handler}), needs)


@pytest.mark.parametrize("event", list(PARTICIPANTS))
def test_every_handler_fires_in_check_and_on_a_trace(event: Event) -> None:
    """And on the machine, which follows paths where there is V alone."""
    policy = probe(event)
    scope = Scope(2 if event in (Event.CPU_DOWN, Event.CPU_UP) else 1, 2, 1)
    result = check(policy, scope, properties=("memory-safety",))
    assert (result.verdict, result.property) == (VIOLATED, "memory-safety")
    assert result.path is not None
    if not policy.features:
        assert follow_path(policy, scope, result.path.code).wrong == result.path.wrong
    uses = {Event.USER_FP_TRAP: Event.USER_FP, Event.GUEST_FP_TRAP: Event.GUEST_FP}
    uses |= {Event.SVE_TRAP: Event.USER_SVE, Event.GUEST_SVE_TRAP: Event.GUEST_SVE, Event.SME_TRAP: Event.USER_SMSTART}
    second = {"vcpu": [VCPU], "next": [KTHREAD]}.get((*PARTICIPANTS[event], "", "")[1], [])
    seen = trace([*START, (uses.get(event, event), VMM, *second)])  # type: ignore[list-item]
    found = broken(seen, replay(seen, Rows(policy), maybe=True))
    assert found is not None
    assert "nobody" in found.what or found.times > 1


# Said in general terms.


class ReadsImage(DeferredHost):
    """A debugger is shown the image as it is."""

    name = "reads-image"

    def ptrace_read(self, cpu: Any, task: Any, tracee: Any) -> None:
        pass


class LazyRead(LazyHost):
    """The same under a host that leaves values in registers."""

    name = "lazy-read"

    def ptrace_read(self, cpu: Any, task: Any, tracee: Any) -> None:
        pass


class LazyReadSaves(LazyHost):
    """It saves first."""

    name = "lazy-read-saves"

    def ptrace_read(self, cpu: Any, task: Any, tracee: Any) -> None:
        if cpu.owner is tracee:
            self.save_owner(cpu)


def test_reading_from_outside_is_a_use() -> None:
    scope = Scope(1, 2, 0, 0, ("base", "ptrace"))
    assert verdict(ReadsImage, scope).verdict == HOLDS
    assert judged(verdict(LazyRead, scope))[:2] == (VIOLATED, "integrity")
    assert verdict(LazyReadSaves, scope).verdict == HOLDS


class ShowsOthers(LazyHost):
    """What is shown is what the registers hold now, whoever they belong to."""

    name = "shows-others"

    def ptrace_read(self, cpu: Any, task: Any, tracee: Any) -> None:
        self.lift_trap(cpu)
        cpu.save(tracee)


def test_what_a_debugger_is_shown_is_told_of_its_tracee() -> None:
    scope = Scope(1, 2, 0, 0, ("base", "ptrace_read"))
    result = verdict(ShowsOthers, scope, properties=("confidentiality",))
    assert judged(result)[:2] == (VIOLATED, "confidentiality")
    assert result.path is not None
    read = result.path.steps[-1]
    assert (read.event, result.path.wrong) == (
        "ptrace_read",
        f"{read.other} is read from outside, and another's values are shown",
    )
    assert result.path.blame.startswith(f"step {read.number}, ")


def test_a_debugger_may_set_a_vector_length() -> None:
    events = ("base", "interrupt", "user_sve", "user_smstart", "user_za", "ptrace_vl")
    scope = Scope(1, 2, 0, 0, events)
    assert verdict(vl_change_clears_debuggers_flag.Fixed, scope, "sme").verdict == HOLDS
    assert judged(verdict(vl_change_clears_debuggers_flag.Faulty, scope, "sme"))[:2] == (VIOLATED, "memory-safety")


class Unbinds(Policy):
    """seL4: a vCPU's registers stay until another needs them; one that is taken from its thread is saved first."""

    name = "unbinds"
    vcpu_mutex = False

    class Cpu(Policy.Cpu):
        owner: Context | None = None

    class Vcpu(Policy.Vcpu):
        at: Policy.Cpu | None = None

    def switch_owner(self, cpu: Any, to: Any) -> None:
        if cpu.owner is not to:
            if cpu.owner is not None:
                cpu.save(cpu.owner)
            if to is not None:
                cpu.load(to)
            cpu.owner = to

    def ret_to_user(self, cpu: Any, task: Any) -> None:
        self.switch_owner(cpu, task)

    def guest_enter(self, cpu: Any, task: Any, vcpu: Any) -> None:
        self.switch_owner(cpu, vcpu)

    def vcpu_unbind(self, cpu: Any, task: Any, vcpu: Any) -> None:
        if cpu.owner is vcpu:
            self.switch_owner(cpu, None)

    def vcpu_free(self, cpu: Any, task: Any, vcpu: Any) -> None:
        self.vcpu_unbind(cpu, task, vcpu)


class UnbindsOnly(Unbinds):
    """A vCPU that nobody runs may still own the registers when it is freed, and nothing is done then."""

    name = "unbinds-only"

    def vcpu_unbind(self, cpu: Any, task: Any, vcpu: Any) -> None:
        pass


def test_a_vcpu_may_be_taken_from_the_thread_that_runs_it() -> None:
    scope = Scope(1, 2, 1, 0, ("kvm", "vcpu_unbind", "vcpu_free"))
    assert verdict(Unbinds, scope).verdict == HOLDS
    assert judged(verdict(UnbindsOnly, scope))[:2] == (VIOLATED, "memory-safety")


class Ipi(Unbinds):
    """An interrupt from another CPU takes the registers of a vCPU between two guest runs; the entry looks again."""

    name = "ipi"

    def ipi(self, cpu: Any, task: Any) -> None:
        self.switch_owner(cpu, None)


class IpiUnnoticed(Ipi):
    """The entry trusts what was loaded with the vCPU."""

    name = "ipi-unnoticed"

    def vcpu_load(self, cpu: Any, task: Any, vcpu: Any) -> None:
        self.switch_owner(cpu, vcpu)

    def guest_enter(self, cpu: Any, task: Any, vcpu: Any) -> None:
        pass

    def ipi(self, cpu: Any, task: Any) -> None:
        self.switch_owner(cpu, task)


def test_an_interrupt_from_another_cpu_may_come_between_guest_runs() -> None:
    scope = Scope(1, 1, 1, 0, ("kvm", "ipi"))
    assert verdict(Ipi, scope).verdict == HOLDS
    assert judged(verdict(IpiUnnoticed, scope))[:2] == (VIOLATED, "confidentiality")


class DirtyBit(Policy):
    """RISC-V: what user mode has not written since it was loaded is not saved."""

    name = "dirty-bit"
    supports = frozenset({"dirty-bit"})

    class Task(Policy.Task):
        mm: bool = True

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        if task.mm and cpu.dirty:
            cpu.save(task)
        if next.mm:
            cpu.load(next)
        cpu.dirty = False


class DirtyBitKept(DirtyBit):
    """The bit is cleared at the wrong time: on the way out of the kernel, without a save."""

    name = "dirty-bit-cleared"

    def syscall(self, cpu: Any, task: Any) -> None:
        cpu.dirty = False


def test_hardware_notes_what_was_written() -> None:
    scope = Scope(1, 2, 0, 0, ("base",))
    assert verdict(DirtyBit, scope, "dirty-bit").verdict == HOLDS
    assert judged(verdict(DirtyBitKept, scope, "dirty-bit"))[:2] == (VIOLATED, "integrity")


def test_upper_halves_that_live_apart_can_leak() -> None:
    scope = Scope(1, 2, 0, 0, ("base",), "initial")
    assert verdict(upper_halves_not_switched.Fixed, scope, "upper").verdict == HOLDS
    result = verdict(upper_halves_not_switched.Faulty, scope, "upper")
    assert judged(result)[:2] == (VIOLATED, "confidentiality")
    assert result.path is not None
    assert "reads upper halves that hold another's values" in result.path.wrong


class StashesUpper(upper_halves_not_switched.Fixed):
    """The kernel's own use keeps the upper halves in the CPU's private copy meanwhile."""

    name = "stashes-upper"

    class Cpu(Policy.Cpu):
        used: bool = False

    def kernel_neon_begin(self, cpu: Any, task: Any) -> None:
        cpu.stash_host()
        cpu.stash_part("upper")

    def kernel_neon_end(self, cpu: Any, task: Any) -> None:
        cpu.load_stash()
        cpu.load_stash_part("upper")


def test_one_class_can_be_stashed() -> None:
    assert verdict(StashesUpper, Scope(1, 2, 0, 0, ("base", "softirq_neon_begin"), "initial"), "upper").verdict == HOLDS


class Frames(Policy):
    """Exceptions put the registers into a frame on the stack, and the way back takes them from there."""

    name = "frames"

    def syscall(self, cpu: Any, task: Any) -> None:
        cpu.new_place(task)
        cpu.save(task)

    def ret_to_user(self, cpu: Any, task: Any) -> None:
        cpu.load(task)


class FramesIfDirty(Frames):
    """NuttX 9577: what is clean is not stored, and the next frame is another one."""

    name = "frames-if-dirty"
    supports = frozenset({"dirty-bit"})

    def syscall(self, cpu: Any, task: Any) -> None:
        cpu.new_place(task)
        if cpu.dirty:
            cpu.save(task)
        cpu.dirty = False


def test_a_frame_on_the_stack_is_another_place_each_time() -> None:
    scope = Scope(1, 1, 0, 0, ("base",))
    assert verdict(Frames, scope).verdict == HOLDS
    assert judged(verdict(FramesIfDirty, scope, "dirty-bit"))[:2] == (VIOLATED, "integrity")


class SomeMoved(Eager):
    """Some registers are moved once more where both sides hold the same, which changes nothing."""

    name = "some-moved"

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        cpu.save(task)
        cpu.save_some(task)
        cpu.load(next)
        cpu.load_some(next)


class SomeSaved(Eager):
    """Some of the registers are saved, and that is all."""

    name = "some-saved"

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        cpu.save_some(task)
        cpu.load(next)


class SomeLoaded(Eager):
    """Some of the registers are loaded, and that is all."""

    name = "some-loaded"

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        cpu.save(task)
        cpu.load_some(next)


@pytest.mark.parametrize("features", [(), ("aarch32",)])
def test_part_of_a_move_leaves_rubbish_unless_both_sides_held_the_same(features: tuple[str, ...]) -> None:
    scope = Scope(1, 2, 0, 0, ("base",))
    assert verdict(SomeMoved, scope, *features).verdict == HOLDS
    for policy in (SomeSaved, SomeLoaded):
        result = verdict(policy, scope, *features)
        assert judged(result)[:2] == (VIOLATED, "integrity")
        assert result.path is not None
        if not features:  # the machine has no 32-bit guests
            assert follow_path(policy, scope, result.path.code).wrong == result.path.wrong


class CopiesCpu(X86Host):
    """A child gets the note of the CPU whose registers are its parent's."""

    name = "copies-cpu"

    def fork(self, cpu: Any, task: Any, child: Any) -> None:
        super().fork(cpu, task, child)
        child.last_cpu = task.last_cpu


def test_a_pointer_to_a_cpu_can_be_copied() -> None:
    rules = [rule for rule in decision_table(CopiesCpu) if rule.event == "fork"]
    assert any("next.last_cpu := task.last_cpu" in rule.then for rule in rules)
    assert verdict(CopiesCpu, Scope(2, 2, 0, 0, ("base", "fork", "exit"))).verdict in (HOLDS, VIOLATED)


def test_a_cpu_may_have_to_go_down_out_of_streaming_mode() -> None:
    scope = Scope(2, 1, 0, 0, ("base", "user_smstart", "interrupt", "hotplug"))
    properties = ("down-mode",)
    assert judged(verdict(offline_in_streaming_mode.Faulty, scope, "sme", properties=properties))[:2] == (
        VIOLATED,
        "down-mode",
    )
    assert verdict(offline_in_streaming_mode.Fixed, scope, "sme", properties=properties).verdict == HOLDS


def test_vcpus_may_lack_features_that_others_have() -> None:
    """vcpu_has_sve(): what is done for a guest with SVE is not done for one without."""
    policy = find_policy("linux-6.14")
    assert verdict(policy, Scope(1, 1, 2, 0, ("kvm",), "unknown", 1), "guest-sve").verdict == HOLDS
    with pytest.raises(FpstateError, match="3 of 2 vCPUs"):
        Scope(1, 1, 2, plain_vcpus=3)


class Masked(FirstClass):
    """It saves to nobody before a CPU goes down with ZA on, which is less."""

    name = "masked"

    def cpu_down(self, cpu: Any) -> None:
        if cpu.za:
            cpu.save(None)
        cpu.last_state = None
        self.note_saved(cpu)


def test_what_is_graver_is_not_hidden_by_a_cpu_going_down_in_a_mode() -> None:
    result = check(with_features(Masked, ["sme"]), Scope(2, 1, 0, 0, ("base", "sme", "hotplug")), cores=1)
    assert (result.verdict, result.property) == (VIOLATED, "memory-safety")


class Pending(Policy):
    """What a debugger writes waits for the way to user mode; exec leaves another's value where it was to go."""

    name = "pending"
    supports = frozenset({"fpmr"})

    class Task(Policy.Task):
        pending: bool = False

    def get(self, cpu: Any, task: Any) -> None:
        cpu.load(task)
        if self.fpmr:
            cpu.load_part("fpmr", task)

    def new(self, cpu: Any, task: Any) -> None:
        cpu.overwrite(task)
        if self.fpmr:
            cpu.overwrite_part("fpmr", task)

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        if not task.pending:
            cpu.save(task)
            if self.fpmr:
                cpu.save_part("fpmr", task)
        self.get(cpu, next)

    def ptrace_write(self, cpu: Any, task: Any, tracee: Any) -> None:
        tracee.pending = True

    def ret_to_user(self, cpu: Any, task: Any) -> None:
        if task.pending:
            self.new(cpu, task)
            task.pending = False
            self.get(cpu, task)

    def exec(self, cpu: Any, task: Any) -> None:
        if not task.pending:
            self.new(cpu, task)
        elif self.fpmr:
            cpu.overwrite_part("fpmr", task)
        task.pending = False
        self.get(cpu, task)


@pytest.mark.parametrize("features", [(), ("fpmr",)])
def test_a_predecessors_value_leaks_whatever_it_was_to_him(features: tuple[str, ...]) -> None:
    """Asked about leaks alone, an old value is told from a lost one: it leaks once there is another program."""
    scope = Scope(1, 2, 0, 0, ("base", "ptrace_write", "exec"))
    result = check(with_features(Pending, features), scope, properties=["confidentiality"], cores=1)
    assert result.verdict == VIOLATED
    assert result.path is not None
    assert len(result.path.steps) == 10


class Unchanged(MarkForeign):
    """exec leaves the image as it is if the vector length was changed since the last use of SVE."""

    name = "unchanged"

    class Task(MarkForeign.Task):
        changed: bool = when("sve", False)

    def vl_change(self, cpu: Any, task: Any) -> None:
        super().vl_change(cpu, task)
        task.changed = True

    def syscall(self, cpu: Any, task: Any) -> None:
        super().syscall(cpu, task)
        task.changed = False

    def exec(self, cpu: Any, task: Any) -> None:
        if not task.changed:
            super().exec(cpu, task)
            return
        task.tif_sve = False
        task.fp_type = Form.FPSIMD
        self.fpsimd_flush_task_state(task)
        cpu.free_sve(task)


def test_an_old_value_that_becomes_a_predecessors_is_found_again_by_name() -> None:
    result = check(with_features(Unchanged, ["sve"]), Scope(1, 1, 0), cores=1)
    assert result.verdict == VIOLATED

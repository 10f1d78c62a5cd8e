"""The kernels of 6.12.y, v6.16, v6.19 and v7.2: what each row that is new does, and that leaving it out is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fpstate.check.diff import SAME, diff
from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features
from fpstate.policies.bugs.arm64.ptrace_sve_dropped_by_syscall import HOST
from fpstate.policies.catalogue import find_policy
from fpstate.policies.host_flushed import FlushedHost, StoredHost
from fpstate.policies.host_format import Form, FormHost
from fpstate.policies.linux_6_14 import Owner
from fpstate.policies.linux_6_16 import Linux72, Linux616, Linux619
from fpstate.rows.decisions import Rule, decision_table

FLUSHED = ("linux-6.12.y", "linux-6.16", "linux-6.19", "linux-7.2")


def rows(name: str, event: str) -> list[Rule]:
    return [rule for rule in decision_table(find_policy(name)) if rule.event == event]


@pytest.mark.parametrize("name", [*FLUSHED, "linux-6.14"])
def test_a_section_is_loaded_anew_unless_its_record_is_looked_at_before_it_is_cleared(name: str) -> None:
    """01098d893fa8: since then whoever is switched to inside a section loads it, wherever the registers are."""
    into = [rule for rule in rows(name, "thread_switch") if "next.kernel_fpstate = True" in rule.when]
    loading = [rule for rule in into if "load next.kernel" in rule.then]
    assert loading
    assert (len(loading) == len(into)) == (name in FLUSHED)


@pytest.mark.parametrize("name", FLUSHED)
@pytest.mark.parametrize("event", ["signal", "fork"])
def test_from_v6_16_on_the_image_is_the_only_copy_when_it_is_changed(name: str, event: str) -> None:
    """6.12.y loads at sigreturn, and keeps the registers at fork and signal; v6.16 leaves loading to the way back."""
    stored = name != "linux-6.12.y"
    live = [rule for rule in rows(name, event) if "task.foreign = False" in rule.when]
    assert live
    for rule in live:
        assert ("task.foreign := True" in rule.then) == stored
    assert any("load task" in rule.then for rule in rows(name, "sigreturn")) != stored


@pytest.mark.parametrize("host", [FlushedHost, StoredHost], ids=lambda host: host.__name__)
def test_what_a_debugger_writes_during_a_system_call_is_kept(host: type[FormHost]) -> None:
    """398edaa12f9c, where it goes wrong before: loaded anew, SVE state is what is to be saved (bug A34-host)."""

    class Preempted(host):  # type: ignore[misc, valid-type]
        name = "preempted"

        def ret_to_user(self, cpu: FormHost.Cpu, task: FormHost.Task) -> Iterator[None]:
            if task.foreign:
                self.fpsimd_restore_current_state(cpu, task)
            yield
            if task.foreign:
                self.fpsimd_restore_current_state(cpu, task)
            if self.sve:
                self.note_syscall(cpu, task, inside=False)

    assert check(with_features(Preempted, HOST.features), Scope(1, 2, 0, 0, HOST.events)).verdict == HOLDS


class NoBuffer(Linux619):
    """A section is begun, and nobody notes where its state is to be saved."""

    name = "no-buffer"

    def kernel_neon_begin(self, cpu: Any, task: Any) -> None:
        super().kernel_neon_begin(cpu, task)
        task.kernel_fpsimd_state = False

    def kernel_neon_end(self, cpu: Any, task: Any) -> None:
        task.kernel_fpstate = False


class LeftBuffer(Linux619):
    """A section ends, and where its state was to be saved stays noted."""

    name = "left-buffer"

    def kernel_neon_end(self, cpu: Any, task: Any) -> None:
        super().kernel_neon_end(cpu, task)
        task.kernel_fpsimd_state = True


class InImage(Linux616):
    """A signal handler begins outside streaming mode, and the image keeps what was computed inside."""

    name = "in-image"

    def signal(self, cpu: Any, task: Any) -> None:
        self.fpsimd_save_and_flush_current_state(cpu, task)
        self.sve_sync_to_fpsimd(cpu, task)
        if task.fp_type is Form.SVE:
            cpu.frame_sve(task)
        task.svcr_sm = task.svcr_za = False
        task.fp_type = Form.FPSIMD


class KeepsOwner(Linux72):
    """Who owns the registers is not asked again before a guest runs, since nobody put it."""

    name = "keeps-owner"

    def guest_enter(self, cpu: Any, task: Any, vcpu: Any) -> None:
        self.arm_guest_traps(cpu, vcpu, cpu.fp_owner is Owner.GUEST_OWNED)


STREAMING = Scope(1, 1, 0, 0, ("base", "user_smstart", "interrupt", "signal"))


@pytest.mark.parametrize(
    ("policy", "features", "scope", "broken"),
    [
        (NoBuffer, [], Scope(1, 2, 0, 0, ("base", "neon")), "memory-safety"),
        (LeftBuffer, [], Scope(1, 1, 0, 0, ("base", "neon")), "trap-sanity"),
        (InImage, ["sme"], STREAMING, "integrity"),
        (KeepsOwner, [], Scope(1, 1, 1, 0, ("base", "kvm", "neon")), "confidentiality"),
    ],
)
def test_what_is_left_out_is_found(policy: type[Policy], features: list[str], scope: Scope, broken: str) -> None:
    """A section has its buffer, and only a section; zeros are written to memory where streaming mode is left there."""
    found = check(with_features(policy, features), scope)
    assert (found.verdict, found.property) == (VIOLATED, broken)
    right = next(base for base in policy.__mro__[1:] if "name" in vars(base))
    assert check(with_features(right, features), scope).verdict == HOLDS


def test_nested_switches_keep_the_registers_since_v7_2() -> None:
    """Before, each is a put and a load; without them the two are the same."""
    assert not [rule for rule in rows("linux-7.2", "nested_switch") if rule.then]
    before = [rule.then for rule in rows("linux-6.19", "nested_switch")]
    assert any("cpu.fp_owner := FREE" in then for then in before)
    assert any(what.startswith("save") for then in before for what in then)
    scope = Scope(1, 1, 1, 0, ("all", "-nested_switch"))
    assert diff(find_policy("linux-6.19"), find_policy("linux-7.2"), scope).verdict == SAME

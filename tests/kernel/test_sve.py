"""Real kernels on a CPU with SVE, and with 32-bit guests. Skipped without QEMU and apt, as in test_real."""

from __future__ import annotations

import pytest

from fpstate.check.diff import diff
from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.errors import FpstateError
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features
from fpstate.policies.bugs.arm64.new_length_brings_back_old_registers import Faulty
from fpstate.policies.catalogue import find_bug, find_policy
from fpstate.replay.validate import validate
from fpstate.rows.learn import Rows
from fpstate.traces.samples import open_trace
from tests.kernel.changes import NOP, changed, dump, without_call, words_of
from tests.kernel.test_real import kernel

pytestmark = pytest.mark.long
SMALL = Scope(1, 1, 1)
MSR_ZCR_EL1 = 0xD5181200


def is_same(name: str, policy: type[Policy], features: set[str]) -> bool:
    """Tell whether a kernel and a policy do the same in every order of events, and no row differs."""
    found = diff(with_features(policy, features), with_features(kernel(name), features), SMALL)
    return found.verdict == "same" and all(line.equal for line in found.lines)


def together(features: set[str]) -> str:
    """Name features."""
    return "+".join(sorted(features))


@pytest.mark.parametrize("features", [{"sve"}, {"guest-sve"}, {"aarch32"}], ids=together)
@pytest.mark.parametrize(
    ("name", "policy"), [("debian-5.10", "linux-5.2"), ("debian-6.1", "linux-6.1.y"), ("debian-7.3", "linux-7.2")]
)
def test_a_kernel_is_its_policy(name: str, policy: str, features: set[str]) -> None:
    """With SVE of tasks, with SVE of guests too, and with 32-bit guests."""
    assert is_same(name, find_policy(policy), features)


@pytest.mark.parametrize("features", [{"sve"}, {"guest-sve"}], ids=together)
def test_6_12_is_its_policy_with_a_bug(features: set[str]) -> None:
    """6.12.118 copies V of a stale SVE form over V when a task asks for another vector length; else it is 6.12.y."""
    assert is_same("debian-6.12", Faulty, features)
    assert is_same("debian-6.12", find_policy("linux-6.12.y"), {"aarch32"})


@pytest.mark.parametrize("features", [{"sve", "nvhe"}, {"guest-sve", "nvhe"}, {"aarch32", "nvhe"}], ids=together)
@pytest.mark.parametrize(("name", "policy"), [("debian-6.1", "linux-6.1.y"), ("debian-7.3", "linux-7.2")])
def test_below_its_hypervisor(name: str, policy: str, features: set[str]) -> None:
    """What switches a guest's lengths, its SVE registers and FPEXC32_EL2 is the hypervisor's own code."""
    assert is_same(name, find_policy(policy), features)


@pytest.mark.parametrize("name", ["debian-6.12", "debian-6.12@hvhe"])
def test_6_12_below_its_hypervisor(name: str) -> None:
    """In both modes."""
    assert is_same(name, Faulty, {"guest-sve", "nvhe"})


def test_the_fields_are_those_of_the_kernel() -> None:
    """Storage, forms and what to save are found, as the others are; lengths are none."""
    lists = Rows(with_features(kernel("debian-6.1"), {"guest-sve"})).fields.lists
    found = {f.name for fields in lists.values() for f in fields}
    assert found >= {"TIF_SVE", "thread.sve_state", "fpsimd_last_state.sve_state", "fpsimd_last_state.to_save"}
    assert not [name for name in found if "vl" in name]


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-7.3"])
def test_the_kernel_holds(name: str) -> None:
    """Tasks and guests with SVE."""
    assert check(with_features(kernel(name), {"guest-sve"}), SMALL).verdict == HOLDS


@pytest.mark.parametrize("bug", ["K1", "K2", "K3", "K5", "K6", "K8", "K9"])
def test_5_10_has_none_of_the_faults_between_kvm_and_sve_of_the_host(bug: str) -> None:
    """In the scopes in which the gallery finds them; it is older than those that came with v5.13 and later."""
    known = find_bug(bug)
    assert known is not None
    features = set(known.features) - {"nvhe"}  # 5.10 runs guests only in VHE where there is SVE
    scope = Scope(known.cpus, known.tasks, known.vcpus, known.kthreads, known.events)
    assert check(with_features(known.faulty, set(known.features)), scope).verdict == VIOLATED
    assert check(with_features(kernel("debian-5.10"), features), scope).verdict == HOLDS


def test_6_12_brings_back_old_registers() -> None:
    """Nobody has told: prctl(PR_SVE_SET_VL), in whose system call saves are plain, narrows what SVE form there was."""
    result = check(with_features(kernel("debian-6.12"), {"sve"}), Scope(1, 1, 0))
    assert result.verdict == VIOLATED
    assert result.path is not None
    assert any("narrow A" in str(step) for step in result.path.steps)
    assert "__kvm_vcpu_run" not in str([step for step in result.path.steps if "vcpu" not in step.event])
    held = Scope(1, 1, 1, events=("all", "-vl_change", "-ptrace_vl"))
    assert check(with_features(kernel("debian-6.12"), {"sve"}), held).verdict == HOLDS


@pytest.mark.parametrize("name", ["debian-5.10", "debian-6.1", "debian-6.12"])
def test_a_child_gets_old_registers_after_a_debugger_has_written_sve(name: str) -> None:
    """Bug M-clone, which none of these has mended: fork copies the FPSIMD form, whatever the other one holds."""
    events = "ptrace_sve", "fork", "exit"
    result = check(with_features(kernel(name), {"sve"}), Scope(1, 2, 0, events=events))
    assert result.verdict == VIOLATED
    assert result.path is not None
    assert "arch_dup_task_struct" in str(result.path.blame)


def test_its_rows_are_exact_on_a_recording_with_sve() -> None:
    """What 6.1 was seen to do."""
    assert validate(open_trace("sve.vhe"), kernel("debian-6.1")).exact


FAULTS = {
    "registers are not zeroed beyond V at the first use": ("do_sve_acc", "sve_flush_live"),
    "no length is put in force at the first use": ("do_sve_acc", "sve_set_vq"),
    "a new length is asked for with registers live": ("vec_set_vector_length", "fpsimd_save"),
    "a signal frame is built from an old form": ("fpsimd_signal_preserve_current_state", "sve_to_fpsimd"),
    "a guest's SVE registers are not loaded": ("kvm_hyp_handle_fpsimd", "__sve_restore_state"),
}
"""Caller and callee of a call that is not made."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_what_switches_sve_is_found(fault: str) -> None:
    """The check of the changed kernel is violated."""
    kernel("debian-6.1")
    assert check(without_call(dump(sve=True), *FAULTS[fault]), SMALL).verdict == VIOLATED


def test_a_fault_in_the_hypervisor_is_found() -> None:
    """A guest's SVE registers are not loaded; or its length stays in force for the host that has to save them (K8)."""
    of = dump("debian-6.1", "nvhe", sve=True)
    hyp = "__kvm_nvhe_"
    left_out = without_call(of, f"{hyp}kvm_hyp_handle_fpsimd", f"{hyp}__sve_restore_state")
    assert check(left_out, SMALL).verdict == VIOLATED
    writes = [at for at, word in words_of(of, f"{hyp}handle___kvm_vcpu_run") if word & ~31 == MSR_ZCR_EL1]
    assert writes
    with pytest.raises(FpstateError, match="puts a vector length in force that is nobody's"):
        check(changed(of, {writes[-1]: NOP}), SMALL)


def test_what_does_not_go_together_is_said() -> None:
    """One sentence."""
    with pytest.raises(FpstateError, match="a guest of KVM has SVE or is a 32-bit one"):
        with_features(kernel("debian-6.1"), {"guest-sve", "aarch32"})


@pytest.mark.parametrize("features", [{"nvhe"}, {"aarch32", "nvhe"}, {"sve", "nvhe"}], ids=together)
def test_a_kernel_without_the_mode_asked_for_is_refused(features: set[str]) -> None:
    """5.10 cannot be told the mode of KVM; a verdict on its other mode would be none, with 32-bit guests or without."""
    with pytest.raises(FpstateError, match=r"runs in mode vhe on (neoverse-n1|max), not nvhe"):
        with_features(kernel("debian-5.10"), features)

"""Real kernels as policies: Debian's, booted once. Skipped without QEMU and apt, unless FPSTATE_CAPTURE=required."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fpstate.check.diff import diff
from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.cli.check import _as_pytest
from fpstate.cli.main import app
from fpstate.errors import FpstateError
from fpstate.kernel import kept, policy
from fpstate.kernel.named import named_kernel
from fpstate.kernel.stage import Stage
from fpstate.lab.apt import fetch_kernel
from fpstate.lab.kernel import calls, read_kernel
from fpstate.lab.qemu import Machine
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_policy
from fpstate.replay.validate import validate
from fpstate.rows.decisions import all_decisions, decision_table
from fpstate.rows.learn import Rows
from fpstate.traces.samples import open_trace
from fpstate.world.events import Event
from fpstate.world.operations import OVERWRITE, SAVE
from fpstate.world.table import TASK
from tests.capture.test_real import need
from tests.kernel.changes import NOP, changed, dump, without_call, words_of

pytestmark = pytest.mark.long
MRS_SP_EL0 = 0xD5384100
STP_Q = 0xAD000000 >> 22  # STP of two Q registers, with an offset
RECORDED_ON_6_1 = (
    "contended.vhe", "hotplug.vhe", "hvc-fp.vhe", "kneon.vhe", "mmio-fp.vhe", "mmio-int.vhe", "signals.vhe",
    "smp4-mixed.vhe",
)  # fmt: skip


def kernel(name: str) -> type[Policy]:
    """Return a kernel's policy, or skip."""
    try:
        return named_kernel(f"kernel:{name}")
    except FpstateError as error:
        need(False, str(error))
        raise


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("debian-6.1", {"cpu": {"fpsimd_last_state.st"}, "task": {"TIF_FOREIGN_FPSTATE", "thread.fpsimd_cpu"},
                        "vcpu": {"arch.fp_state"}}),
        ("debian-6.12", {"cpu": {"fpsimd_last_state.st", "kvm_host_data.fp_owner"},
                         "task": {"TIF_FOREIGN_FPSTATE", "TIF_KERNEL_FPSTATE", "thread.fpsimd_cpu",
                                  "thread.kernel_fpsimd_cpu"}, "vcpu": set()}),
        ("debian-7.3", {"cpu": {"fpsimd_last_state.st", "kvm_host_data.fp_owner"},
                        "task": {"TIF_FOREIGN_FPSTATE", "TIF_KERNEL_FPSTATE", "thread.fpsimd_cpu",
                                 "thread.kernel_fpsimd_state", "thread.kernel_fpsimd_cpu"}, "vcpu": set()}),
    ],
)  # fmt: skip
def test_the_fields_are_those_of_the_kernel(name: str, fields: dict[str, set[str]]) -> None:
    """Nobody has told: they are what its functions read and change."""
    lists = Rows(kernel(name)).fields.lists
    hardware = {"guest_fp_trap", "user_fp_trap"}
    found = {kind.lower(): {f.name for f in fields} - hardware for kind, fields in lists.items()}
    assert found == fields


@pytest.mark.parametrize("name", ["debian-6.1", "debian-6.12", "debian-7.3"])
def test_the_kernel_holds(name: str) -> None:
    """In scopes that take seconds."""
    for scope in (Scope(1, 2, 1), Scope(2, 1, 1)):
        assert check(kernel(name), scope).verdict == HOLDS


def test_6_1_is_the_policy_of_its_stable_series() -> None:
    """The same in every order of events; no row differs."""
    for scope in (Scope(1, 2, 1), Scope(2, 1, 1)):
        found = diff(kernel("debian-6.1"), find_policy("linux-6.1.y"), scope)
        assert found.verdict == "same"
        assert all(line.equal for line in found.lines)


@pytest.mark.parametrize(("name", "policy"), [("debian-6.12", "linux-6.12.y"), ("debian-7.3", "linux-7.2")])
def test_later_kernels_are_their_policies(name: str, policy: str) -> None:
    """The same in every order of events; no row differs."""
    for scope in (Scope(1, 2, 1), Scope(2, 1, 1)):
        found = diff(find_policy(policy), kernel(name), scope)
        assert found.verdict == "same"
        assert all(line.equal for line in found.lines)


def test_6_12_loads_a_section_anew_where_6_14_did_not() -> None:
    """One row differs: 6.12.118 forgets whose the registers are before it loads a section (01098d893fa8, v6.16)."""
    found = diff(find_policy("linux-6.14"), kernel("debian-6.12"), Scope(2, 1, 1))
    assert found.verdict == "different"
    (line,) = (line for line in found.lines if not line.equal)
    assert line.event == "thread_switch"
    assert line.first is not None
    assert line.second is not None
    assert "next.kernel_fpsimd_cpu = this" in line.first.when
    assert not [what for what in line.first.then if what.startswith("load")]
    assert "load next.kernel" in line.second.then


@pytest.mark.parametrize(
    "name", ["debian-6.1@nvhe", "debian-6.12@nvhe", "debian-6.12@hvhe", "debian-7.3@nvhe", "debian-7.3@cortex-a57"]
)
def test_below_its_hypervisor_a_kernel_does_the_same(name: str) -> None:
    """The hypervisor's own code runs the guest, with its own data of the CPU; no row differs from that of VHE."""
    for scope in (Scope(1, 2, 1), Scope(2, 1, 1)):
        found = diff(kernel(name), kernel(name.partition("@")[0]), scope)
        assert found.verdict == "same"
        assert all(line.equal for line in found.lines)


def test_the_mode_of_a_recording_is_the_mode_of_the_code() -> None:
    """Rows of the hypervisor's code are those that are held against a recording of nVHE."""
    policy = kernel("debian-6.1")
    below = with_features(policy, ["nvhe"])
    assert "__kvm_nvhe___fpsimd_restore_state" in str(list(all_decisions(Rows(below))))
    assert "__kvm_nvhe" not in str(list(all_decisions(Rows(policy))))
    assert validate(open_trace("guest-32bit.nvhe"), policy).exact


@pytest.mark.parametrize(
    ("name", "error"),
    [("debian-6.1@hvhe", "runs in mode nvhe on neoverse-n1, not hvhe"), ("debian-6.1@max", "max has SVE"),
     ("debian-6.1@cortex-a72@vhe", "runs in mode nvhe on cortex-a72, not vhe"),
     ("debian-6.1@nvh", "did you mean 'nvhe'?")],
)  # fmt: skip
def test_what_a_kernel_cannot_be_run_on_is_said(name: str, error: str) -> None:
    """One sentence each."""
    kernel("debian-6.1")
    with pytest.raises(FpstateError, match=re.escape(error)):
        named_kernel(f"kernel:{name}")


@pytest.mark.parametrize("recording", RECORDED_ON_6_1)
def test_its_rows_are_exact_on_recordings_of_it(recording: str) -> None:
    """What the kernel's own code says it does is what it was seen to do."""
    assert validate(open_trace(recording), kernel("debian-6.1")).exact


def test_rows_are_split_where_others_may_come_in() -> None:
    """7.3 enables softirqs and the scheduler between the save of a task's registers and what is done with its image."""
    assert kernel("debian-7.3").preemptible
    assert not kernel("debian-6.1").preemptible
    rows = Rows(kernel("debian-7.3"), interruptible=True)
    saved, goes_on = rows.run(Event.SIGRETURN, lambda _, f: TASK if f.pointer == "context" else 0)
    assert goes_on
    assert [op for op, _, _ in saved.ops] == [SAVE]
    whole, goes_on = Rows(kernel("debian-7.3")).run(Event.SIGRETURN, lambda _, f: TASK if f.pointer == "context" else 0)
    assert not goes_on
    assert [op for op, _, _ in whole.ops] == [SAVE, OVERWRITE]


def test_a_fault_on_account_of_who_is_out_of_view_is_asked_for() -> None:
    """Saving to the state of a section, 6.12 faults after the save: it is no user's, and has no form."""
    then = [rule.then for rule in decision_table(kernel("debian-6.12")) if rule.event == "signal"]
    saves = [list(ops) for ops in then if "save whom fpsimd_last_state.st names" in ops]
    assert saves
    assert all("oops if whom fpsimd_last_state.st names is kernel-mode state" in ops for ops in saves)


def test_what_is_kept_says_the_same_and_needs_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process reads it; a file that is not whole is made anew."""
    first = decision_table(kernel("debian-6.1"))
    read = read_kernel(fetch_kernel(lambda _: None, "debian-6.1"))
    path = kept.path_for(read, Machine("neoverse-n1", 1, "vhe"))
    named_kernel.cache_clear()
    code = policy.code_of(Stage(dump()))
    made = policy.policy_of(code, "kernel:debian-6.1", "it")
    kept.write(path, code.kept)
    with monkeypatch.context() as without:
        without.setattr("fpstate.lab.dump.dump_of", lambda *_: pytest.fail("it asks for a dump"))
        assert decision_table(named_kernel("kernel:debian-6.1")) == first == decision_table(made)
    path.write_text(path.read_text()[:-100])
    assert kept.read(path) is None
    kept.write(path, code.kept)
    named_kernel.cache_clear()


FAULTS = {
    "a section keeps the record of who owned the registers": ("kernel_neon_begin", "fpsimd_flush_cpu_state"),
    "a section does not save who was there": ("kernel_neon_begin", "fpsimd_save"),
    "a switch does not save": ("fpsimd_thread_switch", "fpsimd_save"),
    "a vCPU is loaded over the host's registers": ("kvm_arch_vcpu_load_fp", "fpsimd_save_and_flush_cpu_state"),
    "a vCPU's registers are not saved at its put": ("kvm_arch_vcpu_put_fp", "fpsimd_save_and_flush_cpu_state"),
    "the guest's registers are not bound after its run": ("kvm_arch_vcpu_ctxsync_fp", "fpsimd_bind_state_to_cpu"),
    "registers are not saved before power is off": ("fpsimd_cpu_pm_notifier", "fpsimd_save_and_flush_cpu_state"),
    "a debugger's write leaves the registers live": ("fpr_set", "fpsimd_flush_task_state"),
}
"""Historical bugs by pattern, each brought back by one call that is not made: caller and callee."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bug_brought_back_into_the_code_is_found(fault: str) -> None:
    """The check of the changed kernel is violated, and says by which of its functions."""
    kernel("debian-6.1")
    policy = without_call(dump(), *FAULTS[fault])
    results = [check(policy, scope) for scope in (Scope(1, 2, 1), Scope(2, 1, 1))]
    wrong = [result for result in results if result.verdict == VIOLATED]
    assert wrong
    assert wrong[0].path is not None
    assert wrong[0].path.blame


def test_a_fault_in_the_hypervisor_is_found() -> None:
    """The guest's registers are not loaded at its trap, by code that runs at EL2 above the kernel."""
    kernel("debian-6.1@nvhe")
    caller, callee = "__kvm_nvhe_kvm_hyp_handle_fpsimd", "__kvm_nvhe___fpsimd_restore_state"
    result = check(without_call(dump(mode="nvhe"), caller, callee), Scope(1, 1, 1))
    assert result.verdict == VIOLATED
    assert result.path is not None
    assert "vcpu0 reads" in result.path.wrong


def test_a_read_of_what_no_view_holds_is_refused() -> None:
    """The proof that rows are complete: with a field taken from it, the policy is made anew with it, or refused."""
    of = dump()
    stage = Stage(of)
    table = decision_table(kernel("debian-6.1"))
    assert stage.missing() == []
    assert {rule.event for rule in table} >= {"thread_switch", "guest_enter", "guest_fp_trap", "guest_exit", "fork"}
    assert not [rule for rule in table if "not decided by what is in view" in rule.then]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("kernel:debian-5.99", "did you mean"),
        ("kernel:no/such/Image", "there is no kernel 'no/such/Image'"),
        ("kernel:README.md", "is not an arm64 kernel"),
    ],
)
def test_what_is_no_kernel_is_one_sentence(given: str, said: str) -> None:
    """Code 2, and what was expected."""
    words = [sys.executable, "-m", "fpstate", "policies", given]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_page_shows_what_diff_prints() -> None:
    """docs/kernel.md names the version that its figures are of; Debian may have another by now."""
    page = (Path(__file__).parents[2] / "docs/kernel.md").read_text()
    told = re.search(r"`fpstate (diff [^`]+)` on Debian's ([\d.]+):\n\n((?:    .*\n)+)", page)
    assert told
    if f"{told[2]}" not in kernel("debian-6.12").source:
        pytest.skip(f"the page is of {told[2]}, this is {kernel('debian-6.12').source}")
    done = CliRunner().invoke(app, told[1].split(), env={"COLUMNS": "80"})
    assert done.exit_code == 1
    shown = [line.strip() for line in told[3].splitlines()]
    assert [line.strip() for line in done.stdout.splitlines()[: len(shown)]] == shown


def test_diff_as_json() -> None:
    """The documented shape, and the exit code of a difference."""
    words = [sys.executable, "-m", "fpstate", "diff", "linux-6.14", "kernel:debian-6.12", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["schema"] == "fpstate.diff/1"
    assert (found["verdict"], found["policies"]) == ("different", ["linux-6.14", "kernel:debian-6.12"])
    assert sum(row["equal"] for row in found["rows"]) == found["equal"]


def test_a_printed_test_of_a_kernel_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It imports what finds kernels; without that it would look among the package's policies, in vain."""
    broken = without_call(dump(), "fpsimd_thread_switch", "fpsimd_save")
    result = check(broken, Scope(1, 2, 0))
    assert result.verdict == VIOLATED
    text = _as_pytest("kernel:debian-6.1", result)
    assert "from fpstate.kernel.named import named_kernel" in text
    found: dict[str, object] = {}
    exec(text, found)
    monkeypatch.setitem(found, "named_kernel", lambda name: {"kernel:debian-6.1": broken}[name])
    (test,) = (value for name, value in found.items() if name.startswith("test_"))
    assert callable(test)
    test()


def test_a_kernel_whose_cpus_never_name_who_is_live_is_refused() -> None:
    """One sentence, whichever of its rows would have needed that."""
    of = dump("debian-6.1")
    reads_current = [at for at, word in words_of(of, "fpsimd_save") if word & ~31 == MRS_SP_EL0]
    assert reads_current
    with pytest.raises(FpstateError, match="names the context whose registers it has"):
        changed(of, dict.fromkeys(reads_current, NOP))


def test_zeros_in_an_image_are_no_new_value() -> None:
    """Unless the event gives zeros, as exec does: a signal at which the kernel flushes the task loses its registers."""
    of = dump("debian-6.1")
    flush = of.symbols.address("fpsimd_flush_thread") or 0
    caller = of.symbols.address("fpsimd_signal_preserve_current_state") or 0
    (place,) = calls(of.kernel, of.symbols, "fpsimd_signal_preserve_current_state", "fpsimd_preserve_current_state")
    there = 0x94000000 | (flush - caller - place) >> 2 & 0x3FFFFFF  # BL
    result = check(changed(of, {caller + place: there}), Scope(1, 1, 1))
    assert (result.verdict, result.property) == (VIOLATED, "integrity")
    assert result.path is not None
    assert any("new_place" in str(step) for step in result.path.steps)


def test_a_store_that_is_dropped_is_found() -> None:
    """Two of 32 registers are not stored: the image holds rubbish, unless it held the same."""
    of = dump("debian-6.1")
    stores = [at for at, word in words_of(of, "fpsimd_save_state") if word >> 22 == STP_Q]
    assert len(stores) > 10
    result = check(changed(of, {stores[3]: NOP}), Scope(1, 1, 1))
    assert (result.verdict, result.property) == (VIOLATED, "integrity")
    assert result.path is not None
    assert any("save_some" in str(step) for step in result.path.steps)


def test_words_after_a_kernels_name_fit_the_world() -> None:
    """No verdict on VHE's code in a world below the hypervisor, nor the other way round where they differ."""
    for name, features, match in (
        ("debian-6.12@vhe", {"nvhe"}, "mode vhe, in a world with feature nvhe"),
        ("debian-6.12@hvhe", {"sve"}, "mode hvhe with SVE, in a world without feature nvhe"),
        ("debian-6.12@neoverse-n1", {"sve"}, "does not support sve"),
        ("debian-6.12@vhe@nvhe", set(), "two modes: vhe and nvhe"),
        ("debian-6.12@max@cortex-a72", set(), "two CPU models: max and cortex-a72"),
    ):
        with pytest.raises(FpstateError, match=match):
            with_features(named_kernel(f"kernel:{name}"), features)
    below = Rows(with_features(kernel("debian-6.12@neoverse-n1"), {"nvhe"}))
    assert any("__kvm_nvhe_" in decision.where for decision in all_decisions(below))

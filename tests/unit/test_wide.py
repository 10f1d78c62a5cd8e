"""Registers beyond FPSIMD: kernel versions with their features, and what each operation means."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.errors import FpstateError
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_policy, policies
from fpstate.policies.first_class_dirty import FirstClassDirty
from fpstate.policies.host_deferred import DeferredHost
from fpstate.rows.learn import Rows
from fpstate.world.events import Event

SMALL = Scope(1, 1, 1)


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("eager", "aarch32"),
        ("trap-per-entry", "aarch32"),
        ("mark-foreign", "sve,aarch32"),
        ("save-on-entry", "sve,aarch32"),
        ("linux-4.15", "sve"),
        ("linux-4.15", "sve,nvhe"),
        ("linux-4.18", "sve"),
        ("linux-5.2", "guest-sve,aarch32"),
        ("linux-5.13", "guest-sve"),
        ("linux-5.17", "guest-sve"),
        ("linux-6.1.y", "guest-sve,nvhe"),
        ("linux-6.6.y", "sve"),
        ("linux-6.14", "guest-sve,nvhe"),
        ("linux-6.14", "fpmr,aarch32"),
        ("linux-6.14", "guest-sve,barriers"),
    ],
)
def test_these_hold(name: str, features: str) -> None:
    result = check(with_features(find_policy(name), features.split(",")), SMALL)
    assert result.verdict == HOLDS, result.path


@pytest.mark.parametrize(
    ("name", "features", "broken"),
    [
        ("linux-4.18", "aarch32", "integrity"),  # FPEXC forced while the guest's own value is live
        ("linux-5.13", "guest-sve,nvhe", "vector-length"),  # softirq NEON at the guest's length: 59419f10045b
        ("linux-5.17", "guest-sve,nvhe", "vector-length"),
        ("linux-6.2", "sve", "integrity"),  # TIF_SVE cleared, SVE left enabled: CVE-2025-22013
        ("linux-6.8", "sve", "integrity"),
        ("defer-to-put", "aarch32", "confidentiality"),
    ],
)
def test_kernels_with_known_faults_are_caught(name: str, features: str, broken: str) -> None:
    result = check(with_features(find_policy(name), features.split(",")), SMALL)
    assert (result.verdict, result.property) == (VIOLATED, broken)


def test_flag_and_trap_of_user_mode_agree() -> None:
    """CVE-2025-22013 in one step less: SVE is on in user mode while the flag says that it is off."""
    found = check(with_features(find_policy("linux-6.2"), ["sve"]), SMALL, properties=["user-sve-trap"])
    assert found.verdict == VIOLATED
    assert found.path is not None
    assert found.path.steps[-1].event == "ret_to_user"
    assert (
        check(with_features(find_policy("linux-6.14"), ["sve"]), SMALL, properties=["user-sve-trap"]).verdict == HOLDS
    )
    with pytest.raises(FpstateError, match="has none in this world"):
        check(find_policy("linux-6.14"), SMALL, properties=["user-sve-trap"])


class NoZero(DeferredHost):
    """The first SVE use enables SVE and leaves above 128 bits what was there."""

    name = "no-zero"

    def sve_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.alloc_sve(task)
        task.tif_sve = True
        self.fpsimd_bind_task_to_cpu(cpu, task)
        cpu.set_vl(task)


class NoStorage(DeferredHost):
    """SVE is enabled without storage to save it to."""

    name = "no-storage"

    def sve_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.zero_sve()
        task.tif_sve = True
        self.fpsimd_bind_task_to_cpu(cpu, task)
        cpu.set_vl(task)


class NoLength(DeferredHost):
    """A task's SVE state is loaded at whatever length is in force."""

    name = "no-length"

    def task_fpsimd_load(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        if task.tif_sve:
            cpu.load_sve(task)
        else:
            cpu.load(task)


class KeepsNothing(DeferredHost):
    """A task preempted in user mode has only its 128-bit registers saved."""

    name = "keeps-nothing"

    def fpsimd_save(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        if not task.foreign:
            cpu.save(task)
            task.tif_sve = False


@pytest.mark.parametrize(
    ("policy", "broken"),
    [(NoZero, "integrity"), (NoStorage, "memory-safety"), (NoLength, "vector-length"), (KeepsNothing, "integrity")],
)
def test_an_sve_host_that_leaves_something_out_is_caught(policy: type[Policy], broken: str) -> None:
    result = check(with_features(policy, ["sve"]), Scope(1, 2, 0, 0, ("base", "sve", "neon")))
    assert (result.verdict, result.property) == (VIOLATED, broken)


class FetchesV(FirstClassDirty):
    """Another CPU is asked for V alone, though what it holds is in SVE form."""

    name = "fetches-v"

    def fetch(self, cpu: FirstClassDirty.Cpu, x: FirstClassDirty.Task | FirstClassDirty.Vcpu, wide: bool) -> None:
        cpu.fetch(x)


def test_a_state_that_another_cpu_holds_is_fetched_in_its_form() -> None:
    """Dirty residency with SVE on two CPUs: right in SVE form, and wrong with V alone."""
    scope = Scope(2, 1, 0, 0, ("base", "user_sve", "interrupt"))
    assert check(with_features(find_policy("first-class-dirty"), ["sve"]), scope).verdict == HOLDS
    result = check(with_features(FetchesV, ["sve"]), scope)
    assert (result.verdict, result.property) == (VIOLATED, "integrity")


def test_without_the_feature_nothing_is_different() -> None:
    """Fields, handlers and operations of a feature are not there unless the world has it."""
    rows = Rows(find_policy("linux-6.14"))
    assert rows.handler(Event.SVE_TRAP) is None
    assert {f.name for f in rows.fields.lists["Task"]} == {
        "foreign", "fpsimd_cpu", "kernel_fpstate", "kernel_fpsimd_cpu",
    }  # fmt: skip


def test_a_feature_that_a_policy_does_not_know_is_refused() -> None:
    with pytest.raises(FpstateError, match=r"'linux-3\.14' does not support sve"):
        with_features(find_policy("linux-3.14"), ["sve"])
    with pytest.raises(FpstateError, match="did you mean 'sve'"):
        with_features(find_policy("linux-6.14"), ["svee"])


@pytest.mark.parametrize("feature", ["", "nvhe", "barriers", "dirty-bit"])
def test_an_operation_of_a_feature_needs_it(feature: str) -> None:
    """Features that give a world no more registers do not do."""

    class Careless(Policy):
        name = "careless"
        supports = frozenset({"nvhe", "barriers", "dirty-bit"})

        def ret_to_user(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
            cpu.zero_sve()

    with pytest.raises(FpstateError, match="FPSIMD registers only"):
        Rows(with_features(Careless, [feature] if feature else [])).learn(Event.RET_TO_USER, 0)


def test_every_kernel_version_has_a_policy() -> None:
    names = ["4.15", "4.18", "5.2", "5.13", "5.17", "6.2", "6.8", "6.14", "6.1.y"]
    assert {f"linux-{n}" for n in names} <= set(policies())


def test_compiled_and_interpreted_searches_agree_beyond_fpsimd() -> None:
    code = """
from fpstate.check.run import check
from fpstate.paths.scope import Scope
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import find_policy
for name, features in (("linux-6.1.y", ["guest-sve"]), ("linux-6.14", ["sme"]), ("linux-4.18", ["aarch32"])):
    scope = Scope(1, 1, 1, 0, ("base", "sve", "sme", "kvm", "softirq_neon_begin"))
    r = check(with_features(find_policy(name), features), scope, cores=1, max_states=400)
    print(name, r.verdict, r.property, r.states, r.moves, r.depth, r.path.code if r.path else "")
"""
    runs = []
    for disabled in ("0", "1"):
        env = os.environ | {"NUMBA_DISABLE_JIT": disabled}
        done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
        runs.append(done.stdout)
    assert runs[0] == runs[1]
    assert runs[0].count("\n") == 3

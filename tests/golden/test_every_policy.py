"""Every policy of the package, with every feature it supports, in small scopes: it holds, or breaks as is known."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import fpstate.policies
from fpstate.check.run import HOLDS, VIOLATED, Result, check
from fpstate.paths.scope import Scope
from fpstate.policies.adaptive import Adaptive
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_policy, policies
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_first_use import FirstUseHost
from fpstate.policies.host_lazy import LazyHost
from fpstate.policies.host_switched import WideSwitchedHost
from fpstate.policies.powerpc import PowerPc, PowerPcHv, PowerPcPr
from fpstate.policies.riscv_kvm import RiscvHost
from fpstate.policies.sel4_flag import SeL4Flag
from fpstate.policies.sel4_lazy import SeL4Lazy
from fpstate.policies.xen import XenEager
from fpstate.policies.zircon import Zircon

A_GUEST = Scope(1, 1, 1)
TWO_TASKS = Scope(1, 2, 0)
TWO_CPUS = Scope(2, 1, 0)

SCOPES = {
    "": [A_GUEST, TWO_TASKS, TWO_CPUS, Scope(1, 1, 1, 1, ("base", "kvm", "neon"))],
    "fpmr": [A_GUEST, TWO_TASKS, TWO_CPUS],
    "sve": [
        A_GUEST,
        Scope(1, 2, 0, 0, ("base", "sve", "ptrace", "signals")),
        Scope(1, 2, 0, 0, ("base", "sve", "lifecycle")),
        Scope(2, 1, 0, 0, ("base", "sve", "pm", "hotplug")),
    ],
    "sme": [
        Scope(1, 1, 0),
        Scope(1, 2, 0, 0, ("base", "user_smstart", "user_smstop", "user_za", "neon", "lifecycle")),
        Scope(1, 1, 1, 0, ("base", "sme", "kvm", "neon")),
    ],
    "sme,barriers": [Scope(1, 1, 1, 0, ("base", "kvm", "signals", "sigreturn_za"))],  # user mode's SMEN needs no ISB
    "guest-sve": [Scope(1, 1, 1, 0, ("base", "sve", "guest_sve", "kvm", "neon", "vcpu_writes"))],
    "guest-sve,nvhe": [Scope(1, 1, 1, 0, ("base", "sve", "guest_sve", "kvm", "neon"))],
    "guest-sme": [
        Scope(1, 1, 1, 0, ("base", "sme", "kvm", "neon", "guest_sve", "guest_sme")),
        Scope(1, 1, 1, 0, ("base", "kvm", "vcpu_writes", "guest_sve", "guest_sme")),
    ],
}
"""Scopes to look at, by features; what is not here is about guests alone, and looked at with one."""

RUNS = ("base", "kvm", "neon")
LEARNING = {
    "": [A_GUEST, TWO_TASKS, TWO_CPUS],
    "aarch32": [Scope(1, 1, 1, 0, (*RUNS, "vcpu_writes"))],
    "barriers": [Scope(1, 1, 1, 0, RUNS)],
    "nvhe": [Scope(1, 1, 1, 0, RUNS)],
    "sve": [Scope(1, 1, 1, 0, ("base", "user_sve", "interrupt", "kvm")), Scope(1, 1, 0)],
    "guest-sve": [Scope(1, 1, 1, 0, ("base", "user_sve", "interrupt", "guest_sve", "kvm"))],
    "guest-sve,nvhe": [Scope(1, 1, 1, 0, (*RUNS, "guest_sve"))],
}
"""The same for policies that count; docs/adaptive.md has what was searched with counters as they are."""


def cut_short(policy: type[Policy]) -> type[Policy]:
    """Return a policy with counters that end early: the same code, and fewer states."""
    ends = {"first": 3, "most": 4, "settled": 1, "lazy": 2}
    return type(policy.__name__, (policy,), {"name": policy.name, "__module__": policy.__module__, **ends})


BROKEN = {
    ("defer-to-put", ""): "confidentiality",  # as posted: softirq NEON after an exit, before the put
    ("defer-to-put", "aarch32"): "confidentiality",
    ("defer-to-put", "barriers"): "confidentiality",
    ("defer-to-put", "nvhe"): "confidentiality",
    ("riscv-kvm-6.8", ""): "confidentiality",  # softirq vector after vcpu_load: b5060a4aa33d
    ("linux-4.18", "aarch32"): "integrity",  # FPEXC forced while the guest's own value is live
    ("linux-5.13", "guest-sve,nvhe"): "vector-length",  # softirq NEON at the guest's length: 59419f10045b
    ("linux-5.17", "guest-sve,nvhe"): "vector-length",
    ("linux-6.2", "sve"): "integrity",  # TIF_SVE cleared, SVE left enabled: CVE-2025-22013
    ("linux-6.2", "guest-sve"): "integrity",
    ("linux-6.2", "guest-sve,nvhe"): "vector-length",
    ("linux-6.2", "sme"): "mode-bits",
    ("linux-6.8", "sve"): "integrity",
    ("linux-6.8", "guest-sve"): "integrity",
    ("linux-6.8", "guest-sve,nvhe"): "vector-length",
    ("linux-6.8", "sme"): "mode-bits",
}
"""What docs/registers.md says is broken, with a guest; all else holds."""


def worlds() -> list[tuple[str, str]]:
    """Each policy by name, alone, with each of its features, and with two pairs of them."""
    pairs = []
    for name, policy in policies().items():
        pairs += [(name, feature) for feature in ("", *sorted(policy.supports))]
        pairs += [(name, pair) for pair in ("guest-sve,nvhe", "sme,barriers") if {*pair.split(",")} <= policy.supports]
    return pairs


def checked(policy: type[Policy], features: str, scope: Scope) -> Result:
    return check(with_features(policy, features.split(",") if features else ()), scope, cores=1)


@pytest.mark.parametrize(("name", "features"), worlds())
def test_it_holds_or_breaks_as_is_known(name: str, features: str) -> None:
    """Each scope is searched to its end; where history has a fault, that property breaks in a scope with a guest."""
    policy = find_policy(name)
    learns = issubclass(policy, Adaptive)
    counts = learns or issubclass(policy, Zircon)
    for scope in LEARNING[features] if learns else SCOPES.get(features, [A_GUEST]):
        result = checked(cut_short(policy) if counts else policy, features, scope)
        broken = BROKEN.get((name, features), "") if scope.vcpus else ""
        assert (result.verdict, result.property) == (VIOLATED if broken else HOLDS, broken), result.path


def test_what_is_known_to_break_is_looked_at() -> None:
    """No entry of the table above is for a policy or feature that is not there."""
    assert set(BROKEN) <= set(worlds())


HOSTS: dict[type[Policy], list[Scope]] = {
    DeferredHost: [TWO_TASKS, TWO_CPUS],
    LazyHost: [TWO_TASKS],  # right on one CPU
    SeL4Lazy: [TWO_TASKS],
    SeL4Flag: [Scope(1, 2, 0, 0, ("exit",))],  # seL4 has no exec, signals or kernel-mode FP
    PowerPc: [TWO_TASKS, TWO_CPUS],
    RiscvHost: [TWO_TASKS],
    PowerPcHv: [TWO_TASKS, A_GUEST, Scope(2, 1, 1)],
    PowerPcPr: [TWO_TASKS, A_GUEST, Scope(2, 1, 1)],
    FirstUseHost: [Scope(1, 2, 0, 0, ("exit",)), Scope(2, 2, 0, 0, ("exit",))],
    XenEager: [Scope(2, 2, 0, 0, ("kernel_neon_begin", "kernel_neon_end", "exit"))],  # its vCPUs are threads
}
"""Hosts that have no name of their own, since other policies and bugs build on them."""


def named(host: type[Policy]) -> type[Policy]:
    return type(host.__name__, (host,), {"name": host.__name__, "__module__": host.__module__})


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.__name__)
def test_hosts_without_guests_hold(host: type[Policy]) -> None:
    """The hosts of other systems hold where they are meant to run."""
    for scope in HOSTS[host]:
        assert checked(named(host), "", scope).verdict == HOLDS


@pytest.mark.parametrize("host", [LazyHost, SeL4Lazy], ids=lambda host: host.__name__)
def test_a_lazy_host_is_right_on_one_cpu_only(host: type[Policy]) -> None:
    """What its docstring says: state that is live on another CPU is never fetched."""
    assert checked(named(host), "", TWO_CPUS).verdict == VIOLATED


WIDE_HOSTS: dict[type[Policy], list[Scope]] = {
    WideSwitchedHost: [Scope(1, 2, 0, 0, ("user_sve", "interrupt")), Scope(2, 1, 0, 0, ("user_sve", "interrupt"))],
}
"""The same, with SVE; they have no fork, exec, signals or kernel-mode FP."""


@pytest.mark.parametrize("host", WIDE_HOSTS, ids=lambda host: host.__name__)
def test_hosts_with_wide_registers_hold(host: type[Policy]) -> None:
    """And so do those whose threads all have wide registers."""
    for scope in WIDE_HOSTS[host]:
        assert checked(named(host), "sve", scope).verdict == HOLDS


def test_no_policy_is_left_out() -> None:
    """Each class of the package's policies is looked at here itself, or one that builds on it is."""
    looked_at = (*policies().values(), *HOSTS, *WIDE_HOSTS)
    for info in pkgutil.iter_modules(fpstate.policies.__path__):
        if info.ispkg:
            continue
        module = importlib.import_module(f"fpstate.policies.{info.name}")
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, Policy):
                assert any(issubclass(policy, each) for policy in looked_at), each

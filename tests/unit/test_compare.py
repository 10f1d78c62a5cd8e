"""What `compare` charges: interrupts to other CPUs, ranges, and which orders the ranges decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fpstate.costs import load_profile
from fpstate.policies.base import Context, Policy
from fpstate.policies.eager import Eager
from fpstate.replay.compare import DEFAULT_VL, IMAGE_BYTES, compare, figures, may_cost_more, sve_bytes
from fpstate.replay.engine import replay
from fpstate.rows.learn import Rows
from fpstate.world import operations as did
from fpstate.world.events import Event as E
from tests.tiny import LOAD, START, VMM, kvm_run, trace

PROFILE = load_profile("altra-vhe")


class Fetches(Policy):
    """Each switch asks the CPU that the next thread names for its registers."""

    name = "fetches"

    class Cpu(Policy.Cpu):
        owner: Context | None = None

    class Task(Policy.Task):
        at: Policy.Cpu | None = None

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:
        cpu.fetch(next)
        cpu.load(next)
        cpu.owner = next
        next.at = cpu


def test_interrupting_another_cpu_is_counted_and_charged() -> None:
    """Also in vain: only the other CPU knows that it has forgotten the registers already."""
    seen = trace([*START, (E.THREAD_SWITCH, VMM, LOAD), (E.THREAD_SWITCH, LOAD, VMM)])
    seen.cpu[-1] = 1
    with_two = replace(seen, header=replace(seen.header, cpus=2))
    outcome = replay(with_two, Rows(Fetches), maybe=False)
    assert outcome.counts[did.N_IPI] == 1
    found = figures(outcome, PROFILE)
    without = found.loads * PROFILE.operations["load"].cycles + found.saves * PROFILE.operations["save"].cycles
    assert found.ipis == 1
    assert found.cycles == without + PROFILE.operations["ipi"].cycles


def test_figures_tell_host_guest_and_kernel_apart() -> None:
    steps = [*START, *kvm_run(2), (E.KERNEL_NEON_BEGIN, VMM), (E.KERNEL_NEON_END, VMM)]
    outcome = replay(trace(steps), Rows(Eager), maybe=False)
    found = figures(outcome, PROFILE)
    assert (found.saves_host, found.saves_guest, found.saves_kernel) == tuple(outcome.counts[:3])
    assert (found.loads_host, found.loads_guest, found.loads_kernel) == tuple(outcome.counts[3:6])
    assert found.saves_guest == found.loads_guest == 2
    assert found.saves == found.saves_host + found.saves_guest + found.saves_kernel
    assert found.bytes == (found.saves + found.loads) * IMAGE_BYTES
    outcome.counts[did.N_LOAD_SVE], outcome.counts[did.N_SAVE_SVE + 1] = 3, 2
    wide = figures(outcome, PROFILE)
    assert (wide.loads_host - found.loads_host, wide.saves_guest - found.saves_guest) == (3, 2)
    assert wide.bytes_sve == wide.bytes - found.bytes == 5 * sve_bytes(DEFAULT_VL)


def test_cycles_have_the_range_of_the_profile() -> None:
    outcome = replay(trace([*START, *kvm_run(3)]), Rows(Eager), maybe=False)
    found, ops = figures(outcome, PROFILE), PROFILE.operations
    assert found.cycles_low == found.saves * ops["save"].low + found.loads * ops["load"].low
    assert found.cycles_high == found.saves * ops["save"].high + found.loads * ops["load"].high
    assert found.cycles_low < found.cycles < found.cycles_high


def test_an_order_is_decided_if_it_is_the_same_for_all_costs() -> None:
    none = dict.fromkeys(PROFILE.operations, 0.0)
    fewer, more = none | {"save": 3, "load": 3}, none | {"save": 4, "load": 3}
    assert not may_cost_more(fewer, more, PROFILE)  # one save less, whatever a save costs
    assert may_cost_more(more, fewer, PROFILE)
    assert not may_cost_more(fewer, dict(fewer), PROFILE)
    traps = none | {"guest_trap": 1}  # 150 to 918 cycles, against 3 saves and loads of 48 to 200 each
    assert may_cost_more(traps, fewer, PROFILE)
    assert may_cost_more(fewer, traps, PROFILE)


def test_undecided_orders_are_named() -> None:
    """The same policy twice is no question; a policy that traps where another moves registers is one."""
    from fpstate.policies.catalogue import find_policy
    from fpstate.traces.samples import open_trace

    names = ("eager", "linux-4.18", "linux-5.13", "trap-per-entry")
    found = compare(open_trace("contended.vhe"), [find_policy(n) for n in names], PROFILE)
    undecided = {p.name: p.undecided for p in found.policies if p.undecided}
    assert "linux-5.13" not in undecided
    assert undecided["linux-4.18"] == "eager"

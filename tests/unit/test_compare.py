"""What `compare` charges: interrupts to other CPUs, ranges, and which orders the ranges decide."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from fpstate.cli.compare import show
from fpstate.costs import load_profile
from fpstate.policies.base import Context, Policy
from fpstate.policies.catalogue import find_policy
from fpstate.policies.eager import Eager
from fpstate.replay.compare import (
    DEFAULT_VL,
    IMAGE_BYTES,
    Broken,
    Compared,
    compare,
    deciding,
    figures,
    most_more,
    placed,
    ratios,
    sve_bytes,
)
from fpstate.replay.engine import replay
from fpstate.replay.told import span
from fpstate.rows.learn import Rows
from fpstate.traces.samples import open_trace, sample_names
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


NONE = dict.fromkeys(PROFILE.operations, 0.0)
FEWER = NONE | {"save": 3.0, "load": 3.0}
MORE = NONE | {"save": 4.0, "load": 3.0}
TRAPS = NONE | {"guest_trap": 1.0}  # 150 to 918 cycles, against 3 saves and loads of 48 to 200 each


def test_the_greatest_difference_has_each_cost_at_one_end_for_both() -> None:
    """One save more is 32 to 133 cycles more, however uncertain the other six transfers are."""
    save, load, trap = (PROFILE.operations[op] for op in ("save", "load", "guest_trap"))
    assert most_more(MORE, FEWER, PROFILE) == save.high
    assert most_more(FEWER, MORE, PROFILE) == -save.low
    assert most_more(FEWER, FEWER, PROFILE) == 0
    assert most_more(TRAPS, FEWER, PROFILE) == trap.high - 3 * (save.low + load.low)
    assert most_more(FEWER, TRAPS, PROFILE) == 3 * (save.high + load.high) - trap.low


def test_the_greatest_difference_is_that_of_the_worst_corner() -> None:
    """Tried at every corner of the box, with all operations in use."""
    a = {"save": 7.0, "load": 2.0, "clear": 5.0, "guest_trap": 1.0, "user_trap": 4.0, "ipi": 0.0}
    b = {"save": 6.0, "load": 9.0, "clear": 1.0, "guest_trap": 3.0, "user_trap": 4.0, "ipi": 2.0}
    ops = PROFILE.operations
    corners = itertools.product(*((op.low, op.high) for op in ops.values()))
    worst = max(sum((a[n] - b[n]) * cost for n, cost in zip(ops, corner, strict=True)) for corner in corners)
    assert most_more(a, b, PROFILE) == worst


def test_a_ratio_has_the_same_costs_on_both_sides() -> None:
    """Twice as many of everything is exactly twice as dear; what may cost nothing has no ratio."""
    twice = {op: 2 * n for op, n in FEWER.items()}
    assert ratios(twice, FEWER, PROFILE) == (2, 2)
    low, high = ratios(TRAPS, FEWER, PROFILE) or (0, 0)
    assert (low, high) == (150 / 600, 918 / 144)
    assert ratios(FEWER, NONE, PROFILE) is None


def compared(name: str, low: dict[str, float], high: dict[str, float] | None = None, *, bad: bool = False) -> Compared:
    """Return a policy that charges this much, and nothing else of interest."""
    base = figures(replay(trace(START), Rows(Eager), maybe=False), PROFILE)
    at_low, at_high = (replace(base, charged=charged) for charged in (low, high or low))
    wrong = Broken(1, 0, 0, 0, 0, "A", "reads") if bad else None
    return Compared(name, at_low, at_high, None, None, None, (), wrong)


def test_places_are_as_sure_as_the_costs() -> None:
    """Who is dearer for all costs comes after; who may be either has a place from first to last; equals share one."""
    given = [compared("more", MORE), compared("fewer", FEWER), compared("same", dict(FEWER)), compared("traps", TRAPS)]
    found = {p.name: p for p in placed([*given, compared("bad", NONE, bad=True)], PROFILE)}
    assert {name: p.place for name, p in found.items()} == {
        "fewer": (1, 2),
        "same": (1, 2),
        "more": (3, 4),
        "traps": (1, 4),
        "bad": None,
    }
    assert found["more"].undecided == found["fewer"].undecided == ("traps",)
    assert found["traps"].undecided == ("more", "fewer", "same")
    assert found["bad"].undecided == ()
    assert deciding(list(found.values())) == ["save", "load", "guest_trap"]


def test_an_order_is_decided_only_if_it_is_low_and_high() -> None:
    """Cheaper if nothing unseen happened, and dearer if all of it did, is undecided."""
    given = [compared("steady", FEWER), compared("lazy", NONE | {"save": 1.0}, MORE)]
    assert [p.place for p in placed(given, PROFILE)] == [(1, 2), (1, 2)]
    assert deciding(placed(given, PROFILE)) == ["save", "load"]
    assert [p.place for p in placed([given[0], compared("worse", MORE, MORE)], PROFILE)] == [(1, 1), (2, 2)]


def test_a_comparison_has_the_places_of_all() -> None:
    """The same policy under two names is no question; one that traps where another moves registers is one."""
    names = ("eager", "linux-4.18", "linux-5.13", "riscv-kvm")
    found = {p.name: p for p in compare(open_trace("contended.vhe"), [find_policy(n) for n in names], PROFILE).policies}
    assert found["linux-4.18"].undecided == found["linux-5.13"].undecided == ("eager", "riscv-kvm")
    assert found["riscv-kvm"].undecided == ("linux-4.18", "linux-5.13")
    assert (found["riscv-kvm"].place, found["eager"].place) == ((1, 3), (2, 4))
    for p in found.values():
        assert p.ratio_low is not None
        assert p.ratio_range is not None
        assert p.ratio_range[0] <= min(p.ratio_low, p.ratio_high or 0) <= p.ratio_low <= p.ratio_range[1]


@pytest.mark.parametrize("name", sample_names())
def test_the_table_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each figure is of at most eight characters, or nine for a range; the letters, which give way, are beyond that."""
    seen = open_trace(name)
    show(compare(seen, [Eager, find_policy("linux-4.15")], PROFILE), PROFILE, DEFAULT_VL)
    printed = capsys.readouterr().out
    table = printed[printed.index("policy ") :].split("note:")[0].splitlines()
    assert max(len(line.rstrip()) for line in table if "corrupts registers" not in line) <= 80 + len("  ET")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 0, "0"),
        (57, 1466, "57-1.5k"),
        (1536, 2730, "1.5-2.7k"),
        (999.4, 999.5, "999-1k"),
        (9.94, 9.95, "9.9-10"),
        (12_345, 987_654, "12-988k"),
        (99_500, 1_200_000, "100k-1.2M"),
        (2.0, 2.04, "2"),
        (0.04, 1.5e9, "0-1.5G"),
    ],
)
def test_a_range_is_short(low: float, high: float, said: str) -> None:
    assert span(low, high) == said
    assert len(said) <= 9

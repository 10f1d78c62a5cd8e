"""Expected transfers of five scenarios, policy by policy: worked out by hand from the sources of each policy.

S1: one KVM_RUN with n in-kernel exits (n + 1 guest runs), FP used in each; S2: the same without guest FP.
S3, S4, S5: what S1 with n = 1 costs on top when, between the two runs, a user task that uses FP preempts on the same
CPU; a kernel thread preempts; a softirq uses NEON. Sh, Lh, Sg, Lg are saves and loads of host and guest, T a trap.
"""

from __future__ import annotations

from collections import Counter

import pytest

from fpstate.policies.catalogue import find_policy
from fpstate.replay.engine import replay
from fpstate.rows.learn import Rows
from fpstate.world.operations import N_GUEST_TRAP, N_LOAD_GUEST, N_LOAD_HOST, N_SAVE_GUEST, N_SAVE_HOST
from tests import tiny

N = 3
EACH = N + 1

# policy: S1, S2, S3 adds, S4 adds, S5 adds. A number in front counts what follows it.
TABLE = {
    "eager": (f"{EACH}Sh {EACH}Lg {EACH}Sg {EACH}Lh", f"{EACH}Sh {EACH}Lg {EACH}Sg {EACH}Lh", "Sh Lh", "Sh", "Sh Lh"),
    "trap-per-entry": (f"{EACH}T {EACH}Sh {EACH}Lg {EACH}Sg {EACH}Lh", "", "Sh Lh", "Sh", "Sh Lh"),
    "defer-to-put": ("T Sh Lg Sg Lh", "", "Sg Lh Sh T Sh Lg Lh", "Sg Lh Sh T Sh Lg", None),
    "save-on-entry": ("Sh T Lg Sg Lh", "Sh Lh", "Sg T Lg", "Sg T Lg", "Sg T Lg"),
    "mark-foreign": ("T Sh Lg Sg Lh", "", "Sg T Lg", "Sg T Lg", "Sg T Lg"),
    "linux-4.18": ("T Sh Lg Sg Lh", "", "Sg T Lg", "Sg T Lg", "Sg T Lg"),
    "linux-6.14": ("Sh T Lg Sg Lh", "Sh Lh", "Sg T Lg", "Sg T Lg", "Sg T Lg"),
    "linux-6.19": ("Sh T Lg Sg Lh", "Sh Lh", "Sg T Lg", "Sg T Lg", "Sg T Lg"),
    "first-class": ("T Sh Lg Sg Lh", "", "Sg T Lg", "Sg", "Sg T Lg"),
}
BETWEEN = {"S3": tiny.PREEMPTED_BY_USER, "S4": tiny.PREEMPTED_BY_KTHREAD, "S5": tiny.SOFTIRQ_NEON}


def counted(policy: str, steps: list[tiny.Step]) -> tuple[Counter[str], int]:
    outcome = replay(tiny.trace(steps), Rows(find_policy(policy)), maybe=True)
    names = {
        "Sh": N_SAVE_HOST, "Sg": N_SAVE_GUEST, "Lh": N_LOAD_HOST, "Lg": N_LOAD_GUEST, "T": N_GUEST_TRAP,
    }  # fmt: skip
    return Counter({name: int(outcome.counts[i]) for name, i in names.items()}), outcome.wrong


def expected(cell: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for word in cell.split():
        digits = len(word) - len(word.lstrip("0123456789"))
        counts[word[digits:]] += int(word[:digits] or 1)
    return counts


def without_zeros(counts: Counter[str]) -> dict[str, int]:
    return {name: n for name, n in counts.items() if n}


def added(policy: str, scenario: str) -> tuple[Counter[str], int]:
    counts, wrong = counted(policy, tiny.START + tiny.kvm_run(2, between=BETWEEN[scenario]))
    base, _ = counted(policy, tiny.START + tiny.kvm_run(2))
    counts.subtract(base)
    if scenario == "S3":  # the other task's own reload and save are not counted
        counts.subtract({"Lh": 1, "Sh": 1})
    return counts, wrong


@pytest.mark.parametrize("policy", TABLE)
@pytest.mark.parametrize(("column", "fp"), [(0, True), (1, False)])
def test_one_kvm_run_costs_what_the_table_says(policy: str, column: int, fp: bool) -> None:
    """S1 and S2: each policy moves exactly the state the table names, and corrupts nothing."""
    counts, wrong = counted(policy, tiny.START + tiny.kvm_run(EACH, fp=fp))
    counts.subtract(counted(policy, tiny.START)[0])
    cell = TABLE[policy][column]
    assert cell is not None
    assert without_zeros(counts) == dict(expected(cell))
    assert wrong == 0


@pytest.mark.parametrize("policy", TABLE)
@pytest.mark.parametrize(("column", "scenario"), [(2, "S3"), (3, "S4"), (4, "S5")])
def test_an_interruption_adds_what_the_table_says(policy: str, column: int, scenario: str) -> None:
    """S3, S4, S5: preemption and softirq NEON add exactly what the table names; where it says none, they corrupt."""
    counts, wrong = added(policy, scenario)
    cell = TABLE[policy][column]
    if cell is None:
        assert wrong > 0
    else:
        assert without_zeros(counts) == dict(expected(cell))
        assert wrong == 0


def test_defer_to_put_corrupts_guest_and_host_when_a_softirq_uses_neon() -> None:
    """The patch as posted: kernel NEON between guest runs hits the guest's next read and the host's."""
    _, wrong = added("defer-to-put", "S5")
    assert wrong == 2

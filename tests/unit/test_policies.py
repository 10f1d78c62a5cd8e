"""Policies are found without registration, and print as the same table every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpstate.errors import FpstateError
from fpstate.policies.base import Context, Policy
from fpstate.policies.catalogue import find_policy, policies
from fpstate.rows.decisions import decision_table

WANTED = {
    "defer-to-put", "eager", "first-class", "linux-3.14", "linux-4.18", "linux-6.14", "mark-foreign", "save-on-entry",
    "trap-per-entry",
}  # fmt: skip


def test_every_policy_is_found_and_has_a_source() -> None:
    """Dropping a file into the package is enough; each says where it comes from."""
    found = policies()
    assert set(found) >= WANTED
    assert all(p.source and p.__doc__ for p in found.values())


@pytest.mark.parametrize("name", sorted(policies()))
def test_a_decision_table_is_the_same_twice(name: str) -> None:
    """The printed table depends on nothing but the policy."""
    first = decision_table(find_policy(name))
    assert first == decision_table(find_policy(name))
    assert len({(r.event, r.when) for r in first}) == len(first)


def test_the_table_of_linux_4_18_shows_its_idea() -> None:
    """At guest entry a foreign thread makes the trap armed again; at exit the vCPU is bound."""
    table = {(r.event, r.when): r.then for r in decision_table(find_policy("linux-4.18"))}
    assert table["guest_enter", ("task.foreign = True",)] == (
        "vcpu.fp_enabled := False", "vcpu.fp_host := False", "cpu.guest_fp_trap := True",
    )  # fmt: skip
    assert "cpu.last_state := vcpu" in table["guest_exit", ("vcpu.fp_enabled = True",)]


def test_a_pointer_is_tried_with_all_who_are_in_view() -> None:
    """Where two take part, a CPU's pointer may name either; where one does, nobody but that one and somebody else."""

    class Looks(Policy):
        name = "looks"

        class Cpu(Policy.Cpu):
            last: Context | None = None

        def thread_switch(self, cpu: Cpu, task: Policy.Task, next: Policy.Task) -> None:  # noqa: A002
            cpu.guest_fp_trap = cpu.last is next

        def guest_enter(self, cpu: Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
            cpu.guest_fp_trap = cpu.last is vcpu

        def syscall(self, cpu: Cpu, task: Policy.Task) -> None:
            cpu.guest_fp_trap = cpu.last is task

    table = decision_table(Looks)
    tried = {e: [r.when[0] for r in table if r.event == e] for e in ("thread_switch", "guest_enter", "syscall")}
    assert tried == {
        "thread_switch": [f"cpu.last = {who}" for who in ("none", "task", "next", "another")],
        "guest_enter": [f"cpu.last = {who}" for who in ("none", "task", "vcpu", "another")],
        "syscall": [f"cpu.last = {who}" for who in ("none", "task", "another")],
    }


def test_a_users_own_file_serves_wherever_a_policy_is_named(tmp_path: Path) -> None:
    """FILE.py:CLASS is a policy; its name is the class's unless it says otherwise."""
    own = tmp_path / "own.py"
    own.write_text("from fpstate.policies.eager import Eager\nclass Mine(Eager):\n    pass\n")
    assert find_policy(f"{own}:Mine").name == "Mine"
    own.write_text("from fpstate.policies.eager import Eager\nclass Mine(Eager):\n    name = 'eager'\n")
    with pytest.raises(FpstateError, match="a name of its own"):
        find_policy(f"{own}:Mine")


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("class Mine:\n    pass\n", "Mine", "unknown policy class 'Mine'"),
        ("def broken(:\n", "Mine", ":1"),
        ("import nothing_of_that_name\n", "Mine", "nothing_of_that_name"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, text: str, name: str, said: str) -> None:
    """A file that is no policy says what is wrong and where."""
    own = tmp_path / "own.py"
    own.write_text(text)
    with pytest.raises(FpstateError) as caught:
        find_policy(f"{own}:{name}")
    assert said in str(caught.value)
    assert str(own) in str(caught.value)


def test_an_unknown_policy_names_the_nearest() -> None:
    """A misspelt name is answered with the one meant."""
    with pytest.raises(FpstateError, match="did you mean 'linux-4\\.18'"):
        find_policy("linux-4.81")
    with pytest.raises(FpstateError, match="no file"):
        find_policy("missing.py:Mine")


def test_a_pair_of_the_gallery_can_be_imported_by_the_id_of_its_bug() -> None:
    """So a policy of one's own can build on it without knowing the file."""
    import importlib

    from fpstate.policies.bugs.x86 import owner_pointer_over_preemption

    assert importlib.import_module("fpstate.policies.bugs.x2").X86Host is owner_pointer_over_preemption.X86Host
    assert importlib.import_module("fpstate.policies.bugs.m_notifier").BUG.id == "M-notifier"
    with pytest.raises(ModuleNotFoundError, match="no_such_bug"):
        importlib.import_module("fpstate.policies.bugs.no_such_bug")

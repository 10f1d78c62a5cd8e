"""What is argued about in 2026: the naive way of each goes wrong as its page says, and the way proposed holds."""

from __future__ import annotations

import pytest

from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.errors import FpstateError
from fpstate.paths.order import kind_of, other_of
from fpstate.paths.scope import KIND_NAMES, Scope
from fpstate.paths.walk import Walker
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import find_policy
from fpstate.rows.learn import Rows
from fpstate.world.state import CURRENT
from fpstate.world.verdicts import OK

MODES = Scope(1, 1, 1, 0, ("base", "kvm", "neon", "guest_sve", "guest_sme"))


@pytest.mark.parametrize(
    ("name", "broken"),
    [("Written", "memory-safety"), ("InTrap", "mode-bits"), ("sme-guest-v12", ""), ("first-class-sme", "")],
)
def test_who_may_write_svcr_at_guest_entry(name: str, broken: str) -> None:
    """Where the registers may be somebody's, he must be given up first; and it cannot wait for the first trap."""
    policy = find_policy(name if "-" in name else f"examples/argued.py:{name}")
    found = check(with_features(policy, ["guest-sme"]), MODES, cores=1)
    assert (found.verdict, found.property) == (VIOLATED if broken else HOLDS, broken)


HANDOFFS = ("base", "handoff")


@pytest.mark.parametrize("tasks", [2, 3])
@pytest.mark.parametrize(
    ("name", "broken"), [("thread-handoff", ""), ("Unsaved", "integrity"), ("Unmarked", "integrity"), ("Copied", "")]
)
def test_what_a_handoff_must_do(name: str, broken: str, tasks: int) -> None:
    """Save before it is offered, clear the pair when it is taken over. Of two identities one is a stranger's."""
    policy = find_policy(name if "-" in name else f"examples/argued.py:{name}")
    if tasks == 3 and name in ("Unmarked", "Copied"):
        broken = "confidentiality"
    scope = Scope(2, tasks, 0, 0, HANDOFFS)
    for fold in (True, False) if tasks == 2 else (True,):
        found = check(policy, scope, fold=fold, cores=1)
        assert (found.verdict, found.property) == (VIOLATED if broken else HOLDS, broken)


def test_an_identity_that_comes_back_unused_is_still_its_own() -> None:
    """Registers that hold what they should are not called old: no value has changed."""

    class Keeps(find_policy("examples/argued.py:Unmarked")):  # type: ignore[misc]
        name = "keeps"

    walker = Walker(Rows(Keeps), Scope(1, 2, 0, 0, HANDOFFS))
    for words in (
        "thread_switch A", "ret_to_user A", "user_fp A", "syscall A", "handoff_prepare A", "thread_switch B",
        "handoff_finish A", "handoff_prepare B", "thread_switch A", "handoff_finish B", "ret_to_user A", "user_fp A",
    ):  # fmt: skip
        after, verdict, broken = walker.attempt(_move(walker, words))
        assert (verdict, broken) == (OK, 0), words
        walker.go(_move(walker, words), after)


def _move(walker: Walker, words: str) -> int:
    """Return the move of that event; it names who is switched to or taken over, else the task that makes it."""
    event, name = words.split()
    for move in walker.enabled():
        named = walker.names[other_of(move)] if other_of(move) else walker.names[walker.world.cpu[0, CURRENT]]
        if KIND_NAMES[kind_of(move)] == event and named == name:
            return move
    raise AssertionError(words)


@pytest.mark.parametrize(
    ("scope", "features", "expected"),
    [
        (Scope(1, 1, 0, 0, ("base", "handoff_finish")), (), "a task and a worker"),
        (Scope(1, 2, 0, 0, ("handoff_prepare",)), ("sve",), "FPSIMD registers alone"),
    ],
)
def test_a_handoff_that_cannot_happen_is_refused(scope: Scope, features: tuple[str, ...], expected: str) -> None:
    with pytest.raises(FpstateError, match=expected):
        check(with_features(find_policy("linux-7.2"), features), scope)

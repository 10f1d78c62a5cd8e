"""Which programs a run has, and how they are dealt to tasks and guests."""

from __future__ import annotations

from collections.abc import Sequence

from fpstate.errors import FpstateError
from fpstate.machine.elf import Program, find_program
from fpstate.machine.run import all_bundled, deal, handles_guests
from fpstate.policies.base import Policy


class Programs:
    """The programs that are asked for, all bundled ones if none is; `choose` deals them to tasks and guests."""

    def __init__(
        self,
        policy: type[Policy],
        named: Sequence[str],
        *,
        tasks: int | None = None,
        vcpus: int | None = None,
        sve: bool = False,
    ) -> None:
        """Take so many `tasks` and `vcpus`, one for each program if None; with `sve` one that uses SVE comes along.

        Raise FpstateError for a program that is not there, and for guests of a policy that handles none.
        """
        self.tasks, self.vcpus = tasks, vcpus
        self.bundled = all_bundled()
        self.named = [find_program(name) for name in named]
        self.sve = [find_program("sve")] if sve and not named and tasks is None else []
        self.guests = handles_guests(policy)
        if vcpus and not self.guests:
            given_them = f"the policy '{policy.name}' handles no guests"
            raise FpstateError(given_them, expected="--vcpus 0, or another policy")

    def choose(self, no_guests: frozenset[Program]) -> tuple[list[Program], list[Program]]:
        """Return what runs as tasks and what as guests, where some cannot be guests because they use SVE."""
        found = self.named or self.bundled
        tasks = [*found, *self.sve] if self.tasks is None else deal(found, self.tasks)
        fit = [p for p in found if p not in no_guests]
        if self.vcpus and not fit:
            uses = f"{', '.join(p.name for p in found)} uses SVE, which guests do not have"
            raise FpstateError(uses, expected="--vcpus 0, or a program for guests beside it")
        own = [p for p in fit if p in self.bundled] if self.guests else []
        guests = own if self.vcpus is None else deal(fit, self.vcpus)
        if not tasks and not guests:
            raise FpstateError("there is nothing to run", expected="--tasks or --vcpus of at least 1")
        return tasks, guests

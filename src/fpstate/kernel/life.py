"""Which members of a kernel's structures are its bookkeeping is seen by letting tasks and a vCPU live on it.

A member that some run leaves changed, and that some run reads before it writes it, is a field. What a function puts
back before it returns is none; nor is what nothing but sections of kernel NEON change, from their begin to their end,
where they are not preempted; nor what a guest's entry changes, and its exit puts back.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from fpstate.kernel.effects import FAULT
from fpstate.kernel.entities import Place
from fpstate.kernel.entries import AS_NAMED
from fpstate.kernel.stage import Stage
from fpstate.world.events import Event

STEPS: Final = 300
SEED: Final = 1
ALONE: Final = (
    Event.RET_TO_USER, Event.EXEC, Event.FORK, Event.SIGNAL, Event.SIGRETURN, Event.PTRACE_WRITE, Event.CPU_PM_ENTER,
)  # fmt: skip
ALONE_WITH_SVE: Final = (
    Event.SYSCALL, Event.SVE_TRAP, Event.SVE_TRAP, Event.VL_CHANGE, Event.PTRACE_VL, Event.SIGRETURN_SVE,
    Event.PTRACE_SVE,
)  # fmt: skip
SECTIONS: Final = (
    (Event.KERNEL_NEON_BEGIN, Event.KERNEL_NEON_END),
    (Event.SOFTIRQ_NEON_BEGIN, Event.SOFTIRQ_NEON_END),
)
GUEST: Final = {Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_EXIT}


@dataclass
class Seen:
    """What became known of one member: its values by whose it was, and whether it is read, and left changed."""

    values: dict[int, None] = field(default_factory=dict)
    read: bool = False
    changed_by: set[Event] = field(default_factory=set)
    left_by_exit: set[int] = field(default_factory=set)


class Life:
    """Two tasks and a vCPU that do all there is, in an order drawn once and for all; nothing is taken back."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.seen: dict[Place, Seen] = {}
        self._roles = dict(AS_NAMED)
        self._loaded = False

    def live(self) -> None:
        """Live."""
        dice = random.Random(SEED)  # noqa: S311
        self._alone = (*ALONE, *(ALONE_WITH_SVE if self.stage.has_sve else ()))
        self._do(Event.RET_TO_USER)
        for _ in range(STEPS):
            if not self._loaded:
                self.stage.be_cpu(dice.randrange(2))
            what = dice.randrange(9)
            if what in (0, 1):
                self._unload()
                self._switch()
                if dice.randrange(2):
                    self._do(Event.RET_TO_USER)
            elif what == 2:
                self._compute(dice)
            elif what in (3, 4, 5):
                self._run_guest(use=bool(dice.randrange(2)))
            else:
                self._do(dice.choice(self._alone))
        self._unload()
        self.stage.be_cpu(0)
        self.stage.processor.keep()

    def _compute(self, dice: random.Random) -> None:
        """Let kernel code use the registers; where it can be preempted there, it sometimes is, and interrupted."""
        begin, end = dice.choice(SECTIONS)
        if not self._do(begin):
            return
        if begin == Event.KERNEL_NEON_BEGIN and self.stage.preemptible_neon and not self._loaded:
            if dice.randrange(2):
                self._switch()
                self._do(Event.RET_TO_USER)
                self._switch()
            if dice.randrange(2) and self._do(SECTIONS[1][0]):
                self._do(SECTIONS[1][1])
        self._do(end)

    def _switch(self) -> None:
        self._do(Event.THREAD_SWITCH)
        self._roles |= {"task": self._roles["next"], "next": self._roles["task"]}

    def _run_guest(self, *, use: bool) -> None:
        if not self._loaded:
            self.stage.adopt(self._roles)
            self._loaded = self._do(Event.VCPU_LOAD)
        if self._loaded and self._do(Event.GUEST_ENTER):
            if use and self.stage.guest_trapped():
                self._do(Event.GUEST_FP_TRAP)
            self._do(Event.GUEST_EXIT)

    def _unload(self) -> None:
        if self._loaded:
            self._do(Event.VCPU_PUT)
            self._loaded = False

    def _do(self, event: Event) -> bool:
        """Let an event happen; return whether it did: one that ends in a fault is taken back."""
        if event == Event.RET_TO_USER and self.stage.whole_return:
            self._do(Event.SYSCALL)
        self.stage.processor.keep()
        effects = self.stage.perform(self.stage.entries[event], self._roles)
        for _, place in effects.read:
            self.seen.setdefault(place, Seen()).read = True
        if any(effect.what == FAULT for effect in effects.done):
            self.stage.processor.restore()
            return False
        for (_, place), (before, now) in zip(effects.wrote, effects.held, strict=True):
            note = self.seen.setdefault(place, Seen())
            note.values |= {before: None, now: None}
            if before != now:
                note.changed_by.add(event)
            if event == Event.GUEST_EXIT:
                note.left_by_exit.add(now)
        return True

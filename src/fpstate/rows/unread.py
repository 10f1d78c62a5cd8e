"""What a policy will never know of a world, so that worlds which differ in it alone are one: found out as it is asked.

A trap setting matters while user mode or a guest runs. A policy that writes it on each way there, and does not read it
in the kernel, leaves there what nobody reads any more; and the same goes for flags of its own.

A context that names a CPU means something while that CPU names it, too. A policy that acts upon such a pair alone, and
never has a CPU name a context without writing what that one names, cannot tell a context that names a CPU in vain from
one that names none.

What is said holds for the rows learned so far; each new one may show that it does not. What a handler does hangs on
what it reads, so a row is one for all views that differ in what it has not read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from fpstate.errors import FpstateError
from fpstate.rows.decisions import codes_of, decisions_at
from fpstate.rows.fields import Field
from fpstate.rows.learn import Rows
from fpstate.rows.session import Decision
from fpstate.world.events import N_EVENTS, PARTICIPANTS, Event
from fpstate.world.operations import FETCH, OOPS
from fpstate.world.table import NOBODY, SECOND_KERNEL, SECOND_ONE, TASK, TASK_KERNEL
from fpstate.world.wide import FETCH_SVE

KERNEL: Final = 0  # where a CPU is: in the kernel, idle or off;
USER: Final = 1  # in user mode;
GUEST: Final = 2  # in a guest
FROM: Final = {
    **dict.fromkeys((Event.USER_FP_TRAP, Event.SVE_TRAP, Event.SME_TRAP, Event.SYSCALL, Event.INTERRUPT), USER),
    **dict.fromkeys((Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP, Event.GUEST_EXIT), GUEST),
}
TO: Final = {
    Event.RET_TO_USER: USER,
    **dict.fromkeys((Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP), GUEST),
}
"""Where the CPU is before an event, and after it, if that is not in the kernel."""
OF_USES: Final = {
    KERNEL: frozenset[str](),
    USER: frozenset(("user_fp_trap", "user_sve_trap", "user_sme_trap")),
    GUEST: frozenset(("guest_fp_trap", "guest_sve_trap")),
}
"""What the hardware looks at when registers are used."""
OF_HARDWARE: Final = ("sm", "za", "dirty")
"""Fields that say something of the registers themselves."""
NONE, THIS, ANOTHER = range(3)
"""How a pointer to a CPU looks (world.table.cpu_code)."""
Names = frozenset[str]


@dataclass(frozen=True)
class Pair:
    """A pointer to a CPU of tasks or vCPUs, and the pointer of CPUs that must name its owner for it to matter.

    `kernel`: that must name the kernel-mode state of its owner.
    """

    of: str  # "Task", "Vcpu"
    field: str
    named_by: str
    kernel: bool

    def owners_at(self, event: Event) -> dict[str, int]:
        """Return how the CPU's pointer looks when it names who has a role at an event, for roles of its kind."""
        kinds = ["Vcpu" if word == "vcpu" else "Task" for word in PARTICIPANTS[event]]
        own = (TASK_KERNEL, SECOND_KERNEL) if self.kernel else (TASK, SECOND_ONE)
        return {role: code for role, kind, code in zip(("task", "second"), kinds, own, strict=False) if kind == self.of}


@dataclass
class Handled:
    """Fields of the CPU that a handler reads before it may be interrupted, and afterwards; what it writes at last.

    `written`: in each row with which it ends; None while there is no such row.
    """

    first: Names = frozenset()
    later: Names = frozenset()
    written: Names | None = None


@dataclass
class Unread:
    """What nobody knows of by the rows that a policy has learned so far.

    `bits`: of a CPU's word, by place; `pairs`: pointers to CPUs that are heeded in pairs alone, each once.
    `of_states`: properties of states are looked at, which heed pairs of the first pointers at each point of a handler.
    `past_faults`: what comes after the kernel's own faults is looked at.
    """

    rows: Rows
    of_states: bool = False
    past_faults: bool = False
    bits: tuple[int, int, int] = field(init=False)
    pairs: list[Pair] = field(init=False)
    _seen: int = 0  # rows that were looked at; each decision once, which has one trace wherever it is made
    _decisions: set[int] = field(default_factory=set)
    _handled: dict[Event, Handled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take all for unread that no handler can be seen to read."""
        self._first_pairs = self.of_states  # others look at pairs of the first pointers, too
        self._candidates = {(of, f.name): list(self._possible(of, f)) for of, f in self._pointers()}
        self.look()

    def _pointers(self) -> Iterator[tuple[str, Field]]:
        for of in ("Task", "Vcpu"):
            yield from ((of, f) for f in self.rows.fields.lists[of] if f.pointer)

    def _possible(self, of: str, f: Field) -> Iterator[Pair]:
        """Yield the pairs that a pointer may be half of; none for one that a child keeps as it was copied at fork."""
        if of == "Task" and not self._is_written_at_fork(f.name):
            return
        for g in self.rows.fields.lists["Cpu"]:
            pairs = [Pair(of, f.name, g.name, kernel) for kernel in (False, True)] if g.pointer else []
            yield from (pair for pair in pairs if not (self._first_pairs and self._is_seen_elsewhere(pair)))

    def _is_written_at_fork(self, name: str) -> bool:
        whole = copy.copy(self.rows)
        whole.interruptible &= self.of_states  # then it must be written before the first point
        try:
            decisions = list(decisions_at(whole, Event.FORK))
        except FpstateError:  # some view that never comes up asks for the impossible
            return False
        if not self.past_faults:
            decisions = [d for d in decisions if (OOPS, NOBODY, 0) not in d.ops]
        return bool(decisions) and all(("second", name) in d.writes for d in decisions)

    def look(self) -> bool:
        """Look at rows learned since; return whether less is unread now than was said."""
        for r in range(self._seen, len(self.rows.names)):
            if id(self.rows.traces[r]) not in self._decisions:
                self._look_at(*self.rows.names[r])
        self._decisions |= {id(trace) for trace in self.rows.traces[self._seen :]}
        self._seen = len(self.rows.names)
        before = getattr(self, "bits", None), getattr(self, "pairs", None)
        live = self._read_at()
        fields = [f for f in self.rows.fields.lists["Cpu"] if not f.pointer and f.name not in OF_HARDWARE]
        kernel, user, guest = (
            sum(_bits(f) for f in fields if f.name not in live[place]) for place in (KERNEL, USER, GUEST)
        )
        self.bits, self.pairs = (kernel, user, guest), [c[0] for c in self._candidates.values() if c]
        return before != (self.bits, self.pairs)

    def _look_at(self, e: int, key: int) -> None:
        event, _ = self.rows.chain(e, key)
        decision, more = self.rows.decide(e, key)
        handled = self._handled.setdefault(event, Handled())
        reads = frozenset(f.name for role, f, _ in self.rows.read_of(e, key) if role == "cpu")
        if e < N_EVENTS:
            handled.first |= reads
        else:
            handled.later |= reads
        if not more:
            writes = frozenset(name for role, name in decision.writes if role == "cpu")
            handled.written = writes if handled.written is None else handled.written & writes
        self._first_pairs |= any(op in (FETCH, FETCH_SVE) for op, _, _ in decision.ops)
        for candidates in self._candidates.values():
            candidates[:] = [pair for pair in candidates if self._heeds(pair, e, key, decision)]

    def _read_at(self) -> dict[int, Names]:
        """Return for each place the fields that may be read from there on, before they are written."""
        steps = []  # from where to where, what is read, what is written after that
        for event in {*PARTICIPANTS}:
            start, end = FROM.get(event, KERNEL), TO.get(event, KERNEL)
            if self.rows.handler(event) is None:
                steps.append((start, end, Names(), Names()))
            elif event in self._handled:
                h = self._handled[event]
                steps.append((start, start, h.first, Names()))
                steps.append((KERNEL, KERNEL, h.later, Names()))
                if h.written is not None:
                    steps += [(place, end, Names(), h.written) for place in {start, KERNEL}]
        live: dict[int, Names] = dict(OF_USES)
        while True:
            before = dict(live)
            for start, end, read, written in steps:
                live[start] |= read | live[end] - written
            if live == before:
                return live

    # Pairs.

    def _heeds(self, pair: Pair, e: int, key: int, decision: Decision) -> bool:
        """Tell whether a row heeds the pair alone, and keeps it."""
        if self._first_pairs and self._is_seen_elsewhere(pair):
            return False
        event, _ = self.rows.chain(e, key)
        owners, named = pair.owners_at(event), decision.writes.get(("cpu", pair.named_by))
        if any(code == named and (role, pair.field) not in decision.writes for role, code in owners.items()):
            return False
        read = {(role, f.name) for role, f, _ in self.rows.read_of(e, key)}
        return all(self._in_vain(pair, e, key, role) for role in owners if (role, pair.field) in read)

    def _is_seen_elsewhere(self, pair: Pair) -> bool:
        """Tell whether others look at a pointer: at a context's first, beside whether the CPU's first names it."""
        slots = {f.name: f.shift for of in ("Cpu", pair.of) for f in self.rows.fields.lists[of] if f.pointer}
        return slots[pair.field] == 0 and (slots[pair.named_by] > 0 or pair.kernel)

    def _in_vain(self, pair: Pair, e: int, key: int, role: str) -> bool:
        """Tell whether a row would be the same if the pointer of `role` named any other CPU in vain, or none.

        If it does not hang on whom the CPU names, it is looked at whoever that is.
        """
        event, _ = self.rows.chain(e, key)
        codes, owner = self.rows.codes(event, key), pair.owners_at(event)[role]
        read = {f.name: code for of, f, code in self.rows.read_of(e, key) if of == "cpu"}
        g = self.rows.fields.of("cpu", False)[pair.named_by]
        copied = event == Event.FORK and role == "second"  # it is another's
        for named in [read[g.name]] if g.name in read else codes_of(event, g, kernel=True):
            alike = (NONE, ANOTHER) if named == owner and not copied else (NONE, THIS, ANOTHER)
            if codes[role, pair.field] not in alike:
                continue
            views = [{("cpu", g.name): named, (role, pair.field): code} for code in alike]
            try:
                answers = [self.rows.answer_to(e, key, view) for view in views]
            except FpstateError:  # a view that never comes up
                return False
            if any(answer != answers[0] for answer in answers):
                return False
        return True


def _bits(f: Field) -> int:
    return (1 << f.bits) - 1 << f.shift

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

from dataclasses import dataclass, field
from typing import Final

from fpstate.errors import FpstateError
from fpstate.rows.fields import Field
from fpstate.rows.learn import Rows
from fpstate.rows.session import Decision
from fpstate.world.events import N_EVENTS, PARTICIPANTS, Event
from fpstate.world.operations import FETCH, OOPS
from fpstate.world.table import NOBODY, SECOND_KERNEL, SECOND_ONE, TASK, TASK_KERNEL
from fpstate.world.wide import FETCH_SVE

IN_KERNEL: Final = 0  # where a CPU is: there, idle or off;
IN_USER: Final = 1  # in user mode;
IN_GUEST: Final = 2
PLACES: Final = (IN_KERNEL, IN_USER, IN_GUEST)
FROM: Final = {
    **dict.fromkeys((Event.USER_FP_TRAP, Event.SVE_TRAP, Event.SME_TRAP, Event.SYSCALL, Event.INTERRUPT), IN_USER),
    **dict.fromkeys((Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP, Event.GUEST_EXIT), IN_GUEST),
}
TO: Final = {
    Event.RET_TO_USER: IN_USER,
    **dict.fromkeys((Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP), IN_GUEST),
}
"""Where the CPU is before an event, and after it, if that is not in the kernel."""
OF_USES: Final = {
    IN_KERNEL: frozenset[str](),
    IN_USER: frozenset(("user_fp_trap", "user_sve_trap", "user_sme_trap")),
    IN_GUEST: frozenset(("guest_fp_trap", "guest_sve_trap")),
}
"""What the hardware looks at when registers are used."""
OF_HARDWARE: Final = ("sm", "za", "dirty")
"""Fields that say something of the registers themselves."""
NONE, THIS, ANOTHER = range(3)
"""How a pointer to a CPU looks (world.table.cpu_code)."""
Names = frozenset[str]
Fields = tuple[tuple[str, str], ...]
"""Fields by role and name."""


@dataclass(frozen=True)
class Pair:
    """A pointer to a CPU of tasks or vCPUs, and the pointer of CPUs that must name its owner for it to matter.

    `kernel`: that must name the kernel-mode state of its owner.
    """

    of: str  # "Task", "Vcpu"
    pointer: Field
    named_by: Field
    kernel: bool

    @property
    def is_seen_elsewhere(self) -> bool:
        """Whether others look at the pointer: at a context's first, beside whether the CPU's first names it."""
        return self.pointer.shift == 0 and (self.named_by.shift > 0 or self.kernel)

    def owners_at(self, event: Event) -> dict[str, int]:
        """Return how the CPU's pointer looks when it names who has a role at an event, for roles of its kind."""
        kinds = ["Vcpu" if word == "vcpu" else "Task" for word in PARTICIPANTS[event]]
        own = (TASK_KERNEL, SECOND_KERNEL) if self.kernel else (TASK, SECOND_ONE)
        return {role: code for role, kind, code in zip(("task", "second"), kinds, own, strict=False) if kind == self.of}


@dataclass
class Handled:
    """Fields of the CPU that a handler reads before it may be interrupted, and afterwards; what it writes at last.

    `points`: it may be interrupted. `written`: in each row with which it ends; None while there is no such row.
    """

    first: Names = frozenset()
    later: Names = frozenset()
    points: bool = False
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
    bits: tuple[int, ...] = ()
    pairs: list[Pair] = field(default_factory=list)
    _handled: dict[Event, Handled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take all for unread that no handler can be seen to read."""
        self._first_pairs = self.of_states  # others look at pairs of the first pointers, too
        self._candidates = {(of, f.name): self._possible(of, f) for of in ("Task", "Vcpu") for f in self._pointers(of)}
        self._begin()
        self.look()

    def _begin(self) -> None:
        """Begin to look at all rows anew, with the pairs that are taken for such now."""
        self._taken, self._began_with = self._heads(), self._first_pairs
        self._seen = 0  # rows that were looked at; each decision once, which has one trace wherever it is made,
        self._decisions: set[int] = set()
        self._views: dict[int, dict[Fields, set[tuple[int, ...]]]] = {}  # or each view by all that is read there

    def _pointers(self, of: str) -> list[Field]:
        return [f for f in self.rows.fields.lists[of] if f.pointer]

    def _possible(self, of: str, f: Field) -> list[Pair]:
        """Return the pairs that a pointer may be half of; none where a child keeps what was copied from its parent."""
        if of == "Task" and self.rows.handler(Event.FORK) is None:
            return []
        return [Pair(of, f, g, kernel) for g in self._pointers("Cpu") for kernel in (False, True)]

    def look(self) -> bool:
        """Look at rows learned since; return whether less is unread now than was said."""
        while self._seen < len(self.rows.names) or self._is_otherwise():
            if self._is_otherwise():
                self._begin()
            for r in range(self._seen, len(self.rows.names)):
                self._look_at(r)
            self._seen = len(self.rows.names)
        before, live = (self.bits, self.pairs), self._read_at()
        fields = [f for f in self.rows.fields.lists["Cpu"] if not f.pointer and f.name not in OF_HARDWARE]
        self.bits = tuple(sum(f.mask for f in fields if f.name not in live[place]) for place in PLACES)
        self.pairs = self._taken
        return before != (self.bits, self.pairs)

    def _is_otherwise(self) -> bool:
        """Tell whether something else is taken for pairs now than when rows were begun to be looked at."""
        return (self._heads(), self._first_pairs) != (self._taken, self._began_with)

    def _heads(self) -> list[Pair]:
        return [candidates[0] for candidates in self._candidates.values() if candidates]

    def _look_at(self, r: int) -> None:
        """Look at a row, unless one like it was looked at before."""
        e, key = self.rows.names[r]
        event = self.rows.event_of(e)
        codes = self.rows.codes(event, key)
        in_vain, seen = self._in_vain(event, codes), self._views.setdefault(e, {})
        if not in_vain and id(self.rows.traces[r]) in self._decisions:
            return
        if in_vain and any(tuple(codes[at] for at in fields) in them for fields, them in seen.items()):
            return
        decision, more = self.rows.decide(e, key)
        self._first_pairs |= any(op in (FETCH, FETCH_SVE) for op, _, _ in decision.ops)
        for candidates in self._candidates.values():
            candidates[:] = [pair for pair in candidates if self._keeps(pair, e, decision, more=more)]
        read = {(role, f.name) for role, f, _ in self.rows.read_of(e, key)}
        if in_vain:
            read |= self._ask(e, key, in_vain)
        self._note(e, frozenset(name for role, name in read if role == "cpu"), decision, more=more)
        if in_vain:
            if read & set(in_vain):  # what is in vain hangs on whom the CPU names
                read |= {("cpu", pair.named_by.name) for pair in self._taken}
            fields = tuple(sorted(read))
            seen.setdefault(fields, set()).add(tuple(codes[at] for at in fields))
        else:
            self._decisions.add(id(self.rows.traces[r]))

    def _note(self, e: int, reads: Names, decision: Decision, *, more: bool) -> None:
        """Note what a row reads and writes of the CPU."""
        handled = self._handled.setdefault(self.rows.event_of(e), Handled())
        handled.points |= more
        if e < N_EVENTS:
            handled.first |= reads
        else:
            handled.later |= reads
        if not more:
            writes = frozenset(name for role, name in decision.writes if role == "cpu")
            handled.written = writes if handled.written is None else handled.written & writes

    def _read_at(self) -> dict[int, Names]:
        """Return for each place the fields that may be read from there on, before they are written."""
        steps = []  # from where to where, what is read, what is written after that
        for event in PARTICIPANTS:
            start, end, nothing = FROM.get(event, IN_KERNEL), TO.get(event, IN_KERNEL), Names()
            if self.rows.handler(event) is None:
                steps.append((start, end, nothing, nothing))
            elif event in self._handled:
                h = self._handled[event]
                steps += [(start, start, h.first, nothing), (IN_KERNEL, IN_KERNEL, h.later, nothing)]
                if h.points:
                    steps.append((start, IN_KERNEL, nothing, nothing))
                if h.written is not None:
                    steps += [(place, end, nothing, h.written) for place in {start, IN_KERNEL}]
        live: dict[int, Names] = dict(OF_USES)
        while True:
            before = dict(live)
            for start, end, read, written in steps:
                live[start] |= read | live[end] - written
            if live == before:
                return live

    # Pairs.

    def _keeps(self, pair: Pair, e: int, decision: Decision, *, more: bool) -> bool:
        """Tell whether a pair is none just because a row names one half without writing the other."""
        event = self.rows.event_of(e)
        if self._first_pairs and pair.is_seen_elsewhere:
            return False
        named = decision.writes.get(("cpu", pair.named_by.name))
        to_write = {role for role, code in pair.owners_at(event).items() if code == named}
        if event == Event.FORK and pair.of == "Task":  # what the child has is its parent's
            fetched = any(op in (FETCH, FETCH_SVE) and target == SECOND_ONE for op, target, _ in decision.ops)
            if fetched or (self.of_states and more):
                return False
            faults = not self.past_faults and decision.ops[:1] == [(OOPS, NOBODY, 0)]
            first = self._first_pairs and e < N_EVENTS
            to_write |= {"second"} if (first or not more) and not faults else set()
        return all((role, pair.pointer.name) in decision.writes for role in to_write)

    def _in_vain(self, event: Event, codes: dict[tuple[str, str], int]) -> dict[tuple[str, str], tuple[int, ...]]:
        """Return the pointers in view that name no CPU, or one in vain, with what they might be as well."""
        found = dict[tuple[str, str], tuple[int, ...]]()
        for pair in self._taken:
            for role, owner in pair.owners_at(event).items():
                copied = event == Event.FORK and role == "second"  # it is another's
                is_named = codes["cpu", pair.named_by.name] == owner and not copied
                alike = (NONE, ANOTHER) if is_named else (NONE, THIS, ANOTHER)
                if codes[role, pair.pointer.name] in alike:
                    found[role, pair.pointer.name] = alike
        return found

    def _ask(self, e: int, key: int, in_vain: dict[tuple[str, str], tuple[int, ...]]) -> set[tuple[str, str]]:
        """Ask for a row on all views that differ in what is in vain; return what is read on any.

        If the answers are not the same, what was read of it is heeded alone. So it is where a handler goes on after a
        point: what it has read before, it may have kept.
        """
        try:
            answers, read = self.rows.answers(e, key, in_vain)
        except FpstateError:  # a view that never comes up
            answers, read = [], set(in_vain)
        varied = read & set(in_vain)
        if varied and (not answers or answers[0][1] or any(answer != answers[0] for answer in answers)):
            for pair in self._taken:
                candidates, roles = self._candidates[pair.of, pair.pointer.name], pair.owners_at(self.rows.event_of(e))
                if pair in candidates and any((role, pair.pointer.name) in varied for role in roles):
                    candidates.remove(pair)
        return read

"""What a CPU's word holds that nobody reads before it is written, by where the CPU is: it may hold anything then.

A trap setting matters while user mode or a guest runs. A policy that writes it on each way there, and does not read it
in the kernel, leaves there what nobody will ever know of; and the same goes for flags of its own. So worlds that differ
in such bits alone have the same future: for `check`, they are one.

What is looked at are handlers on every view, possible or not: what they read and write. Where one may be interrupted,
what it goes on with is read anew, and others may have left anything in what it wrote before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from fpstate.errors import FpstateError
from fpstate.policies.base import Policy
from fpstate.rows.decisions import codes_of
from fpstate.rows.fields import Field
from fpstate.rows.learn import Choose, Rows
from fpstate.rows.session import Undecided
from fpstate.world.events import PARTICIPANTS, Event

KERNEL: Final = 0  # where a CPU is: in the kernel, idle or off;
USER: Final = 1  # in user mode;
GUEST: Final = 2  # in a guest
PLACES: Final = (KERNEL, USER, GUEST)
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
    USER: frozenset(("user_fp_trap", "user_sve_trap", "user_sme_trap")),
    GUEST: frozenset(("guest_fp_trap", "guest_sve_trap")),
}
"""What the hardware looks at when registers are used."""
OF_HARDWARE: Final = ("sm", "za", "dirty")
"""Fields that say something of the registers themselves."""
MOST: Final = 20_000  # paths through one handler that are looked at
Names = frozenset[str]


@dataclass(frozen=True)
class Handled:
    """Fields of the CPU that a handler reads before it is interrupted, and afterwards; and that it always writes.

    `at_last`: in what comes after its last point, if it has any, in whichever way it came there.
    """

    first: Names
    later: Names
    always: Names
    at_last: Names | None


@cache
def unread(policy: type[Policy]) -> tuple[int, int, int]:
    """Return the bits of a CPU's word that nobody reads before they are written: in the kernel, user mode, a guest."""
    rows = Rows(policy, interruptible=True)
    fields = {f.name: f for f in rows.fields.lists["Cpu"] if not f.pointer and f.name not in OF_HARDWARE}
    try:
        handled = {e: _handled(rows, e) for e in PARTICIPANTS if rows.handler(e) is not None}
    except FpstateError:  # of some view that never comes up, or there are too many
        return 0, 0, 0
    live = _read_at(handled)
    kernel, user, guest = (_bits(f for name, f in fields.items() if name not in live[place]) for place in PLACES)
    return kernel, user, guest


def _bits(fields: Iterator[Field]) -> int:
    return sum((1 << f.bits) - 1 << f.shift for f in fields)


def _read_at(handled: dict[Event, Handled]) -> dict[int, Names]:
    """Return for each place the fields that may be read from there on, before they are written."""
    steps = []  # from where to where, what is read, what is written after that
    for event, h in handled.items():
        steps.append((FROM.get(event, KERNEL), TO.get(event, KERNEL), h.first, h.always))
        if h.at_last is not None:
            steps.append((KERNEL, TO.get(event, KERNEL), h.later, h.at_last))
    live: dict[int, Names] = {place: OF_USES.get(place, frozenset()) for place in PLACES}
    for event in (*FROM, *TO, Event.THREAD_SWITCH):
        if event not in handled:
            steps.append((FROM.get(event, KERNEL), TO.get(event, KERNEL), frozenset(), frozenset()))
    while True:
        before = dict(live)
        for start, end, read, written in steps:
            live[start] |= read | live[end] - written
        if live == before:
            return live


def _handled(rows: Rows, event: Event) -> Handled:
    """Return what a handler reads and writes, over all paths through it. Raise FpstateError if there are too many."""
    first, later, always, at_last = set[str](), set[str](), list[set[str]](), list[set[str]]()
    for reads, writes in _ways(rows, event):
        first |= reads[0]
        later.update(*reads[1:])
        always.append(set().union(*writes))
        if len(writes) > 1:
            at_last.append(writes[-1])
    last = frozenset(set.intersection(*at_last)) if at_last else None
    sure = frozenset(set.intersection(*always)) if always else frozenset[str]()
    return Handled(frozenset(first), frozenset(later), sure, last)


def _ways(rows: Rows, event: Event) -> Iterator[tuple[list[set[str]], list[set[str]]]]:
    """Yield for each path through a handler which fields of the CPU each of its segments reads, and which it writes."""
    taken: list[int] = []  # at each read, which of the possible codes is tried
    for _ in range(MOST):
        reads, writes, choices = list[set[str]](), list[set[str]](), list[int]()
        try:
            while _segment(rows, event, taken, reads, writes, choices):
                pass
            yield reads, writes
        except FpstateError as error:
            if not isinstance(error.__cause__, Undecided):
                raise
        while taken and taken[-1] + 1 == choices[len(taken) - 1]:
            taken.pop()
        if not taken:
            return
        taken[-1] += 1
    raise FpstateError(f"'{event.name.lower()}' has more than {MOST:,} paths", expected="fewer")


def _segment(
    rows: Rows, event: Event, taken: list[int], reads: list[set[str]], writes: list[set[str]], choices: list[int]
) -> bool:
    """Run a handler through one segment more than before; return whether it goes on after it."""
    reads.append(set())
    choices.clear()

    def reader(number: int) -> Choose:
        def choose(role: str, f: Field) -> int:
            codes = codes_of(event, f, kernel=True)
            if len(choices) == len(taken):
                taken.append(0)
            code = codes[taken[len(choices)]]
            choices.append(len(codes))
            if role == "cpu":
                reads[number].add(f.name)
            return code

        return choose

    decision, more = rows.run(event, *map(reader, range(len(reads))))
    writes.append({name for role, name in decision.writes if role == "cpu"})
    return more

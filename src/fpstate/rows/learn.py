"""From a policy to rows: what its handlers decide, learned by running each once for each view.

A view is all that kernel code can see at an event: the words (flags, enums, counters) of the CPU, the task and the
vCPU or second thread, and how each pointer looks from there. The first time a view comes up, the Python handler runs
on it and its decision is kept as a row; from then on the row serves every engine.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fpstate import users
from fpstate.errors import FpstateError
from fpstate.policies.base import Policy
from fpstate.policies.holes import Completion
from fpstate.rows import session as session_module
from fpstate.rows.fields import Field, Fields, width
from fpstate.rows.handlers import defined, made
from fpstate.rows.session import ROLES, Decision, Refused, Session
from fpstate.world.events import N_EVENTS, NEEDS, PARTICIPANTS, Event
from fpstate.world.state import WORD, World
from fpstate.world.table import (
    H_BASE,
    H_COLUMNS,
    H_CPU_POINTER,
    H_SECOND,
    H_SECOND_POINTER,
    H_TASK,
    H_TASK_POINTER,
    NOT_HANDLED,
    PAGE_BITS,
    R_COLUMNS,
    R_CPU,
    R_NEXT,
    R_OPS,
    R_POINTERS,
    R_SECOND,
    R_TASK,
    Table,
)

MAX_VIEW_BITS = 38
DIRECT_BITS = 20  # wider views are looked up by pages, made as they come up
MAX_POINTS = 500
ASKED_AGAIN = 4  # how often a handler is asked again, to see that it does not depend on chance
Choose = Callable[[str, Field], int]
Pick = Callable[[Sequence[int]], int]
T = TypeVar("T")


def in_all_ways(ask: Callable[[Pick], T]) -> Iterator[T]:
    """Yield what is answered in each way to pick among codes: `ask` is called once for each, with what picks one."""
    taken: list[int] = []  # at each pick, which of the codes is tried
    while True:
        counts: list[int] = []

        def pick(codes: Sequence[int], counts: list[int] = counts) -> int:
            if len(counts) == len(taken):
                taken.append(0)
            counts.append(len(codes))
            return codes[taken[len(counts) - 1]]

        yield ask(pick)
        while taken and taken[-1] + 1 == counts[len(taken) - 1]:
            taken.pop()
        if not taken:
            return
        taken[-1] += 1


@dataclass(frozen=True)
class Read:
    """A handler reads a field; what it does then hangs on the code it finds."""

    role: str
    field: str
    then: dict[int, Node]


HOLE = "hole"
"""The role of a hole (policies/holes.py) among what handlers read."""
Node = Read | tuple[Decision, bool]
"""Where a handler stands: it reads a field next, or it has decided (and may go on after a point)."""


@dataclass
class Learned:
    """What rows of one policy have learned that differ in how its holes are filled in.

    `paths`: by event, what handlers read and decide. `rows`: by event and view, the holes that are asked for there, and
    what row it comes to.
    """

    paths: dict[int, Node] = dataclass_field(default_factory=dict)
    rows: dict[tuple[int, int], AskedRow] = dataclass_field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """A handler asks for a hole; what row it comes to hangs on the place of the value among its choices."""

    hole: str
    then: dict[int, AskedRow]


AskedRow = Ask | tuple[list[int], Decision]


class Rows:
    """The rows of one policy, learned on demand; `table` is what the engines run on.

    `traces[r]` lists what a tracer would see row r do, as in `Decision.trace`.
    """

    def __init__(self, policy: type[Policy], *, interruptible: bool = False, learned: Learned | None = None) -> None:
        """Prepare to learn from `policy`. If `interruptible`, a handler's `yield` ends a row; else it is ignored.

        `learned`: what rows of the same policy have learned, with the same features and perhaps other holes filled in
        (policies/holes.py); what these learn is added. It is for rows that do not end at points.
        """
        self.policy = policy
        self.instance = made(policy)
        self.fields = Fields(policy)
        self.interruptible = interruptible
        self.points: list[tuple[Event, tuple[int, ...]]] = []  # event, keys of segments before; numbered from 1
        self._point_of: dict[tuple[int, tuple[tuple[str, str, int], ...]], int] = {}  # by event or point, and reads
        self.table = Table(
            handlers=np.full((N_EVENTS + MAX_POINTS + 1, H_COLUMNS), NOT_HANDLED, np.int64),
            index=np.zeros(0, np.int32),
            rows=np.zeros((64, R_COLUMNS), np.int64),
            event_of_point=np.zeros(MAX_POINTS + 1, np.int64),
        )
        self.table.event_of_point[0] = not policy.preemptible
        self.traces: list[list[tuple[str, int]]] = []
        self.where: list[str] = []  # file and line of each row's first operation, or of its handler
        self._index_used = 0
        self._completion: Completion = getattr(policy, "completion", None) or Completion(policy, {})
        self._learned = learned
        self._paths: dict[int, Node] = {} if learned is None else learned.paths  # by event or point
        self.names: list[tuple[int, int]] = []  # event (or N_EVENTS + point) and key of each row
        size = 0
        for event in PARTICIPANTS:
            if self.handler(event) is not None:
                size += self._lay_out(event, size)
        self._more_index(max(size, 1))

    def handler(self, event: Event) -> Callable[..., object] | None:
        """Return the policy's handler for `event`, None if it has none or the world lacks the feature.

        Without own ones, softirqs use those of kernel NEON in tasks.
        """
        needs = NEEDS.get(event, "")
        if needs and needs not in self.policy.features and event != Event.INTERRUPT:  # recordings have those, too
            return None
        name = event.name.lower()
        found = getattr(self.instance, name, None)
        if found is None and name.startswith("softirq"):
            found = getattr(self.instance, name.replace("softirq", "kernel"), None)
        if found is None and name.startswith("efi_"):
            return self.handler(Event[event.name.replace("EFI", "SOFTIRQ_NEON")])
        return found

    def clear_mm(self, world: World, no_user: NDArray[np.bool_]) -> None:
        """Clear the field `mm` of threads without user mode, if the policy declares it: it stands for `current->mm`."""
        self._clear("Task", "mm", world, no_user)

    def without_sve(self, world: World, vcpus: NDArray[np.bool_]) -> None:
        """Clear the field `has_sve` of some vCPUs."""
        self._clear("Vcpu", "has_sve", world, vcpus)

    def without_features(self, world: World, vcpus: NDArray[np.bool_]) -> None:
        """Clear the fields that say what features a vCPU has, of some vCPUs."""
        for f in self.fields.lists["Vcpu"]:
            if f.name in ("has_sve", "has_sme", "has_fpmr"):
                self._clear("Vcpu", f.name, world, vcpus)

    def _clear(self, kind: str, name: str, world: World, whose: NDArray[np.bool_]) -> None:
        for f in self.fields.lists[kind]:
            if f.name == name:
                world.context[: len(whose), WORD][whose] &= ~(1 << f.shift)

    def _more_index(self, entries: int) -> int:
        """Take `entries` more of the index into use; return the first of them."""
        before = self._index_used
        self._index_used += entries
        if self._index_used > len(self.table.index):
            room = max(self._index_used, 3 * len(self.table.index) // 2)
            longer = np.zeros(room, np.int32)
            longer[:before] = self.table.index[:before]
            self.table = self.table.but(index=longer)
        return before

    def _slots(self, event: Event) -> Iterator[tuple[int, str, Field | None, int]]:
        """Yield (column, role, pointer or None for the word, bits) of all that is in view at `event`."""
        participants = PARTICIPANTS[event]
        vcpu = "vcpu" in participants
        columns = {
            "cpu": (-1, H_CPU_POINTER), "task": (H_TASK, H_TASK_POINTER), "second": (H_SECOND, H_SECOND_POINTER),
        }  # fmt: skip
        for role in ROLES[: 1 + len(participants)]:
            fields = list(self.fields.of(role, vcpu).values())
            yield columns[role][0], role, None, width(fields)
            for f in fields:
                if f.pointer:
                    yield columns[role][1] + f.shift, role, f, f.bits

    def _lay_out(self, event: Event, base: int, number: int | None = None) -> int:
        row = self.table.handlers[event if number is None else number]
        row[H_BASE], bits = base, 0
        row[H_TASK] = row[H_SECOND] = 0
        for column, _, _, n in self._slots(event):
            if column >= 0:
                row[column] = bits
            bits += n
        if bits > MAX_VIEW_BITS:
            what = f"policy '{self.policy.name}' shows {bits} bits to '{event.name.lower()}'"
            raise FpstateError(what, expected=f"at most {MAX_VIEW_BITS}", hint="declare fewer or narrower fields")
        if bits > DIRECT_BITS:
            row[H_BASE] = -2 - base
            bits -= PAGE_BITS
        return 1 << bits

    def codes(self, event: Event, key: int) -> dict[tuple[str, str], int]:
        """Return the code of every field in the view that `key` stands for."""
        vcpu = "vcpu" in PARTICIPANTS[event]
        codes: dict[tuple[str, str], int] = {}
        bits = 0
        for _, role, pointer, n in self._slots(event):
            word = key >> bits & (1 << n) - 1
            bits += n
            if pointer is not None:
                codes[role, pointer.name] = word
                continue
            for f in self.fields.of(role, vcpu).values():
                if not f.pointer:
                    codes[role, f.name] = word >> f.shift & (1 << f.bits) - 1
        return codes

    def read_of(self, e: int, key: int) -> list[tuple[str, Field, int]]:
        """Return what a handler that was asked on this view has read: role, field and code, in order.

        `e` is an event, or N_EVENTS plus the number of a point.
        """
        event = self.event_of(e)
        codes, vcpu = self.codes(event, key), "vcpu" in PARTICIPANTS[event]
        node, read = self._paths.get(e), []
        while isinstance(node, Read):
            code = self._code(codes, node)
            if node.role != HOLE:
                read.append((node.role, self.fields.of(node.role, vcpu)[node.field], code))
            node = node.then.get(code)
        return read

    def _code(self, codes: dict[tuple[str, str], int], node: Read) -> int:
        """Return what a handler reads at a node: the code of a field, or of a hole the place of its value."""
        if node.role != HOLE:
            return codes[node.role, node.field]
        return self._completion.ask(node.field)

    def run(self, event: Event, *views: Choose) -> tuple[Decision, bool]:
        """Run the handler on the views of its segments up to the last one given; FpstateError if it is not legal.

        Return the decision of the last segment, and whether the handler goes on after it.
        """
        handler = self.handler(event)
        assert handler is not None
        session = Session(self.fields, event, views[0])
        try:
            with users.users_code(self.policy.handler_seconds):
                answer = handler(*session.entities.values())
                if inspect.isgenerator(answer):
                    more = self._advance(session, answer, views)
                    return session.decision, more
        except (Exception, SystemExit) as error:
            raise self._illegal(event, handler, error) from error
        if answer is not None:
            raise self._illegal(event, handler, Refused(f"returns {answer!r}; a handler returns nothing"))
        return session.decision, False

    def _advance(self, session: Session, handler: Iterable[object], views: tuple[Choose, ...]) -> bool:
        """Run a generator through its segments; return whether it goes on after the last view."""
        for number, choose in enumerate(views):
            if number:
                session.next_segment(choose)
            for point in handler:
                if point is not None:
                    raise Refused(f"yields {point!r}; a point is a bare yield")
                if self.interruptible:
                    break
            else:
                return False
        return True

    def _illegal(self, event: Event, handler: Callable[..., object], error: BaseException) -> FpstateError:
        code = inspect.unwrap(handler).__code__
        file, line = code.co_filename, code.co_firstlineno
        here = (__file__, session_module.__file__, users.__file__, inspect.getfile(Policy))
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename not in here:
                file, line = frame.filename, frame.lineno or line
        handler_of = f"handler '{event.name.lower()}' of policy '{self.policy.name}'"
        if isinstance(error, users.Stopped):
            return FpstateError(f"{handler_of} {error}", where=f"{file}:{line}")
        if isinstance(error, Refused):
            hint = "a handler may use only what kernel code has in view"
            return FpstateError(f"{handler_of} {error}", where=f"{file}:{line}", hint=hint)
        takes = ", ".join(("cpu", *PARTICIPANTS[event]))
        hint = f"it is called with {takes}" if isinstance(error, TypeError) else ""
        return FpstateError(f"{handler_of} raises {type(error).__name__}: {error}", where=f"{file}:{line}", hint=hint)

    def decide(self, e: int, key: int) -> tuple[Decision, bool]:
        """Return the decision for one view at an event or point, and whether the handler goes on after it.

        Where the handler would read only what it has read before, its answer is that of then. Else it is asked, several
        times: the answers must be the same.
        """
        event, keys = self.chain(e, key)
        codes = self.codes(event, key)
        known = self._paths.get(e)
        while isinstance(known, Read):
            known = known.then.get(self._code(codes, known))
        if known is not None:
            return known
        before = [self._reader(event, k) for k in keys[:-1]]
        path: list[tuple[str, str]] = []

        def choose(role: str, f: Field) -> int:
            path.append((role, f.name))
            return codes[role, f.name]

        self._completion.told = lambda name: path.append((HOLE, name))
        found = self.run(event, *before, choose)
        reads = dict.fromkeys(path)
        if any(self.run(event, *before, choose)[0].key() != found[0].key() for _ in range(ASKED_AGAIN)):
            handler = self.handler(event)
            assert handler is not None
            raise self._illegal(event, handler, Refused("answers differently when asked the same again"))
        self._keep_path(e, list(reads), codes, found)
        return found

    def answers(
        self, e: int, key: int, alike: dict[tuple[str, str], tuple[int, ...]]
    ) -> tuple[list[tuple[object, bool]], set[tuple[str, str]]]:
        """Ask a handler on all views that differ from that of `key` in fields that may have any of some codes.

        Return each answer (a decision, and whether the handler goes on), and what is read on any of these views.
        """
        event, keys = self.chain(e, key)
        codes, before = self.codes(event, key), [self._reader(event, k) for k in keys[:-1]]
        read = set[tuple[str, str]]()

        def ask(pick: Pick) -> tuple[object, bool]:
            def choose(role: str, f: Field) -> int:
                read.add((role, f.name))
                return pick(alike.get((role, f.name), (codes[role, f.name],)))

            decision, more = self.run(event, *before, choose)
            return decision.key(), more

        return list(in_all_ways(ask)), read

    def _keep_path(
        self, e: int, reads: list[tuple[str, str]], codes: dict[tuple[str, str], int], found: tuple[Decision, bool]
    ) -> None:
        """Keep a decision under what was read for it, in the order of reading."""
        nodes = [Read(role, field, {}) for role, field in reads]
        if not nodes:
            self._paths[e] = found
            return
        node = self._paths.setdefault(e, nodes[0])
        then: list[Read | tuple[Decision, bool]] = [*nodes[1:], found]
        for place, new in enumerate(then, 1):
            assert isinstance(node, Read)
            node = node.then.setdefault(self._code(codes, nodes[place - 1]), new)

    def chain(self, e: int, key: int) -> tuple[Event, tuple[int, ...]]:
        """Return the event a number stands for, and the keys of its segments up to this one."""
        before = () if e < N_EVENTS else self.points[e - N_EVENTS - 1][1]
        return self.event_of(e), (*before, key)

    def event_of(self, e: int) -> Event:
        """Return the event that a number stands for: its own, or that of a point."""
        return Event(e) if e < N_EVENTS else self.points[e - N_EVENTS - 1][0]

    def _reader(self, event: Event, key: int) -> Choose:
        codes = self.codes(event, key)
        return lambda role, f: codes[role, f.name]

    def learn(self, e: int, key: int) -> int:
        """Run the handler on the view `key` stands for, keep its decision, and return the number of the new row.

        `e` is an event, or N_EVENTS plus the number of a point.
        """
        found = self._row_of_another(e, key)
        if found is None:
            decision, more = self.decide(e, key)
            row = self._encode(self.event_of(e), key, decision)
            if more:
                row[R_NEXT] = self._point(e, key)
            elif self._learned is not None and e < N_EVENTS:
                self._keep_row(self._learned, e, key, (row, decision))
        else:
            row, decision = found
        r = len(self.names)
        if r == len(self.table.rows):
            rows = np.concatenate([self.table.rows, np.zeros_like(self.table.rows)])
            self.table = self.table.but(rows=rows)
        self.table.rows[r] = row
        self.traces.append(decision.trace)
        self.where.append(decision.where or self._defined(self.event_of(e)))
        self.names.append((e, key))
        entry = self._entry(e, key)
        self.table.index[entry] = r + 1
        return r

    def _row_of_another(self, e: int, key: int) -> tuple[list[int], Decision] | None:
        """Return the row that others have learned for this view, with the same values in the holes asked for there."""
        if self._learned is None:
            return None
        node = self._learned.rows.get((e, key))
        while isinstance(node, Ask):
            node = node.then.get(self._completion.ask(node.hole))
        return node

    def _keep_row(self, learned: Learned, e: int, key: int, row: tuple[list[int], Decision]) -> None:
        """Keep a row under the holes that its handler has asked for on this view, in their order."""
        codes, node, holes = self.codes(Event(e), key), self._paths.get(e), list[str]()
        while isinstance(node, Read):
            if node.role == HOLE:
                holes.append(node.field)
            node = node.then.get(self._code(codes, node))
        place, at = (e, key), learned.rows
        if not holes:
            at[place] = row
            return
        asked = at.setdefault(place, Ask(holes[0], {}))
        for n, hole in enumerate(holes, 1):
            assert isinstance(asked, Ask)
            then: AskedRow = Ask(holes[n], {}) if n < len(holes) else row
            asked = asked.then.setdefault(self._completion.ask(hole), then)

    def _entry(self, e: int, key: int) -> int:
        """Return where in the index the row for `key` at `e` belongs; its page is made if need be."""
        base = int(self.table.handlers[e, H_BASE])
        if base >= 0:
            return base + key
        base = -2 - base
        high, low = key >> PAGE_BITS, key & (1 << PAGE_BITS) - 1
        if not self.table.index[base + high]:
            page = self._more_index(1 << PAGE_BITS)
            self.table.index[base + high] = page
        return int(self.table.index[base + high]) + low

    def known(self, e: int, key: int) -> bool:
        """Tell whether the row for `key` at `e` has been learned."""
        entry = self._entry(e, key)
        return bool(self.table.index[entry])

    def _defined(self, event: Event) -> str:
        """Return file and line of the handler of `event`."""
        handler = self.handler(event)
        assert handler is not None
        return defined(handler)

    def _point(self, e: int, key: int) -> int:
        """Return the number of the point after a segment, a new one if need be.

        Where a handler stands there hangs on what it has read, and on nothing else that was in view.
        """
        event, keys = self.chain(e, key)
        stands = e, tuple((role, f.name, code) for role, f, code in self.read_of(e, key))
        if stands not in self._point_of:
            if len(self.points) == MAX_POINTS:
                name = event.name.lower()
                given = f"handler '{name}' of policy '{self.policy.name}' has too many points"
                expected = f"at most {MAX_POINTS} in all, each counted once for every way to reach it"
                raise FpstateError(given, expected=expected, where=self._defined(event))
            self.points.append((event, keys))
            self._point_of[stands] = number = len(self.points)
            self._more_index(self._lay_out(event, self._index_used, N_EVENTS + number))
            self.table.event_of_point[number] = event
        return self._point_of[stands]

    def _encode(self, event: Event, key: int, decision: Decision) -> list[int]:
        vcpu = "vcpu" in PARTICIPANTS[event]
        codes = self.codes(event, key) | decision.writes
        row = [0] * R_COLUMNS
        for column, role in ((R_CPU, "cpu"), (R_TASK, "task"), (R_SECOND, "second")):
            for f in self.fields.of(role, vcpu).values():
                if not f.pointer:
                    row[column] |= codes.get((role, f.name), 0) << f.shift
        for (role, name), code in decision.writes.items():
            f = self.fields.of(role, vcpu)[name]
            if f.pointer:
                row[R_POINTERS] |= code + 1 << 6 * ROLES.index(role) + 3 * f.shift
        row[R_OPS] = len(decision.ops)
        for i, (op, target, part) in enumerate(decision.ops):
            row[R_OPS + 1 + i] = op | target << 8 | part << 12
        return row

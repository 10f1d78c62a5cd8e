"""From a policy to rows: what its handlers decide, learned by running each once for each view.

A view is all that kernel code can see at an event: the words (flags, enums, counters) of the CPU, the task and the
vCPU or second thread, and how each pointer looks from there. The first time a view comes up, the Python handler runs
on it and its decision is kept as a row; from then on the row serves every engine.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError, unknown_name
from fpstate.policies.base import Bounded, Policy
from fpstate.world import step as S
from fpstate.world.events import N_EVENTS, PARTICIPANTS, Event
from fpstate.world.state import C_SIZE, X_SIZE, X_WORD, World

ROLES = ("cpu", "task", "second")
OPS = {"save": S.SAVE, "load": S.LOAD, "clear": S.CLEAR, "overwrite": S.OVERWRITE, "edit": S.EDIT}
OP_NAMES = {number: name for name, number in OPS.items()} | {S.OOPS: "oops"}
MAX_VIEW_BITS = 22


@dataclass(frozen=True)
class Field:
    """One declared field: where it lies and what its codes mean."""

    name: str
    values: tuple[Any, ...]  # of a word field: value of each code
    shift: int  # in the word; of a pointer: its slot, 0 or 1
    bits: int
    pointer: str = ""  # "", "context" or "cpu"
    start: int = 0


def declared(owner: type, kind: str) -> list[Field]:
    """Return the fields of a policy's nested class (`kind`: "Cpu", "Task", "Vcpu"), base classes first."""
    fields: dict[str, Field] = {}
    shift, slots = 0, 0
    for cls in reversed(owner.__mro__):
        for name, note in inspect.get_annotations(cls).items():
            if name == "kernel" or name in fields:
                continue
            where = f"{cls.__module__}.{cls.__qualname__}.{name}"
            if not hasattr(owner, name):
                raise FpstateError(f"field '{where}' has no starting value", expected=f"{name}: {note} = ...")
            start = getattr(owner, name)
            if start is None:
                pointer = "cpu" if "Cpu" in str(note) else "context"
                if (pointer == "context") != (kind == "Cpu") or slots == 2:
                    expected = "at most two pointers, to contexts on a Cpu, to CPUs on a Task or Vcpu"
                    raise FpstateError(f"field '{where}' is not a pointer this place can hold", expected=expected)
                fields[name] = Field(name, (), slots, 3 if pointer == "context" else 2, pointer)
                slots += 1
                continue
            values = _values(start, where)
            bits = (len(values) - 1).bit_length()
            fields[name] = Field(name, values, shift, bits, start=values.index(start))
            shift += bits
    return list(fields.values())


def _values(start: object, where: str) -> tuple[Any, ...]:
    if isinstance(start, bool):
        return (False, True)
    if isinstance(start, Enum):
        return tuple(type(start))
    if isinstance(start, Bounded):
        if not (start.low <= start <= start.high < start.low + 256):
            raise FpstateError(f"field '{where}' has an impossible range", expected="at most 256 values, start within")
        return tuple(range(start.low, start.high + 1))
    raise FpstateError(f"field '{where}' starts as {start!r}", expected="a bool, an Enum member, bounded(), or None")


def width(fields: list[Field]) -> int:
    """Return how many bits the word of these fields has."""
    return sum(f.bits for f in fields if not f.pointer)


def start_word(fields: list[Field]) -> int:
    """Return the word at the start of the world."""
    return sum(f.start << f.shift for f in fields if not f.pointer)


class Refused(Exception):
    """A handler asked for something kernel code could not have or do."""


class Elsewhere:
    """A context or CPU that is not in view: it can be saved to or loaded from, and it equals nothing in view."""

    __slots__ = ("origin",)

    def __init__(self, origin: tuple[str, str]) -> None:
        self.origin = origin

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Elsewhere) and other is not self:
            raise Refused("compares two pointers that both name somebody not in view; kernel code could, a view cannot")
        return other is self

    def __hash__(self) -> int:
        return hash(self.origin)

    def __getattr__(self, name: str) -> object:
        raise Refused(f"reads '{name}' of a context that is not in view")


class Entity:
    """What a handler holds for a CPU, task or vCPU: its fields and nothing else."""

    def __init__(self, session: Session, role: str, word: str) -> None:
        object.__setattr__(self, "_session", session)
        object.__setattr__(self, "_role", role)
        object.__setattr__(self, "_word", word)

    def __repr__(self) -> str:
        return f"<{self._word}>"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return self._session.read(self._role, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._session.write(self._role, name, value)

    _session: Session
    _role: str
    _word: str


class CpuEntity(Entity):
    """The CPU: it also takes the operations."""

    def stash_host(self) -> None:
        self._session.operation(S.SAVE, S.STASH)

    def load_stash(self) -> None:
        self._session.operation(S.LOAD, S.STASH)

    def called(self, function: str) -> None:
        self._session.decision.trace.append(function)


def _operation(name: str) -> Callable[[CpuEntity, object], None]:
    def ask(self: CpuEntity, context: object) -> None:
        if context is None:
            self._session.operation(S.OOPS, S.NOBODY)
        else:
            self._session.operation(OPS[name], self._session.target(name, context))

    ask.__name__ = name
    return ask


for _name in OPS:
    setattr(CpuEntity, _name, _operation(_name))


class KernelState:
    """The kernel-mode FP state of a thread, as a context."""

    __slots__ = ("role",)

    def __init__(self, role: str) -> None:
        self.role = role


@dataclass
class Decision:
    """What a handler asked for on one view."""

    ops: list[tuple[int, int]] = field(default_factory=list)  # (operation, target)
    writes: dict[tuple[str, str], int] = field(default_factory=dict)  # (role, field) -> code
    trace: list[str | int] = field(default_factory=list)  # kernel functions by name and operations by index, in order

    def key(self) -> tuple[Any, ...]:
        return tuple(self.ops), tuple(sorted(self.writes.items())), tuple(self.trace)


class Session:
    """One run of a handler on one view. `choose` gives the code of each field the handler reads."""

    def __init__(self, catalogue: Fields, event: Event, choose: Callable[[str, Field], int]) -> None:
        self.catalogue = catalogue
        self.event = event
        self.choose = choose
        self.decision = Decision()
        participants = PARTICIPANTS[event]
        words = dict(zip(ROLES, ("cpu", *participants), strict=False))
        self.entities: dict[str, Entity] = {
            role: (CpuEntity if role == "cpu" else Entity)(self, role, word) for role, word in words.items()
        }
        self.kernels = {role: KernelState(role) for role in words if words[role] != "vcpu" and role != "cpu"}
        self.second_is_vcpu = words.get("second") == "vcpu"
        self.known: dict[tuple[str, str], Any] = {}

    def fields(self, role: str) -> dict[str, Field]:
        return self.catalogue.of(role, self.second_is_vcpu)

    def field(self, role: str, name: str) -> Field:
        fields = self.fields(role)
        if name not in fields:
            word = self.entities[role]._word
            raise Refused(str(unknown_name(f"field of {word}", name, fields)))
        return fields[name]

    def read(self, role: str, name: str) -> Any:  # noqa: ANN401
        if name == "kernel" and role in self.kernels:
            return self.kernels[role]
        f = self.field(role, name)
        if (role, name) not in self.known:
            self.known[role, name] = self.decode(role, f, self.choose(role, f))
        return self.known[role, name]

    def decode(self, role: str, f: Field, code: int) -> Any:  # noqa: ANN401
        if f.pointer == "cpu":
            return (None, self.entities["cpu"], Elsewhere((role, f.name)))[code]
        if f.pointer == "context":
            named = {
                S.NOBODY: None,
                S.TASK: self.entities.get("task"),
                S.SECOND: self.entities.get("second"),
                S.TASK_KERNEL: self.kernels.get("task"),
                S.SECOND_KERNEL: self.kernels.get("second"),
            }
            return named.get(code, Elsewhere((role, f.name)))
        return f.values[code]

    def write(self, role: str, name: str, value: object) -> None:
        f = self.field(role, name)
        self.decision.writes[role, name] = self.encode(role, f, value)
        self.known[role, name] = value

    def encode(self, role: str, f: Field, value: object) -> int:
        if f.pointer == "cpu" and (value is None or value is self.entities["cpu"]):
            return 0 if value is None else 1
        if f.pointer == "context" and not isinstance(value, Elsewhere):
            return 0 if value is None else self.target(f"{f.name} =", value)
        if not f.pointer and any(type(v) is type(value) and v == value for v in f.values):
            return f.values.index(value)
        expected = ", ".join(map(str, f.values)) or "None or an entity in view"
        raise Refused(f"sets {self.entities[role]._word}.{f.name} to {value!r}; expected {expected}")

    def target(self, what: str, context: object) -> int:
        if isinstance(context, Elsewhere):
            role, name = context.origin
            if role == "cpu":
                return S.ELSEWHERE + self.fields("cpu")[name].shift
        if isinstance(context, KernelState):
            return S.TASK_KERNEL if context.role == "task" else S.SECOND_KERNEL
        for code, role in ((S.TASK, "task"), (S.SECOND, "second")):
            if context is self.entities.get(role):
                return code
        raise Refused(f"asks for the impossible: {what}({context!r}) needs a context")

    def operation(self, op: int, target: int) -> None:
        if len(self.decision.ops) == S.MAX_OPS:
            raise Refused(f"asks for more than {S.MAX_OPS} operations at one point")
        self.decision.trace.append(len(self.decision.ops))
        self.decision.ops.append((op, target))


class Fields:
    """The declared fields of a policy, by kind of entity."""

    def __init__(self, policy: type[Policy]) -> None:
        self.lists = {kind: declared(getattr(policy, kind), kind) for kind in ("Cpu", "Task", "Vcpu")}
        self._by_name = {kind: {f.name: f for f in fields} for kind, fields in self.lists.items()}
        self.words = (
            start_word(self.lists["Cpu"]),
            start_word(self.lists["Task"]),
            start_word(self.lists["Vcpu"]),
        )

    def of(self, role: str, second_is_vcpu: bool) -> dict[str, Field]:
        kind = "Cpu" if role == "cpu" else "Vcpu" if role == "second" and second_is_vcpu else "Task"
        return self._by_name[kind]


class Rows:
    """The rows of one policy, learned on demand, as arrays the engines run on.

    `handlers` says per event where words and pointers lie in the key, `index` maps base + key to row + 1,
    `table` holds the rows. `traces[r]` lists what row r does in order: kernel functions by name, operations by number.
    """

    def __init__(self, policy: type[Policy]) -> None:
        self.policy = policy
        self.instance = policy()
        self.fields = Fields(policy)
        self.handlers = np.full((N_EVENTS, S.H_SIZE), -1, np.int32)
        self.table = np.zeros((64, S.R_SIZE), np.int32)
        self.traces: list[list[str | int]] = []
        self.names: list[tuple[Event, int]] = []  # event and key of each row
        size = 0
        for event in PARTICIPANTS:
            if self.handler(event) is not None:
                size += self._lay_out(event, size)
        self.index = np.zeros(max(size, 1), np.int32)

    def handler(self, event: Event) -> Callable[..., object] | None:
        """Return the policy's handler for `event`; softirqs use the task's kernel NEON handlers unless it has own ones."""
        name = event.name.lower()
        found = getattr(self.instance, name, None)
        if found is None and name.startswith("softirq"):
            found = getattr(self.instance, name.replace("softirq", "kernel"), None)
        return found

    def clear_mm(self, world: World, cpus: int, no_user: NDArray[np.bool_]) -> None:
        """Clear the field `mm` of threads without user mode, if the policy declares it (as `current->mm` is set by the kernel)."""
        for f in self.fields.lists["Task"]:
            if f.name == "mm":
                words = world[cpus * C_SIZE :].reshape(-1, X_SIZE)[: len(no_user), X_WORD]
                words[no_user] &= ~(1 << f.shift)

    def _slots(self, event: Event) -> Iterator[tuple[int, str, Field | None, int]]:
        """Yield (column, role, pointer or None for the word, bits) of all that is in view at `event`."""
        participants = PARTICIPANTS[event]
        vcpu = "vcpu" in participants
        columns = {"cpu": (-1, S.H_CPU_PTR), "task": (S.H_TASK, S.H_TASK_PTR), "second": (S.H_SECOND, S.H_SECOND_PTR)}
        for role in ROLES[: 1 + len(participants)]:
            fields = list(self.fields.of(role, vcpu).values())
            yield columns[role][0], role, None, width(fields)
            for f in fields:
                if f.pointer:
                    yield columns[role][1] + f.shift, role, f, f.bits

    def _lay_out(self, event: Event, base: int) -> int:
        row = self.handlers[event]
        row[S.H_BASE], bits = base, 0
        row[S.H_TASK] = row[S.H_SECOND] = 0
        for column, _, _, n in self._slots(event):
            if column >= 0:
                row[column] = bits
            bits += n
        if bits > MAX_VIEW_BITS:
            what = f"policy '{self.policy.name}' shows {bits} bits to '{event.name.lower()}'"
            raise FpstateError(what, expected=f"at most {MAX_VIEW_BITS}", hint="declare fewer or narrower fields")
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

    def run(self, event: Event, choose: Callable[[str, Field], int]) -> Decision:
        """Run the handler once on the view that `choose` gives; FpstateError if it is not a legal handler."""
        handler = self.handler(event)
        assert handler is not None
        session = Session(self.fields, event, choose)
        try:
            answer = handler(*session.entities.values())
        except Exception as error:
            raise self._illegal(event, handler, error) from error
        if answer is not None:
            raise self._illegal(event, handler, Refused(f"returns {answer!r}; a handler returns nothing"))
        return session.decision

    def _illegal(self, event: Event, handler: Callable[..., object], error: Exception) -> FpstateError:
        code = inspect.unwrap(handler).__code__
        file, line = code.co_filename, code.co_firstlineno
        here = (__file__, inspect.getfile(Policy))
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename not in here:
                file, line = frame.filename, frame.lineno or line
        what = str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
        given = f"handler '{event.name.lower()}' of policy '{self.policy.name}' {what}"
        return FpstateError(given, where=f"{file}:{line}", hint="a handler may use only what kernel code has in view")

    def decide(self, event: Event, key: int) -> Decision:
        """Return the decision for one view, asking the handler twice: it must answer the same."""
        codes = self.codes(event, key)

        def choose(role: str, f: Field) -> int:
            return codes[role, f.name]

        first = self.run(event, choose)
        if self.run(event, choose).key() != first.key():
            handler = self.handler(event)
            assert handler is not None
            raise self._illegal(event, handler, Refused("answers differently when asked the same twice"))
        return first

    def learn(self, event: Event, key: int) -> int:
        """Run the handler on the view `key` stands for, keep its decision, and return the number of the new row."""
        decision = self.decide(event, key)
        r = len(self.names)
        if r == len(self.table):
            self.table = np.concatenate([self.table, np.zeros_like(self.table)])
        self.table[r] = self._encode(event, key, decision)
        self.traces.append([op if isinstance(op, str) else decision.ops[op][0] for op in decision.trace])
        self.names.append((event, key))
        self.index[self.handlers[event, S.H_BASE] + key] = r + 1
        return r

    def _encode(self, event: Event, key: int, decision: Decision) -> list[int]:
        vcpu = "vcpu" in PARTICIPANTS[event]
        codes = self.codes(event, key) | decision.writes
        row = [0] * S.R_SIZE
        for column, role in ((S.R_CPU, "cpu"), (S.R_TASK, "task"), (S.R_SECOND, "second")):
            for f in self.fields.of(role, vcpu).values():
                if not f.pointer:
                    row[column] |= codes.get((role, f.name), 0) << f.shift
        for (role, name), code in decision.writes.items():
            f = self.fields.of(role, vcpu)[name]
            if f.pointer:
                row[S.R_PTRS] |= code + 1 << 6 * ROLES.index(role) + 3 * f.shift
        row[S.R_OPS] = len(decision.ops)
        for i, (op, target) in enumerate(decision.ops):
            row[S.R_OPS + 1 + i] = op | target << 8
        return row

"""One run of a policy's handler on one view: what it may touch, and what it asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fpstate.errors import unknown_name
from fpstate.rows.fields import Field, Fields, kind_of
from fpstate.world import operations, table, wide
from fpstate.world.events import PARTICIPANTS, Event
from fpstate.world.state import FPEXC, FPMR, ZA, ZCR, Z

ROLES = ("cpu", "task", "second")
PLAIN_OPS = {
    "save": operations.SAVE,
    "load": operations.LOAD,
    "clear": operations.CLEAR,
    "overwrite": operations.OVERWRITE,
    "edit": operations.EDIT,
    "fetch": operations.FETCH,
    "new_place": operations.NEW_PLACE,
    "save_some": operations.SAVE_SOME,
    "load_some": operations.LOAD_SOME,
}
SVE_OPS = {
    "save_sve": wide.SAVE_SVE,
    "load_sve": wide.LOAD_SVE,
    "widen": wide.WIDEN,
    "narrow": wide.NARROW,
    "set_vl": wide.SET_VL,
    "free_sve": wide.FREE_SVE,
    "overwrite_sve": wide.OVERWRITE_SVE,
    "edit_sve": wide.EDIT_SVE,
    "frame_sve": wide.FRAME_SVE,
    "free_za": wide.FREE_ZA,
    "fetch_sve": wide.FETCH_SVE,
    "smstop_sm": wide.SMSTOP_SM,
}
PART_OPS = {"save_part": wide.SAVE_CLASS, "load_part": wide.LOAD_CLASS, "overwrite_part": wide.OVERWRITE_CLASS}
ALLOC_OPS = {"alloc_sve": wide.ALLOC_SVE, "alloc_za": wide.ALLOC_ZA}
CPU_OPS = {"zero_sve": wide.ZERO_SVE, "drop_sve": wide.DROP_SVE, "force_fpexc": wide.FORCE_FPEXC, "warn": wide.WARN}
OPS = PLAIN_OPS | SVE_OPS
PARTS = {"z": Z, "zcr": ZCR, "za": ZA, "fpmr": FPMR, "upper": FPMR, "fpexc": FPEXC}
MODE_FIELDS = ("sm", "za")
GATES = ("guest_fp_trap", "guest_sve_trap", "user_fp_trap", "kernel_sme_trap")
"""Traps that kernel code itself can run into: what it touches once they are lifted must come after an ISB. User mode's
SVE and SME are enabled apart from the kernel's (EL0EN and EL1EN of CPACR_EL1.ZEN and SMEN), so theirs are not among
them: fpsimd_bind_task_to_cpu enables both without an ISB, and the return to user mode synchronises. A policy whose
kernel code runs with SMEN.EL1EN clear declares `kernel_sme_trap` for it."""
TOUCHES_REGISTERS = (
    operations.SAVE,
    operations.LOAD,
    operations.CLEAR,
    operations.SAVE_SOME,
    operations.LOAD_SOME,
    wide.SAVE_SVE,
    wide.LOAD_SVE,
    wide.ZERO_SVE,
    wide.SAVE_CLASS,
    wide.LOAD_CLASS,
    wide.SET_VL,
    wide.SET_SVCR,
)
OP_NAMES = {number: name for name, number in (OPS | PART_OPS | ALLOC_OPS | CPU_OPS).items()}
OP_NAMES |= {
    operations.OOPS: "oops",
    operations.BUILD_FRAME: "signal frame built for",
    operations.START_TIMER: "start timer of",
    wide.SET_SVCR: "set_svcr",
    wide.UNSYNCHRONISED: "touches FP registers before the ISB",
    operations.BEHIND_TRAP: "touches FP registers behind a trap",
}


def op_text(code: int, names: dict[int, str]) -> str:
    """Say what an operation of a row does; `names` are what to call its targets."""
    op, target, part = code & 255, code >> 8 & 15, code >> 12
    if op == wide.SET_SVCR:
        return f"set_svcr {('none', 'SM', 'ZA', 'SM and ZA')[part]}"
    if op == operations.OOPS and target:
        return f"oops if {names.get(target, 'nobody')} is kernel-mode state"
    if op in CPU_OPS.values() or op in (wide.UNSYNCHRONISED, operations.BEHIND_TRAP):
        return OP_NAMES[op]
    if op in ALLOC_OPS.values():
        return f"{OP_NAMES[op]} {names.get(target, 'nobody')}{', as it is if there is any' if part else ''}"
    which = next((f" {name}" for name, number in PARTS.items() if number == part), "") if part else ""
    return f"{OP_NAMES[op].removesuffix('_part')}{which} {names.get(target, 'nobody')}"


class Refused(Exception):
    """A handler asked for something kernel code could not have or do."""


class Undecided(Refused):
    """What kernel code does on a view hangs on more than the view: on who is meant by somebody not in view."""


def _line_of_policy() -> str:
    """Return file and line of the innermost caller outside this file."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class Elsewhere:
    """A context or CPU that is not in view: it can be saved to or loaded from, and it equals nothing in view."""

    __slots__ = ("origin", "segment")

    def __init__(self, origin: tuple[str, str], segment: int) -> None:
        self.origin = origin
        self.segment = segment

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

    def __getattr__(self, name: str) -> Any:
        return self._session.read(self._role, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._session.write(self._role, name, value)

    _session: Session
    _role: str
    _word: str


class CpuEntity(Entity):
    """The CPU: it also takes the operations."""

    def stash_host(self) -> None:
        """Save to the stash."""
        self._session.operation(operations.SAVE, table.ITS_STASH)

    def load_stash(self) -> None:
        """Load from the stash."""
        self._session.operation(operations.LOAD, table.ITS_STASH)

    def save_part(self, part: str, context: object) -> None:
        """Save one register class."""
        self._part("save_part", part, context)

    def load_part(self, part: str, context: object) -> None:
        """Load one register class."""
        self._part("load_part", part, context)

    def stash_part(self, part: str) -> None:
        """Save one register class to the stash."""
        self._part("save_part", part, table.ITS_STASH)

    def load_stash_part(self, part: str) -> None:
        """Load one register class from the stash."""
        self._part("load_part", part, table.ITS_STASH)

    def overwrite_part(self, part: str, context: object) -> None:
        """Write one register class in memory."""
        self._part("overwrite_part", part, context)

    def _part(self, name: str, part: str, context: object) -> None:
        if part not in PARTS:
            raise Refused(str(unknown_name("part of an image", part, PARTS)))
        if part in ("fpmr", "upper") and part not in self._session.catalogue.features:
            raise Refused(f"asks for part '{part}' in a world that has no such registers; test for the feature first")
        target = table.ITS_STASH if context == table.ITS_STASH else self._session.target(name, context)
        if part == "z" and target != table.ITS_STASH:
            raise Refused("moves part 'z' of an image; save_sve and load_sve do, with V")
        self._session.operation(PART_OPS[name], target, PARTS[part])

    def alloc_sve(self, context: object, flush: bool = True) -> None:
        """Allocate storage for the SVE form."""
        self._alloc("alloc_sve", context, flush)

    def alloc_za(self, context: object, flush: bool = True) -> None:
        """Allocate storage for ZA."""
        self._alloc("alloc_za", context, flush)

    def _alloc(self, name: str, context: object, flush: bool) -> None:
        keep = 0 if flush else wide.KEEP
        self._session.operation(ALLOC_OPS[name], self._session.target(name, context), keep)

    def set_svcr(self, sm: bool, za: bool) -> None:
        """Write SVCR."""
        self._session.operation(wide.SET_SVCR, table.TASK, int(sm) | int(za) << 1)
        self._session.know("sm", bool(sm))
        self._session.know("za", bool(za))

    def smstop(self) -> None:
        """Leave streaming mode and disable ZA."""
        self.set_svcr(False, False)

    def fetch(self, context: object, *, look: bool = False) -> None:
        """Have another CPU save a context that is live there."""
        target = table.NOBODY if context is None else self._session.target("fetch", context)
        self._session.operation(operations.FETCH if target else operations.OOPS, target, int(look and target > 0))

    def isb(self) -> None:
        """Synchronise trap settings."""
        self._session.unsynchronised = False

    def called(self, function: str) -> None:
        """Enter a kernel function; where a policy does so by that of the policy it is made from, it is entered once."""
        if self._session.inside[-1:] != [function]:
            self._session.decision.trace.append((function, 0))
        self._session.inside.append(function)

    def returned(self) -> None:
        """Leave the kernel function entered last."""
        self._session.inside.pop()


def _operation(name: str) -> Callable[[CpuEntity, object], None]:
    def ask(self: CpuEntity, context: object) -> None:
        if context is None:
            self._session.operation(operations.OOPS, table.NOBODY)
        else:
            self._session.operation(OPS[name], self._session.target(name, context))

    ask.__name__ = name
    return ask


def _on_cpu(name: str) -> Callable[[CpuEntity], None]:
    def ask(self: CpuEntity) -> None:
        self._session.operation(CPU_OPS[name], table.TASK)

    ask.__name__ = name
    return ask


for _name in OPS.keys() - {"fetch"}:
    setattr(CpuEntity, _name, _operation(_name))
for _name in CPU_OPS:
    setattr(CpuEntity, _name, _on_cpu(_name))


class KernelState:
    """The kernel-mode FP state of a thread, as a context."""

    __slots__ = ("role",)

    def __init__(self, role: str) -> None:
        self.role = role


@dataclass
class Decision:
    """What a handler asked for on one view."""

    ops: list[tuple[int, int, int]] = field(default_factory=list)  # (operation, target, register class or mode)
    writes: dict[tuple[str, str], int] = field(default_factory=dict)  # (role, field) -> code
    trace: list[tuple[str, int]] = field(default_factory=list)  # what a tracer sees: (kernel function, 0) where one
    # begins, (kernel function or "", operation) where one inside it asks for an operation

    where: str = ""  # file and line of the first operation

    def key(self) -> tuple[Any, ...]:
        """Return all of it as one value that can be compared."""
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
        self.inside: list[str] = []  # kernel functions entered and not left
        self.unsynchronised = False  # a trap was lifted, and no ISB has come since
        self.framed = False  # the signal frame is built
        self.segment = 0  # how many points of the handler lie behind

    def next_segment(self, choose: Callable[[str, Field], int]) -> None:
        """Go on after a point of the handler: others may have run, so all that was read must be read anew."""
        self.choose = choose
        self.known.clear()
        self.decision = Decision()
        self.segment += 1

    def fields(self, role: str) -> dict[str, Field]:
        """Return the fields of whoever has `role`, by name."""
        return self.catalogue.of(role, self.second_is_vcpu)

    def field(self, role: str, name: str) -> Field:
        """Return one field; Refused if it was never declared."""
        fields = self.fields(role)
        if name not in fields:
            word = self.entities[role]._word
            raise Refused(str(unknown_name(f"field of {word}", name, fields)))
        return fields[name]

    def read(self, role: str, name: str) -> Any:
        """Return what the handler sees in a field: the value of the view, or what the handler wrote."""
        if name == "kernel" and role in self.kernels:
            return self.kernels[role]
        absent = self.absent(role)
        if name in absent:
            return absent[name]
        f = self.field(role, name)
        if (role, name) not in self.known:
            self.known[role, name] = self.decode(role, f, self.choose(role, f))
        return self.known[role, name]

    def absent(self, role: str) -> dict[str, Any]:
        """Return the fields of whoever has `role` that exist only with features this world has not."""
        return self.catalogue.absent[kind_of(role, self.second_is_vcpu)]

    def decode(self, role: str, f: Field, code: int) -> Any:
        """Return the Python value that a code of the view stands for."""
        if f.pointer == "cpu":
            return (None, self.entities["cpu"], Elsewhere((role, f.name), self.segment))[code]
        if f.pointer == "context":
            named = {
                table.NOBODY: None,
                table.TASK: self.entities.get("task"),
                table.SECOND_ONE: self.entities.get("second"),
                table.TASK_KERNEL: self.kernels.get("task"),
                table.SECOND_KERNEL: self.kernels.get("second"),
            }
            return named.get(code, Elsewhere((role, f.name), self.segment))
        return f.values[code]

    def write(self, role: str, name: str, value: object) -> None:
        """Keep what the handler assigns to a field."""
        absent = self.absent(role)
        if name in absent:
            if value == absent[name]:
                return
            raise Refused(f"sets {name} to {value!r}, a field of a feature that this world has not")
        if name in MODE_FIELDS and role == "cpu":
            raise Refused(f"sets cpu.{name}; SVCR is changed by set_svcr and smstop")
        f = self.field(role, name)
        if f.timed:
            if value is not False:
                raise Refused(f"sets {name}; the clock does, after a handler has cleared it")
            self.operation(operations.START_TIMER, table.TASK if role == "task" else table.SECOND_ONE)
        self.decision.writes[role, name] = self.encode(role, f, value)
        if "barriers" in self.catalogue.features and role == "cpu" and name in GATES:
            self.unsynchronised |= value is False and bool(self.read(role, name))
        self.known[role, name] = value

    def know(self, name: str, value: bool) -> None:
        """Keep what an operation has made of a hardware field of the CPU."""
        if name in self.absent("cpu"):
            return
        self.decision.writes["cpu", name] = int(value)
        self.known["cpu", name] = value

    def encode(self, role: str, f: Field, value: object) -> int:
        """Return the code of a value assigned; Refused if the field cannot hold it."""
        if f.pointer == "cpu" and (value is None or value is self.entities["cpu"]):
            return 0 if value is None else 1
        if f.pointer == "cpu" and isinstance(value, Elsewhere) and value.origin[0] != "cpu":
            if value.segment != self.segment:
                where = ".".join(value.origin)
                raise Refused(f"copies what {where} named before a point where others may run; read it again")
            of, name = value.origin
            return table.POINTER_COPY + 2 * (of == "second") + self.fields(of)[name].shift
        if f.pointer == "context" and not isinstance(value, Elsewhere):
            return 0 if value is None else self.target(f"{f.name} =", value)
        if not f.pointer and any(type(v) is type(value) and v == value for v in f.values):
            return f.values.index(value)
        expected = ", ".join(map(str, f.values)) or "None or an entity in view"
        raise Refused(f"sets {self.entities[role]._word}.{f.name} to {value!r}; expected {expected}")

    def target(self, what: str, context: object) -> int:
        """Return the target code of a context; Refused if it is none."""
        if isinstance(context, Elsewhere):
            role, name = context.origin
            if context.segment != self.segment:
                raise Refused(f"uses what {role}.{name} named before a point where others may run; read it again")
            if role == "cpu":
                return table.ELSEWHERE + self.fields("cpu")[name].shift
        if isinstance(context, KernelState):
            return table.TASK_KERNEL if context.role == "task" else table.SECOND_KERNEL
        for code, role in ((table.TASK, "task"), (table.SECOND_ONE, "second")):
            if context is self.entities.get(role):
                return code
        raise Refused(f"asks for the impossible: {what}({context!r}) needs a context")

    def operation(self, op: int, target: int, part: int = 0) -> None:
        """Keep an operation the handler asks for."""
        if len(self.decision.ops) == table.MAX_OPS:
            raise Refused(f"asks for more than {table.MAX_OPS} operations at one point")
        of_features = wide.SAVE_SVE <= op < wide.WARN or op in (wide.FETCH_SVE, wide.SMSTOP_SM)
        if of_features and not self.catalogue.wide:
            raise Refused(
                f"asks for {OP_NAMES[op]} in a world that has FPSIMD registers only; test for the feature first"
            )
        begins = op in (operations.CLEAR, wide.SMSTOP_SM) and target == table.TASK
        if self.event == Event.SIGNAL and begins and not self.framed:
            self.framed = True  # the frame is what the image holds now; the handler begins with the initial state
            self.decision.ops.append((operations.BUILD_FRAME, table.TASK, 0))
        if op in TOUCHES_REGISTERS and any(self.read("cpu", trap) for trap in self.catalogue.kernel_traps):
            self.decision.ops.append((operations.BEHIND_TRAP, table.TASK, 0))
        if self.unsynchronised and op in TOUCHES_REGISTERS:
            self.decision.ops.append((wide.UNSYNCHRONISED, table.TASK, 0))
        self.decision.trace.append((self.inside[-1] if self.inside else "", op))
        self.decision.where = self.decision.where or _line_of_policy()
        self.decision.ops.append((op, target, part))

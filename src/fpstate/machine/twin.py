"""The world beside the machine: every event happens to both, and what registers really hold must agree with the world.

This is the machine's only contact with the world. The policy's rows are found and run as everywhere else; each of their
operations is also carried out on real register contents, and after each one, and at each use of FP by a task or guest,
the contents of the place concerned are held against what the world says lies there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare
from fpstate.machine.engine import V_BYTES, Engine, image_pointers
from fpstate.machine.log import Log
from fpstate.machine.memory import Ram
from fpstate.paths.order import (
    DOWN,
    EXEC,
    FORK,
    GUEST_FP,
    GUEST_TRAPS,
    NEON_END,
    PM_ENTER,
    PTRACE_WRITE,
    RESET,
    SETREG,
    SIGNAL,
    SIGRETURN,
    TAKE_OVER,
    USER_FP,
    USER_TRAPS,
)
from fpstate.rows.fields import features_of
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Kind
from fpstate.world import operations, wide
from fpstate.world.events import Truth
from fpstate.world.operations import (
    BUILD_FRAME,
    CLEAR,
    EDIT,
    FETCH,
    LOAD,
    LOAD_SOME,
    N_COUNTS,
    N_GUEST_TRAP,
    N_USER_TRAP,
    NEW_PLACE,
    OOPS,
    OVERWRITE,
    SAVE,
    SAVE_SOME,
    START_TIMER,
    read_place,
    set_fields,
)
from fpstate.world.state import (
    IMAGE,
    INITIAL,
    KERNEL_IMAGE,
    KERNEL_LATEST,
    LATEST,
    NOBODYS,
    POINTER,
    REGISTERS,
    SOFTIRQS,
    STASH,
    STORAGE,
    SVE_STORE,
    VERSION,
    Ints,
    World,
    context_of,
    copy_of,
    kernel_of,
    new_world,
    own,
    owner_of,
)
from fpstate.world.state import ZEROS as NOBODYS_ZEROS
from fpstate.world.step import (
    MIND_AFTER,
    MIND_BEFORE,
    after_row,
    before_row,
    copy_of_parent,
    exchanged,
    touch,
    trap_of,
)
from fpstate.world.table import A_EVENT, A_KEY, NOT_LEARNED, R_NEXT, R_OPS, Report, Table, find_row, named, new_report
from fpstate.world.verdicts import OK, TRAP_NOT_SERVED

ZEROS: Final = bytes(V_BYTES)
LOST: Final = bytes.fromhex("0badc0de") * 128 + bytes(16)
"""What registers hold that were lost, or that nobody has written yet."""

_SLOT = 544  # bytes from one image in RAM to the next
_TRUTHS: Final = {truth.name.lower(): int(truth) for truth in Truth}


class Difference(Exception):
    """The machine and the world disagree on what a place holds."""


# The world's functions as the machine calls them.


@bare
def find(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Find a row; see `find_row`. One that asks for no operation is carried out at once."""
    r = find_row(w, table, report, e, c, t, s)
    if r >= 0 and table.rows[r, R_OPS] == 0:
        set_fields(w, table, r, c, t, s)
    return r


@bare
def leave(w: World, table: Table, r: int, c: int, t: int, s: int) -> None:
    """Leave the fields as a row says, after its operations."""
    set_fields(w, table, r, c, t, s)


@bare
def carry_out(w: World, code: int, c: int, t: int, s: int, report: Report) -> int:
    """Carry out one operation of a row in the world; return what went wrong."""
    if w.features:
        return wide.carry_out(w, code, c, t, s, report)
    return operations.carry_out(w, code, c, t, s, report)


def stash_of(c: int) -> int:
    """Return the number of a CPU's stash among places in memory; the others are numbered as their owners are."""
    return -1 - c


@dataclass(frozen=True)
class Wrong:
    """The first time a context read a value that is not its latest: where in the log, what it should have found."""

    context: int
    at: int  # number of the use in the log
    expected: bytes
    got: bytes
    owner: int  # of what it found
    beyond: tuple[bytes, bytes] = b"", b""  # of Z0-Z31, P0-P15 and FFR beyond V: what it should have found, and did

    def register(self) -> tuple[str, int, int]:
        """Return name, expected and found value of the first register that differs."""
        for i in range(32):
            a, b = self.expected[16 * i : 16 * i + 16], self.got[16 * i : 16 * i + 16]
            if a != b:
                return f"v{i}", int.from_bytes(a, "little"), int.from_bytes(b, "little")
        for i, name in enumerate(("fpsr", "fpcr")):
            a, b = (image[512 + 4 * i : 516 + 4 * i] for image in (self.expected, self.got))
            if a != b:
                return name, int.from_bytes(a, "little"), int.from_bytes(b, "little")
        n = len(self.beyond[0]) * 8 // 273  # vector length: 32 registers of n bytes, 17 of n / 8
        for i in range(49):
            at, size = (n * i, n) if i < 32 else (32 * n + (i - 32) * n // 8, n // 8)
            a, b = (image[at : at + size] for image in self.beyond)
            if a != b:
                name = f"z{i}" if i < 32 else f"p{i - 32}" if i < 48 else "ffr"
                return name, int.from_bytes(a, "little"), int.from_bytes(b, "little")
        return "", 0, 0


class Twin:
    """A world of contexts `kinds` on `engines`, and the real contents of all its places.

    `log` lists what happened: (time, CPU, event, subject, object). `wrong` holds the first wrong value of each context.
    """

    def __init__(
        self,
        rows: Rows,
        kinds: NDArray[np.uint8],
        engines: list[Engine],
        ram: Ram,
        initial: bytes = ZEROS,
    ) -> None:
        """Begin with nobody's values in all registers. `initial` is the initial state of every context."""
        self.rows = rows
        self.initial = initial
        self.engines = engines
        self.ram = ram
        self.cpus, self.n = len(engines), len(kinds)
        self.features = features_of(rows.policy)
        self.world = new_world(self.cpus, kinds == Kind.VCPU, rows.fields.words, self.features)
        rows.clear_mm(self.world, (kinds == Kind.IDLE) | (kinds == Kind.KTHREAD))
        self.start = copy_of(self.world)
        self.report = new_report(N_COUNTS)
        self.log = Log()
        self.now = 0
        self.wrong: dict[int, Wrong] = {}
        self.wrong_uses = 0
        self.verdicts: list[tuple[int, int]] = []  # (number in the log, verdict) of all that went wrong
        self.saves, self.loads, self.traps = ([0] * self.n for _ in range(3))
        self.used: list[int] = []  # rows used since it was last cleared
        self.frames: dict[int, bytes] = {}  # signal frames of tasks
        self.frames_sve: dict[int, bytes] = {}  # their SVE records, Z0-Z31, P0-P15 and FFR, where they have one
        self.built: dict[int, bytes] = {}  # what should be in a frame after which its task began with the initial state
        self.truths: dict[int, list[int]] = {}  # of each row
        self.known: dict[int, bytes] = {}  # what the value that a label names is
        self.other: dict[int, list[bytes]] = {}  # the same where there are several
        places = [f(x) for f in (own, kernel_of) for x in range(self.n)] + [stash_of(c) for c in range(self.cpus)]
        first = ram.take(_SLOT * len(places))
        self.offsets = {place: first + _SLOT * i for i, place in enumerate(places)}
        self.pointers = {place: image_pointers(ram.address + at) for place, at in self.offsets.items()}
        for x in range(self.n):
            self.known[own(x)] = self.known[own(x) + VERSION] = initial
            ram.write(self.offsets[own(x)], initial)
            self.known[kernel_of(x)] = ZEROS
        for c, engine in enumerate(engines):
            engine.set_fp_registers(LOST)
            ram.write(self.offsets[stash_of(c)], LOST)

    # Events.

    def event(self, e: int, c: int, t: int, s: int) -> int:
        """Let event `e` happen on CPU `c` to task `t` and second participant `s` (n: none); return the verdict."""
        self.note(e, c, t, s)
        if not self.features and not (MIND_BEFORE | MIND_AFTER) >> e & 1:
            return self.went(self.segment(e, c, t, s)[0])
        verdict = self.begin(e, c, t, s)
        verdict = max(verdict, self.segment(e, c, t, s)[0])
        return self.went(max(verdict, self.end(e, c, t, s)))

    def note(self, e: int, c: int, t: int, s: int) -> None:
        """Write an event to the log."""
        self.now += 100
        self.log.append((self.now, c, e, t, s if s < self.n else -1))

    def went(self, verdict: int) -> int:
        """Note what came of the event logged last; return it."""
        if verdict != OK:
            self.verdicts.append((len(self.log) - 1, verdict))
        return verdict

    def begin(self, e: int, c: int, t: int, s: int) -> int:
        """Do what event `e` does to values before the policy handles it."""
        w = self.world
        if e == SIGNAL:
            self.built.pop(t, None)
        if e == FORK:
            copy_of_parent(w, t, s)
        if self.features:
            wide.wide_before(w, e, t, s)
        if not MIND_BEFORE >> e & 1:
            return OK
        whom = t if e in (EXEC, SIGRETURN, TAKE_OVER) else s
        old = self.latest(whom) if e in (PTRACE_WRITE, SETREG) else b""
        verdict = before_row(w, e, c, t, s)
        if e in (EXEC, RESET):
            self.define(whom, self.initial)
        elif e == SIGRETURN:
            self.define(whom, self.frames.get(t, ZEROS))
        elif e in (PTRACE_WRITE, SETREG):
            self.define(whom, self.edited(whom, old))
        elif e == TAKE_OVER:
            self._take_over(t, s)
        if e == NEON_END:
            self.check_registers(c)
        return verdict

    def _take_over(self, t: int, s: int) -> None:
        """Copy the image and the signal frame of `s` to `t`, and call the values of each by the other's name."""
        self.ram.write(self.offsets[own(t)], self.image(s))
        self.known = {exchanged(label, t, s): value for label, value in self.known.items()}
        self.other = {exchanged(label, t, s): values for label, values in self.other.items()}
        if s in self.frames:
            self.frames[t] = self.frames.pop(s)

    def segment(self, e: int, c: int, t: int, s: int) -> tuple[int, int]:
        """Run one row of event or point `e`, operation by operation; return verdict and next point."""
        r = self._row(e, c, t, s)
        if r < 0:
            return OK, 0
        self._used(r, c, t)
        table, verdict = self.rows.table, OK
        if operations := table.rows[r, R_OPS + 1 : R_OPS + 1 + table.rows[r, R_OPS]].tolist():
            for code in operations:
                verdict = self._do(code, c, t, s)
                if verdict != OK:
                    break
            leave(self.world, table, r, c, t, s)
        return verdict, int(table.rows[r, R_NEXT]) if self.rows.interruptible else 0

    def _row(self, e: int, c: int, t: int, s: int) -> int:
        """Return the number of the row for event or point `e`, negative if it is not handled."""
        while True:
            r = int(find(self.world, self.rows.table, self.report, e, c, t, s))
            if r != NOT_LEARNED:
                return r
            self.rows.learn(int(self.report.asked[A_EVENT]), int(self.report.asked[A_KEY]))

    def _used(self, r: int, c: int, t: int) -> None:
        """Note that row `r` is used; write what a function tracer would show of it to the log, before its event."""
        self.used.append(r)
        if r not in self.truths:
            self.truths[r] = [found for entry in self.rows.traces[r] for found in _truth(*entry)]
        if self.truths[r]:
            event = self.log.pop()
            for truth in self.truths[r]:
                self.log.append((event[0], c, truth, t, -1))
            self.log.append(event)

    def end(self, e: int, c: int, t: int, s: int) -> int:
        """Do what event `e` does to values after the policy has handled it."""
        w = self.world
        verdict = wide.wide_after(w, e, c, t, s) if self.features else OK
        if not MIND_AFTER >> e & 1:
            return verdict
        verdict = max(verdict, after_row(w, e, c, t, s))
        if e == FORK:
            image = self.image(t)
            self.ram.write(self.offsets[own(s)], image)
            self.define(s, self.latest(t))
            label = int(w.context[s, IMAGE])
            if owner_of(label) == own(s):
                self.known[label] = image
        elif e in (PM_ENTER, DOWN):
            self.engines[c].set_fp_registers(LOST)
        elif e == SIGNAL and t not in self.built:
            self.frames[t] = self.image(t)
        return verdict

    # Operations.

    def _do(self, code: int, c: int, t: int, s: int) -> int:
        """Carry out one operation of a row in the world and on the machine; return what went wrong."""
        w, op = self.world, code & 255
        owner = 0 if op == OOPS else int(named(w, code >> 8 & 15, c, t, s))
        x = context_of(owner) if owner else t
        if op in (FETCH, wide.FETCH_SVE):
            return self._fetch(code, c, t, s, owner)
        kept = op == wide.ALLOC_SVE and code >> 12 == wide.KEEP and w.context[x, STORAGE] & SVE_STORE
        verdict = int(carry_out(w, code, c, t, s, self.report))
        if verdict == OK and not kept and op != START_TIMER:  # there is no clock
            if self.features:
                self._do_wide(op, owner, x, c)
            else:
                self._do_plain(op, owner, x, c)
        return verdict

    def _fetch(self, code: int, c: int, t: int, s: int, owner: int) -> int:
        """Let another CPU save the registers of `owner`, if it has them."""
        x = context_of(owner)
        holder = int(self.world.context[x, POINTER]) - 1
        verdict = int(carry_out(self.world, code, c, t, s, self.report))
        if verdict == OK and holder >= 0 and not self.world.context[x, POINTER]:
            if self.features:
                self._do_wide(wide.SAVE_SVE if code & 255 == wide.FETCH_SVE else SAVE, owner, x, holder)
            else:
                self._do_plain(SAVE, owner, x, holder)
        return verdict

    def _do_plain(self, op: int, owner: int, x: int, c: int) -> None:
        """Do one operation with real contents; the place it changed must hold what the world says."""
        engine, place = self.engines[c], owner or stash_of(c)
        label = int(read_place(self.world, owner, c))
        if op == SAVE:
            engine.save_fp(self.pointers[place])
            self.saves[x] += 1
        elif op == LOAD:
            engine.load_fp(self.pointers[place])
            self.loads[x] += 1
        elif op == CLEAR:
            engine.set_fp_registers(self.initial)
        elif op == BUILD_FRAME:
            self.frames[x] = self.image(x)
            self.built[x] = self.known[int(self.world.context[x, LATEST]) - VERSION]
            self.define(x, self.initial)
        elif op == OVERWRITE:
            self.ram.write(self.offsets[place], self.latest(x))
        elif op == NEW_PLACE or (op == SAVE_SOME and label == NOBODYS):
            self.ram.write(self.offsets[place], LOST)
        elif op == LOAD_SOME and self.world.cpu[c, REGISTERS] == NOBODYS:
            engine.set_fp_registers(LOST)
        elif op == EDIT:
            image = self.edited(x, self.image(x))
            self.ram.write(self.offsets[place], image)
            if label != self.world.context[x, LATEST]:  # the world leaves a stale image stale; here a register is new
                self.other.setdefault(label, []).append(image)
        if op in (LOAD, CLEAR, LOAD_SOME):
            self.check_registers(c)
        else:
            at = self.offsets[place]
            self._compare(self.ram.map[at : at + V_BYTES], label, self._place_name(place))

    def _do_wide(self, op: int, owner: int, x: int, c: int) -> None:
        """Do one operation in a world with SVE: see `twin_sve`."""
        raise NotImplementedError

    # Uses of FP.

    def use(self, guest: bool, c: int, t: int, s: int) -> int:
        """Let a task or guest begin to use FP on CPU `c`; return the verdict. An armed trap is served first."""
        e, x = (GUEST_FP, s) if guest else (USER_FP, t)
        w = self.world
        self.note(e, c, t, s)
        if trap_of(w, e, c):
            verdict = self.segment(GUEST_TRAPS if guest else USER_TRAPS, c, t, s)[0]
            self.report.counts[N_GUEST_TRAP if guest else N_USER_TRAP] += 1
            self.traps[x] += 1
            if trap_of(w, e, c):
                return self.went(TRAP_NOT_SERVED)
            self.went(verdict)
        got, expected = self.check_registers(c), self.latest(x)
        owner = owner_of(int(w.cpu[c, REGISTERS]))
        verdict = int(touch(w, x, c))
        if verdict == OK and got != expected:
            raise Difference(f"the world says that context {x} finds its latest value on CPU {c}, the machine does not")
        if verdict != OK:
            self.wrong_uses += 1
            self.went(verdict)
            if got != expected and x not in self.wrong:
                self.wrong[x] = Wrong(x, len(self.log) - 1, expected, got, owner)
        return verdict

    def wrote(self, c: int, x: int) -> None:
        """Take what context `x` has left in the registers of CPU `c` as its latest value."""
        self.define(x, self.engines[c].fp())

    def kernel_wrote(self, c: int, t: int, *, softirq: bool) -> None:
        """Take what kernel-mode code of thread `t`, or a softirq, has left in the registers as its latest value."""
        value = self.engines[c].fp()
        if not softirq:
            self.known[int(self.world.context[t, KERNEL_LATEST])] = value
        elif value not in self.other.setdefault(SOFTIRQS, []):
            self.other[SOFTIRQS].append(value)

    def kernel_keeps(self, c: int, t: int) -> bool:
        """Tell whether the registers of CPU `c` still hold what kernel-mode code of thread `t` left there."""
        self.check_registers(c)
        return bool(self.world.cpu[c, REGISTERS] == self.world.context[t, KERNEL_LATEST])

    # Values.

    def latest(self, x: int) -> bytes:
        """Return the latest value of context `x`."""
        return self.known[int(self.world.context[x, LATEST])]

    def define(self, x: int, value: bytes) -> None:
        """Say what the latest version of context `x` is."""
        self.known[int(self.world.context[x, LATEST])] = value
        if len(self.known) > 16 * len(self.offsets) + 64:
            self._forget()

    def image(self, x: int) -> bytes:
        """Return what the image of context `x` really holds."""
        at = self.offsets[own(x)]
        return self.ram.map[at : at + V_BYTES]

    def edited(self, x: int, value: bytes) -> bytes:
        """Return a value with V0 replaced, as ptrace or KVM_SET_ONE_REG of one register does."""
        low = x << 48 | 0xED17 << 16
        return low.to_bytes(8, "little") + (low ^ (1 << 64) - 1).to_bytes(8, "little") + value[16:]

    def check_registers(self, c: int) -> bytes:
        """Hold the registers of CPU `c` against what the world says is in them; return them."""
        real = self.engines[c].fp()
        self._compare(real, int(self.world.cpu[c, REGISTERS]), f"the registers of CPU {c}")
        return real

    def _compare(self, real: bytes, label: int, what: str) -> None:
        owner = owner_of(label)
        expected = self.known.get(label) if owner else self.initial if label == NOBODYS_ZEROS else LOST
        if real == expected or real in self.other.get(label, ()):
            return
        said = f"version {label // VERSION} of owner {owner}" if owner else "nobody's value or zeros"
        latest = owner > SOFTIRQS and not owner & 1 and label == self.world.context[context_of(owner), LATEST]
        shown = "unknown" if expected is None else _first_difference(expected, real)
        raise Difference(
            f"machine and world differ after event {len(self.log)}: by the world {what} hold "
            f"{said}{' (its latest)' if latest else ''}; {shown}"
        )

    def _place_name(self, place: int) -> str:
        if place >= 0:
            return f"the image of context {context_of(place)} should"
        return f"the stash of CPU {-1 - place} should"

    def _labels(self) -> set[int]:
        """Return all labels of V that a place holds."""
        w = self.world
        return labels_in(w.cpu[:, [REGISTERS, STASH]]) | labels_in(w.context[: self.n, [IMAGE, KERNEL_IMAGE]])

    def _held(self) -> set[bytes]:
        """Return what all places hold."""
        ram = self.ram.map
        return {ram[at : at + V_BYTES] for at in self.offsets.values()} | {engine.fp() for engine in self.engines}

    def _forget(self) -> None:
        """Forget values that no place holds any more."""
        held = self._held()
        self.other = {label: [v for v in values if v in held] for label, values in self.other.items()}
        kept = self._labels() | labels_in(self.world.context[: self.n, [LATEST, INITIAL, KERNEL_LATEST]])
        self.known = {label: value for label, value in self.known.items() if label in kept}


def labels_in(facts: Ints) -> set[int]:
    """Return the labels in a part of a world."""
    return set(facts.ravel().tolist())


def _truth(function: str, op: int) -> list[int]:
    """Return what a tracer shows of a kernel function that begins (`op` 0), or asks for an operation, as `Truth`."""
    if op == SAVE and function == "fpsimd_save":
        return [int(Truth.HW_SAVE)]
    return [_TRUTHS[function]] if op == 0 and function in _TRUTHS else []


def _first_difference(expected: bytes, real: bytes) -> str:
    name, a, b = Wrong(0, 0, expected, real, 0).register()
    return f"{name}: by the world {a:#034x}, in the machine {b:#034x}"

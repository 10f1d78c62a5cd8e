"""The world beside the machine: every event happens to both, and what registers really hold must agree with the world.

This is the machine's only contact with the world. The policy's rows are found and run as everywhere else; each of their
operations is also carried out on real register contents, and after each one, and at each use of FP by a task or guest,
the contents of the place concerned are held against what the world says lies there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare
from fpstate.machine.engine import V_BYTES, Engine, image_pointers
from fpstate.machine.memory import Ram
from fpstate.rows import Rows, features_of
from fpstate.traces.trace import Kind
from fpstate.world import order as O
from fpstate.world import step as S
from fpstate.world import wide as W
from fpstate.world.events import Event, Truth
from fpstate.world.state import (
    C_REGS,
    C_SIZE,
    C_STASH,
    C_WORD,
    GUEST_TRAP,
    USER_TRAP,
    X_IMAGE,
    X_INIT,
    X_KERNEL,
    X_KVER,
    X_PTR,
    X_SIZE,
    X_VER,
    Z_WIDE,
    World,
    context_base,
    kernel_owner,
    new_world,
    plane_size,
    softirq_owner,
)

ZEROS: Final = bytes(V_BYTES)
NOBODYS: Final = bytes.fromhex("0badc0de") * 128 + bytes(16)
"""What registers hold that were lost, or that nobody has written yet."""

_SLOT = 544  # bytes from one image in RAM to the next
_UNKNOWN: Final = -2
_MIND: Final = S.MIND_BEFORE | S.MIND_AFTER
_USER_FP, _GUEST_FP = int(Event.USER_FP), int(Event.GUEST_FP)
_TRUTHS: Final = {truth.name.lower(): int(truth) for truth in Truth}


class Difference(Exception):
    """The machine and the world disagree on what a place holds."""


# The world's functions as the machine calls them.

Steps = NDArray[np.int64]  # of a row, one line an operation: what, where, and the label then at the place it changed


@bare
def _decide(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, e: int, c: int, t: int, s: int, cpus: int, n: int,
    counts: S.Counts, asked: S.Counts, one: S.Ints, steps: Steps,
) -> int:  # fmt: skip
    """Find and run a row, operation by operation, writing each into `steps`; return its number as `find_row` does.

    `one` has room for two rows. `asked[3]` gets how many operations were run, `asked[4]` what went wrong.
    """
    r = S.find_row(w, handlers, index, e, c, t, s, cpus, n, asked)
    size = plane_size(cpus, n)
    asked[3] = 0
    asked[4] = S.OK
    if r < 0:
        return r
    for i in range(rows[r, S.R_OPS]):
        one[0, S.R_OPS] = 1
        one[0, S.R_OPS + 1] = rows[r, S.R_OPS + 1 + i]
        op = rows[r, S.R_OPS + 1 + i] & 255
        a = -1
        if op != S.OOPS:
            a = S.place(w, rows[r, S.R_OPS + 1 + i] >> 8 & 15, c, t, s, cpus, n)
        fetched, before = 0, 0
        if op == S.FETCH:  # from which CPU, plus one
            fetched = w[a - X_IMAGE + X_PTR]
            before = counts[S.N_SAVE_HOST] + counts[S.N_SAVE_GUEST]
        verdict = S.run_ops(w, one, 0, c, t, s, cpus, n, counts)
        if verdict != S.OK:
            asked[4] = verdict
            break
        if op == S.FETCH and counts[S.N_SAVE_HOST] + counts[S.N_SAVE_GUEST] == before:
            fetched, before = 0, 0
        changed = c * C_SIZE + C_REGS if op == S.LOAD or op == S.CLEAR else a
        steps[i, 4] = fetched
        if len(w) > size:  # all that one operation may change in a world with SVE
            x = (a - context_base(cpus)) // X_SIZE if a >= context_base(cpus) else t
            own = context_base(cpus) + x * X_SIZE
            for k, at in enumerate(
                (
                    c * C_SIZE + C_REGS,
                    size + c * C_SIZE + C_REGS,
                    own + X_IMAGE,
                    size + own + Z_WIDE,
                    size + own + X_IMAGE,
                )
            ):
                steps[i, 5 + 2 * k] = w[at]
                steps[i, 6 + 2 * k] = w[at + 1]
        steps[i, 0] = op
        steps[i, 1] = a
        steps[i, 2] = w[changed]
        steps[i, 3] = w[changed + 1]
        asked[3] += 1
    for i in range(S.R_OPS):
        one[1, i] = rows[r, i]
    S.run_row(w, one, 1, c, t, s, cpus, n, counts)
    return r


@bare
def _use(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, guest: bool, c: int, t: int, s: int, cpus: int, n: int,
    counts: S.Counts, asked: S.Counts,
) -> int:  # fmt: skip
    return S.use(w, handlers, index, rows, guest, c, t, s, cpus, n, counts, asked)


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
        initial: Callable[[int], bytes] = lambda _: ZEROS,
    ) -> None:
        """Begin with nobody's values in all registers. `initial` gives a context's initial state: zeros in Linux."""
        self.rows = rows
        self.initial = initial
        self.engines = engines
        self.ram = ram
        self.cpus, self.n = len(engines), len(kinds)
        self.base = context_base(self.cpus)
        self.features = features_of(rows.policy)
        self.world: World = new_world(self.cpus, kinds == Kind.VCPU, rows.fields.words, self.features)
        rows.clear_mm(self.world, self.cpus, (kinds == Kind.IDLE) | (kinds == Kind.KTHREAD))
        self.start = self.world.copy()
        self.counts = np.zeros(S.N_COUNTS, np.int64)
        self.asked = np.zeros(O.ASKED_SIZE, np.int64)
        self.log: list[tuple[int, int, int, int, int]] = []
        self.now = 0
        self.wrong: dict[int, Wrong] = {}
        self.wrong_uses = 0
        self.verdicts: list[tuple[int, int]] = []  # (number in the log, verdict) of all that went wrong
        self.saves, self.loads, self.traps = ([0] * self.n for _ in range(3))
        self.used: list[int] = []  # rows used since it was last cleared
        self.frames: dict[int, bytes] = {}  # signal frames of tasks
        self.truths: dict[int, list[int]] = {}  # of each row
        self._one = np.zeros((2, S.R_SIZE), np.int32)
        self._steps: Steps = np.zeros((S.MAX_OPS, 15), np.int64)
        offset = ram.take(_SLOT * (2 * self.n + self.cpus))
        self.offsets = {self.base + x * X_SIZE + X_IMAGE: offset + _SLOT * x for x in range(self.n)}
        self.offsets |= {self.base + x * X_SIZE + X_KERNEL: offset + _SLOT * (self.n + x) for x in range(self.n)}
        self.offsets |= {c * C_SIZE + C_STASH: offset + _SLOT * (2 * self.n + c) for c in range(self.cpus)}
        self.pointers = {a: image_pointers(ram.address + at) for a, at in self.offsets.items()}
        self.known: dict[tuple[int, int], bytes] = {}  # what the value of an owner's version is
        self.other: dict[tuple[int, int], list[bytes]] = {}  # the same where there are several
        for x in range(self.n):
            self.known[x + 1, 0] = self.known[x + 1, 1] = initial(x)
            ram.write(self.offsets[self.base + x * X_SIZE + X_IMAGE], initial(x))
            self.known[kernel_owner(x, self.n), 0] = ZEROS
        for c, engine in enumerate(engines):
            engine.set_fp_registers(NOBODYS)
            ram.write(self.offsets[c * C_SIZE + C_STASH], NOBODYS)

    # Events.

    def event(self, e: int, c: int, t: int, s: int) -> int:
        """Let event `e` happen on CPU `c` to task `t` and second participant `s` (n: none); return the verdict."""
        self.note(e, c, t, s)
        if not _MIND >> e & 1 and not self.features:
            verdict = self.segment(e, c, t, s)[0]
            if verdict != S.OK:
                self.verdicts.append((len(self.log) - 1, verdict))
            return verdict
        verdict = self.begin(e, c, t, s)
        verdict = max(verdict, self.segment(e, c, t, s)[0])
        verdict = max(verdict, self.end(e, c, t, s))
        if verdict != S.OK:
            self.verdicts.append((len(self.log) - 1, verdict))
        return verdict

    def note(self, e: int, c: int, t: int, s: int) -> None:
        """Write an event to the log."""
        self.now += 100
        self.log.append((self.now, c, e, t, s if s < self.n else -1))

    def _used(self, r: int, c: int, t: int) -> None:
        """Note that row `r` is used; write what a function tracer would show of it to the log, before its event."""
        self.used.append(r)
        if r not in self.truths:
            self.truths[r] = [found for entry in self.rows.traces[r] for found in _truth(*entry)]
        if self.truths[r]:
            event = self.log.pop()
            self.log += [(event[0], c, truth, t, -1) for truth in self.truths[r]]
            self.log.append(event)

    def begin(self, e: int, c: int, t: int, s: int) -> int:
        """Do what event `e` does to values before the policy handles it."""
        w = self.world
        if e == O.FORK:
            S.copy_of_parent(w, t, s, self.cpus)
        if self.features:
            W.wide_before(w, e, t, s, self.cpus, self.n, self.features)
        if not S.MIND_BEFORE >> e & 1:
            return S.OK
        whom = t if e in (O.EXEC, O.SIGRETURN) else s
        old = self.latest(whom) if e in (O.PTRACE_WRITE, O.SETREG) else b""
        verdict = S.before_row(w, e, c, t, s, self.cpus, self.n)
        if e in (O.EXEC, O.RESET):
            self.define(whom, self.initial(whom))
        elif e == O.SIGRETURN:
            self.define(whom, self.frames.get(t, ZEROS))
        elif e in (O.PTRACE_WRITE, O.SETREG):
            self.define(whom, self.edited(whom, old))
        if e == O.NEON_END:
            self.check_registers(c)
        return verdict

    def segment(self, e: int, c: int, t: int, s: int) -> tuple[int, int]:
        """Run one row of event or point `e`, operation by operation; return verdict and next point."""
        rows, asked = self.rows, self.asked
        while True:
            r = _decide(
                self.world, rows.handlers, rows.index, rows.table, e, c, t, s, self.cpus, self.n, self.counts, asked,
                self._one, self._steps,
            )  # fmt: skip
            if r != _UNKNOWN:
                break
            rows.learn(int(asked[0]), int(asked[1]))
        if r < 0:
            return S.OK, 0
        self._used(r, c, t)
        done = int(asked[3])
        if done:
            for op, a, owner, version, other, *labels in self._steps[:done].tolist():
                if self.features:
                    self._carry_out_wide(op, a, labels, c, t)
                elif op != S.FETCH:
                    self._carry_out(op, a, (owner, version), c, t)
                elif other:  # that CPU saved, if it had anything of it
                    self._carry_out(S.SAVE, a, (owner, version), other - 1, t)
        return int(asked[4]), int(rows.table[r, S.R_NEXT]) if rows.interruptible else 0

    def end(self, e: int, c: int, t: int, s: int) -> int:
        """Do what event `e` does to values after the policy has handled it."""
        w = self.world
        wide = W.wide_after(w, e, c, t, s, self.cpus, self.n, self.features) if self.features else S.OK
        if not S.MIND_AFTER >> e & 1:
            return wide
        verdict = max(wide, S.after_row(w, e, c, t, s, self.cpus, self.n))
        if e == O.FORK:
            parent, child = (self.offsets[self.base + x * X_SIZE + X_IMAGE] for x in (t, s))
            image = self.ram.map[parent : parent + V_BYTES]
            self.ram.write(child, image)
            self.define(s, self.latest(t))
            label = self._label(self.base + s * X_SIZE + X_IMAGE)
            if label[0] == s + 1:
                self.known[label] = image
        elif e in (O.PM_ENTER, O.DOWN):
            self.engines[c].set_fp_registers(NOBODYS)
        elif e == O.SIGNAL:
            self.frames[t] = self.image(t)
        return verdict

    def _carry_out(self, op: int, a: int, label: tuple[int, int], c: int, t: int) -> None:
        """Do one operation with real contents; the place it changed must hold what `label` says."""
        engine = self.engines[c]
        x = (a - self.base) // X_SIZE if a >= self.base else t
        if op == S.SAVE:
            engine.save_fp(self.pointers[a])
            self.saves[x] += 1
        elif op == S.LOAD:
            engine.load_fp(self.pointers[a])
            self.loads[x] += 1
        elif op == S.CLEAR:
            engine.set_fp_registers(self.known[x + 1, int(self.world[self.base + x * X_SIZE + X_INIT])])
        elif op == S.OVERWRITE:
            self.ram.write(self.offsets[a], self.latest(x))
        elif op == S.EDIT:
            image = self.edited(x, self.image(x))
            self.ram.write(self.offsets[a], image)
            if label != (x + 1, self.version(x)):  # the world leaves a stale image stale; here a register of it is new
                self.other.setdefault(label, []).append(image)
        if op in (S.LOAD, S.CLEAR):
            self._compare(engine.fp(), label, c * C_SIZE + C_REGS)
        else:
            at = self.offsets[a]
            self._compare(self.ram.map[at : at + V_BYTES], label, a)

    # Uses of FP.

    def use(self, guest: bool, c: int, t: int, s: int) -> int:
        """Let a task or guest begin to use FP on CPU `c`; return the verdict. An armed trap is served first."""
        trap = GUEST_TRAP if guest else USER_TRAP
        x = s if guest else t
        rows, w = self.rows, self.world
        self.note(_GUEST_FP if guest else _USER_FP, c, t, s)
        if w[c * C_SIZE + C_WORD] & trap:
            e = O.GUEST_TRAPS if guest else O.USER_TRAPS
            verdict = self.segment(e, c, t, s)[0]
            self.counts[S.N_GUEST_TRAP if guest else S.N_USER_TRAP] += 1
            self.traps[x] += 1
            at = len(self.log) - 1
            if w[c * C_SIZE + C_WORD] & trap:
                self.verdicts.append((at, S.TRAP_NOT_SERVED))
                return S.TRAP_NOT_SERVED
            if verdict != S.OK:
                self.verdicts.append((at, verdict))
        at = len(self.log) - 1
        got = self.check_registers(c)
        owner = int(w[c * C_SIZE + C_REGS])
        expected = self.latest(x)
        verdict = _use(
            w, rows.handlers, rows.index, rows.table, guest, c, t, s, self.cpus, self.n, self.counts, self.asked
        )
        if (verdict == S.OK) and got != expected:
            raise Difference(f"the world says that context {x} finds its latest value on CPU {c}, the machine does not")
        if verdict != S.OK:
            self.wrong_uses += 1
            self.verdicts.append((at, verdict))
            if got != expected and x not in self.wrong:
                self.wrong[x] = Wrong(x, at, expected, got, owner)
        return verdict

    def wrote(self, c: int, x: int) -> None:
        """Take what context `x` has left in the registers of CPU `c` as its latest value."""
        self.define(x, self.engines[c].fp())

    def kernel_wrote(self, c: int, t: int, *, softirq: bool) -> None:
        """Take what kernel-mode code of thread `t`, or a softirq, has left in the registers as its latest value."""
        value = self.engines[c].fp()
        if softirq:
            values = self.other.setdefault((softirq_owner(self.n), 0), [])
            if value not in values:
                values.append(value)
        else:
            version = int(self.world[self.base + t * X_SIZE + X_KVER])
            self.known[kernel_owner(t, self.n), version] = value

    def kernel_keeps(self, c: int, t: int) -> bool:
        """Tell whether the registers of CPU `c` still hold what kernel-mode code of thread `t` left there."""
        self.check_registers(c)
        version = int(self.world[self.base + t * X_SIZE + X_KVER])
        return self._label(c * C_SIZE + C_REGS) == (kernel_owner(t, self.n), version)

    def _carry_out_wide(self, op: int, a: int, labels: list[int], c: int, t: int) -> None:
        """Do one operation in a world with SVE: see `twin_sve`."""
        raise NotImplementedError

    # Values.

    def version(self, x: int) -> int:
        """Return the number of the latest version of context `x`."""
        return int(self.world[self.base + x * X_SIZE + X_VER])

    def latest(self, x: int) -> bytes:
        """Return the latest value of context `x`."""
        return self.known[x + 1, self.version(x)]

    def define(self, x: int, value: bytes) -> None:
        """Say what the latest version of context `x` is."""
        self.known[x + 1, self.version(x)] = value
        if len(self.known) > 16 * len(self.offsets) + 64:
            self._forget()

    def image(self, x: int) -> bytes:
        """Return what the image of context `x` really holds."""
        at = self.offsets[self.base + x * X_SIZE + X_IMAGE]
        return self.ram.map[at : at + V_BYTES]

    def edited(self, x: int, value: bytes) -> bytes:
        """Return a value with V0 replaced, as ptrace or KVM_SET_ONE_REG of one register does."""
        low = x << 48 | 0xED17 << 16
        return low.to_bytes(8, "little") + (low ^ (1 << 64) - 1).to_bytes(8, "little") + value[16:]

    def _label(self, place: int) -> tuple[int, int]:
        return int(self.world[place]), int(self.world[place + 1])

    def check_registers(self, c: int) -> bytes:
        """Hold the registers of CPU `c` against what the world says is in them; return them."""
        real = self.engines[c].fp()
        place = c * C_SIZE + C_REGS
        self._compare(real, self._label(place), place)
        return real

    def _compare(self, real: bytes, label: tuple[int, int], place: int) -> None:
        expected = self.known.get(label) if label[0] else NOBODYS
        if real == expected or real in self.other.get(label, ()):
            return
        owner, version = label
        said = f"version {version} of owner {owner}" if owner else "nobody's value"
        latest = " (its latest)" if owner and owner <= self.n and version == self.version(owner - 1) else ""
        shown = "unknown" if expected is None else _first_difference(expected, real)
        raise Difference(
            f"machine and world differ after event {len(self.log)}: by the world {self._place_name(place)} hold "
            f"{said}{latest}; {shown}"
        )

    def _place_name(self, place: int) -> str:
        if place >= self.base:
            return f"the image of context {(place - self.base) // X_SIZE} should"
        c = place // C_SIZE
        return f"the registers of CPU {c}" if place % C_SIZE == C_REGS else f"the stash of CPU {c} should"

    def _places(self) -> list[int]:
        """Return all places that can hold a value of V."""
        return [*self.offsets, *(c * C_SIZE + C_REGS for c in range(self.cpus))]

    def _forget(self) -> None:
        """Forget values that no place holds any more."""
        records = self.world[self.base : self.base + self.n * X_SIZE].reshape(self.n, X_SIZE)
        kept = {self._label(a) for a in self._places()}
        for x in range(self.n):
            kept |= {(x + 1, int(records[x, X_VER])), (x + 1, int(records[x, X_INIT]))}
            kept.add((kernel_owner(x, self.n), int(records[x, X_KVER])))
        self.known = {label: value for label, value in self.known.items() if label in kept}


def _truth(function: str, op: int) -> list[int]:
    """Return what a tracer shows of a kernel function that begins (`op` 0), or asks for an operation, as `Truth`."""
    if op == S.SAVE and function == "fpsimd_save":
        return [int(Truth.HW_SAVE)]
    return [_TRUTHS[function]] if op == 0 and function in _TRUTHS else []


def _first_difference(expected: bytes, real: bytes) -> str:
    name, a, b = Wrong(0, 0, expected, real, 0).register()
    return f"{name}: by the world {a:#034x}, in the machine {b:#034x}"

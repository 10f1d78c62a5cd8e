"""The machine driven along a path of the checker: each use of FP is real code that checks a pattern, and writes one.

The checker's own walk gives each step; the machine does the same event, and its world must be the checker's, word for
word, after every step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fpstate.machine.elf import PAGE, bundled
from fpstate.machine.engine import PC, TPIDR, USER_PSTATE, Registers, Stop
from fpstate.machine.host import Machine
from fpstate.machine.memory import KERNEL_BUFFER, Space
from fpstate.machine.twin import ZEROS, Difference, Twin, Wrong
from fpstate.paths.order import (
    DOWN,
    DYING,
    EXEC,
    EXPIRE,
    FORK,
    FREE_VCPU,
    GUEST_FP,
    GUEST_TRAPS,
    KERNEL,
    NEON_BEGIN,
    NEON_END,
    PM_ENTER,
    PM_EXIT,
    PREEMPTIBLE,
    PTRACE_WRITE,
    PUT,
    RESET,
    RESUME,
    RUN,
    RUN_NEON,
    RUN_OUT,
    RUN_OUT_NEON,
    SETREG,
    SIGNAL,
    SIGRETURN,
    SOFTIRQ,
    SOFTIRQ_END,
    SOFTIRQ_ONLY,
    SWITCH,
    TAKE_OVER,
    UP,
    USER_FP,
    USER_TRAPS,
    arrive,
    cpu_of,
    kind_of,
    never_ends,
    other_of,
    other_participant,
    recycle,
    set_out,
    stop_at,
    toss,
)
from fpstate.paths.properties import DEFAULT, bits_of, first_name
from fpstate.paths.scope import Scope
from fpstate.paths.tell import Step, tell
from fpstate.paths.walk import Walker
from fpstate.policies.base import Policy
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Kind
from fpstate.world.events import N_EVENTS
from fpstate.world.state import CURRENT, FRAME, MODE, POINT, RUNS, SECOND, WORD, copy_world, kernel_of, own
from fpstate.world.step import trap_of
from fpstate.world.table import A_EVENT, A_KEY
from fpstate.world.verdicts import NO_ROW, OK, TRAP_NOT_SERVED

GENERATION, LOW, WHOSE, HIGH = 19, 20, 22, 23  # registers of the pattern program: see pattern.S
NOBODYS_PATTERN: Final = 0xFFFF
LIFE_SHIFT: Final = 6  # in whose pattern it is: the number of the context below, of its life above
HASHED: Final = bytes(range(128))


def pattern(whose: int, generation: int) -> bytes:
    """Return what pattern.S leaves in V0-V31, and FPSR and FPCR, as an image."""
    words = [whose << 48 | generation << 16 | n for n in range(32)]
    return b"".join(w.to_bytes(8, "little") + (w ^ (1 << 64) - 1).to_bytes(8, "little") for w in words) + bytes(16)


INITIAL_STATE: Final = pattern(NOBODYS_PATTERN, 0)
"""Stands for zeros: a pattern, so that it cannot be found by chance."""


@dataclass(frozen=True)
class Read:
    """One reading of registers, or of what should hold a context's values, on a path: what it found."""

    step: int
    who: str
    what: str  # "v3", "its signal frame: v0", "its hash"
    expected: str
    got: str
    whose: str  # whose pattern that is, or ""
    ok: bool

    def sentence(self) -> str:
        """Return it as a line of text."""
        if self.ok:
            return f"step {self.step}: {self.who} finds its latest values"
        whose = f" ({self.whose})" if self.whose else ""
        return f"step {self.step}: {self.who}: {self.what} is {self.got}{whose}, expected {self.expected}"


@dataclass(frozen=True)
class Followed:
    """A path on the machine. `wrong` and `blame` are the checker's, `reads` what real code found."""

    policy: str
    scope: Scope
    code: str
    property: str
    steps: list[Step]
    reads: list[Read]
    wrong: str
    blame: str

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        return asdict(self)


class Follower:
    """The machine's side of a walk: contexts that run the pattern program, and a world that must stay the checker's."""

    def __init__(self, walker: Walker, scope: Scope) -> None:
        self.names, self.bounds = walker.names, walker.bounds
        kinds = [Kind.IDLE] * scope.cpus + [Kind.USER] * scope.tasks + [Kind.KTHREAD] * scope.kthreads
        kinds += [Kind.VCPU] * scope.vcpus
        self.machine = machine = Machine(scope.cpus, 8)
        self.program, self.kernel_program = bundled("pattern"), bundled("kernel")
        self.space, self.kernel = Space(machine.ram), Space(machine.ram)
        self.space.load(self.program, machine.text(self.program))
        self.kernel.load(self.kernel_program, machine.text(self.kernel_program))
        self.kernel.map(KERNEL_BUFFER, PAGE)
        self.kernel.write(KERNEL_BUFFER, HASHED)
        self._hash(0, "hash_begin", 0, 64)
        self.hash = self._hash(0, "hash_end", 64, 64)
        self.lives = [0] * len(kinds)
        self.twin = Twin(walker.rows, np.array(kinds, np.uint8), machine.engines, machine.ram, INITIAL_STATE)
        copy_world(walker.world, self.twin.world)
        if scope.boot == "initial":
            for engine in machine.engines:
                engine.set_fp_registers(INITIAL_STATE)
        self.registers = [Registers(USER_PSTATE) for _ in kinds]
        self.frames: dict[int, tuple[int, ...]] = {}
        for x in range(len(kinds)):
            self._begin(x)
        self.reads: list[Read] = []
        self.number = 0

    # One move, in the order of `paths.order.make_move`.

    def move(self, move: int) -> int:
        """Make one move on the machine; return the verdict."""
        self.number += 1
        toss(self.twin.world, self.bounds, move, second=False)
        verdict = self._move(move)
        self.twin.world.cpu[cpu_of(move), WORD] &= ~self.bounds.coin
        return verdict

    def _move(self, move: int) -> int:
        twin, w = self.twin, self.twin.world
        kind, c = kind_of(move), cpu_of(move)
        t = int(w.cpu[c, CURRENT])
        s = int(other_participant(w, kind, t, other_of(move)))
        if kind == SWITCH:
            return self._switch(move, t, s)
        if kind in (USER_FP, GUEST_FP):
            return self._use(kind, c, t, s)
        if kind == RESUME:
            return self._resume(c, t)
        if kind == EXPIRE:
            w.context[s, WORD] |= self.bounds.timer
            return OK
        set_out(w, kind, c, t, s)
        if kind in (DOWN, UP):
            return self._happen(kind, c, twin.n, twin.n)
        verdict = self._happen(kind, c, t, s)
        if kind in (SOFTIRQ, PM_ENTER):
            toss(w, self.bounds, move, second=True)
            verdict = max(verdict, self._happen(SOFTIRQ_END if kind == SOFTIRQ else PM_EXIT, c, t, s, straight=True))
        if w.context[t, POINT] == 0:
            arrive(w, twin.rows.table, self.bounds, kind, t, s)
            if kind == FREE_VCPU:
                self._made_anew(s)
        return verdict

    def _resume(self, c: int, t: int) -> int:
        """Let the handler in which a thread was interrupted go on."""
        w = self.twin.world
        point, s = int(w.context[t, POINT]) >> 1, int(w.context[t, SECOND]) - 1
        e = int(self.twin.rows.table.event_of_point[point])
        verdict, after = self.twin.segment(N_EVENTS + point, c, t, s)
        stop_at(w, self.twin.rows.table, e, after, t, s)
        if not after:
            verdict = max(verdict, self._finish(e, c, t, s))
            arrive(w, self.twin.rows.table, self.bounds, e, t, s)
            if e == FREE_VCPU:
                self._made_anew(s)
        return verdict

    def _happen(self, e: int, c: int, t: int, s: int, *, straight: bool = False) -> int:
        twin = self.twin
        twin.note(e, c, t, s)
        if e == NEON_END:
            self._neon_end(c, t)
        if e in (EXEC, RESET):
            self.lives[t if e == EXEC else s] += 1
        verdict = twin.begin(e, c, t, s)
        found, after = twin.segment(e, c, t, s)
        verdict = max(verdict, found)
        if after and not straight and (PREEMPTIBLE | SOFTIRQ_ONLY) >> e & 1:
            stop_at(twin.world, twin.rows.table, e, after, t, s)
            return verdict
        while after:
            found, after = twin.segment(N_EVENTS + after, c, t, s)
            verdict = max(verdict, found)
        return max(verdict, self._finish(e, c, t, s))

    def _finish(self, e: int, c: int, t: int, s: int) -> int:
        """Do what follows an event's handler: its effect on values, on general registers, and kernel-mode NEON."""
        twin = self.twin
        verdict = twin.end(e, c, t, s)
        if e == NEON_BEGIN:
            self._hash(c, "hash_begin", 0, 64)
            twin.kernel_wrote(c, t, softirq=False)
        elif e == SOFTIRQ:
            self._hash(c, "hash_begin", 32, 32)
            twin.kernel_wrote(c, t, softirq=True)
        elif e in (EXEC, RESET):
            self._begin(t if e == EXEC else s)
        elif e == FORK:
            tpidr = self.registers[s].values[TPIDR]
            self._set(s, self._get(t))
            self.registers[s].values[TPIDR] = tpidr
        elif e == TAKE_OVER:
            tpidr = self.registers[t].values[TPIDR]
            self._set(t, self._get(s))
            self.registers[t].values[TPIDR] = tpidr
            if s in self.frames:
                self.frames[t] = self.frames.pop(s)
        elif e == SIGNAL:
            self._frame(t)
            self._change_frame(t)
            if t in twin.built:
                self._begin(t)
        elif e == SIGRETURN:
            self._set(t, self.frames[t])
        elif e in (PTRACE_WRITE, SETREG):
            v0 = twin.latest(s)[:16]
            values = self.registers[s].values
            values[LOW], values[HIGH] = int.from_bytes(v0[:8], "little"), int.from_bytes(v0[8:], "little")
        return verdict

    def _switch(self, move: int, t: int, s: int) -> int:
        w, c = self.twin.world, cpu_of(move)
        mode = int(w.context[t, MODE])
        verdict = OK
        if mode in (RUN, RUN_NEON):
            verdict = self._happen(PUT, c, t, int(w.context[t, RUNS]) - 1, straight=True)
            w.context[t, MODE] = RUN_OUT if mode == RUN else RUN_OUT_NEON
            toss(w, self.bounds, move, second=True)
        verdict = max(verdict, self._happen(SWITCH, c, t, s, straight=True))
        w.cpu[c, CURRENT] = s
        if mode == DYING:
            recycle(w, self.bounds, t)
            w.context[t, FRAME] = 0
            self._made_anew(t)
        return verdict

    # Uses of FP.

    def _use(self, e: int, c: int, t: int, s: int) -> int:
        w = self.twin.world
        if not trap_of(w, e, c):
            return self._run_pattern(e, c, t, s)
        guest = e == GUEST_FP
        endless = OK if guest else self._never_ends(e, c, t)
        if not guest:
            w.context[t, MODE] = KERNEL
        verdict = self._happen(GUEST_TRAPS if guest else USER_TRAPS, c, t, s)
        if verdict == OK and not w.context[t, POINT] and trap_of(w, e, c):
            return TRAP_NOT_SERVED
        return verdict if verdict != OK else endless

    def _never_ends(self, e: int, c: int, t: int) -> int:
        """Return what `paths.order.never_ends` says of a use that traps."""
        twin = self.twin
        while True:
            verdict = int(never_ends(twin.world, twin.rows.table, twin.report, e, c, t))
            if verdict != NO_ROW:
                return verdict
            twin.rows.learn(int(twin.report.asked[A_EVENT]), int(twin.report.asked[A_KEY]))

    def _run_pattern(self, e: int, c: int, t: int, s: int) -> int:
        """Let a context's own code check its registers and write the next pattern."""
        engine, twin = self.machine.engines[c], self.twin
        guest = e == GUEST_FP
        x = s if guest else t
        verdicts: list[int] = []

        def first_use() -> bool:
            verdicts.append(twin.use(guest, c, t, s))
            return True

        before, expected = engine.fp(), twin.latest(x)
        self.registers[x].values[PC] = self.program.entry
        engine.on_fp = first_use
        engine.enter(self.space, privileged=False, fp_on=False)
        engine.bring(self.registers[x])
        engine.run(100_000)
        assert engine.stop is Stop.SVC, f"the pattern program stopped at {engine.pc():#x}"
        found = engine.x(0)
        engine.put_away()
        twin.wrote(c, x)
        name, wanted, got = Wrong(x, 0, expected, before, 0).register()
        by_program = "" if found >> 63 else f"v{found}"
        if by_program != (name if name.startswith("v") else ""):
            raise Difference(f"the program finds {by_program or 'no register'} wrong, the machine {name or 'none'}")
        self._note(self.names[x], name, wanted, got)
        return verdicts[0]

    def _frame(self, t: int) -> None:
        """Hold a signal frame, just built, against the task's latest value."""
        should = self.twin.built.get(t, self.twin.latest(t))
        name, wanted, got = Wrong(t, 0, should, self.twin.frames[t], 0).register()
        self._note(self.names[t], f"its signal frame: {name}" if name else "", wanted, got)

    def _change_frame(self, t: int) -> None:
        """Let the signal's handler change the frame, as it may: what comes back from it is a new value."""
        before = self._get(t)
        whose, generation = self.registers[t].values[TPIDR], 1 << 15 | self.number & 0x7FFF
        self.twin.frames[t] = pattern(whose, generation)
        self._expect(t, whose, generation)
        self.frames[t] = self._get(t)
        self._set(t, before)

    def _expect(self, x: int, whose: int, generation: int) -> None:
        """Give a context the general registers that go with a pattern."""
        values = self.registers[x].values
        values[GENERATION], values[WHOSE] = generation, whose
        v0 = pattern(whose, generation)
        values[LOW], values[HIGH] = int.from_bytes(v0[:8], "little"), int.from_bytes(v0[8:16], "little")

    def _note(self, who: str, what: str, wanted: int, got: int) -> None:
        """Keep what a reading found; `what` is "" when all was right."""
        low, high = got & (1 << 64) - 1, got >> 64
        whose = ""
        number = low >> 48 & (1 << LIFE_SHIFT) - 1
        if low ^ high == (1 << 64) - 1 and low >> 48 == NOBODYS_PATTERN:
            whose = "the initial state"
        elif low ^ high == (1 << 64) - 1 and number < len(self.names):
            whose = f"the pattern of {self.names[number]}, generation {low >> 16 & 0xFFFF}"
        self.reads.append(Read(self.number, who, what, f"{wanted:#034x}", f"{got:#034x}", whose, not what))

    def _neon_end(self, c: int, t: int) -> None:
        """Do the second half of a hash in the kernel, whose registers must have come through."""
        engine = self.machine.engines[c]
        kept, before = self.twin.kernel_keeps(c, t), engine.fp()
        result = self._hash(c, "hash_end", 64, 64)
        if kept:
            self.twin.kernel_wrote(c, t, softirq=False)
        else:
            engine.set_fp_registers(before)
        good = result == self.hash
        if kept and not good:
            raise Difference(f"the hash in the kernel is {result:#x} although its registers were kept")
        who = f"kernel({self.names[t]})"
        self.reads.append(Read(self.number, who, "its hash", f"{self.hash:#018x}", f"{result:#018x}", "", good))

    def _hash(self, c: int, name: str, at: int, size: int) -> int:
        engine = self.machine.engines[c]
        engine.put_away()
        engine.enter(self.kernel, privileged=True, fp_on=True)
        engine.set_x(0, KERNEL_BUFFER + at)
        engine.set_x(1, size)
        engine.set_pc(self.kernel_program.symbols[name])
        engine.run(100_000)
        return engine.x(0)

    # General registers and memory of contexts.

    def _get(self, x: int) -> tuple[int, ...]:
        return tuple(self.registers[x].values)

    def _set(self, x: int, values: tuple[int, ...]) -> None:
        self.registers[x].values[:] = list(values)

    def _begin(self, x: int) -> None:
        """Give a context the general registers that go with the initial state, and a name of its own for this life."""
        self.registers[x].values[TPIDR] = x | self.lives[x] % 512 << LIFE_SHIFT
        self._expect(x, NOBODYS_PATTERN, 0)

    def _made_anew(self, x: int) -> None:
        """Give the record of a context to a new one, as the world has it."""
        twin = self.twin
        self.lives[x] += 1
        twin.ram.write(twin.offsets[own(x)], INITIAL_STATE)
        twin.ram.write(twin.offsets[kernel_of(x)], ZEROS)
        twin.define(x, INITIAL_STATE)
        self._begin(x)


def follow_path(policy: type[Policy], scope: Scope, code: str) -> Followed:
    """Drive a machine along the path `code` names, until it ends or something goes wrong.

    Raise FpstateError for a code that is no path, `twin.Difference` when the machine and the checker part.
    """
    walker = Walker(Rows(policy, interruptible=True), scope)
    follower = Follower(walker, scope)
    wanted = bits_of(DEFAULT)
    choices: list[int] = []
    broken, verdict = 0, OK
    for word in code.split("/") if code else []:
        move = walker.move_called(word)
        after, verdict, broken = walker.attempt(move)
        broken &= wanted
        ours = follower.move(move)
        number = len(choices) + 1
        if ours != verdict:
            raise Difference(f"at step {number} the checker says {verdict}, the machine {ours}")
        w = follower.twin.world
        if not (np.array_equal(after.cpu, w.cpu) and np.array_equal(after.context, w.context)):
            raise Difference(f"after step {number} the checker's world differs from the machine's")
        walker.go(move, after)
        choices.append(int(word))
        if broken:
            break
    told = tell(walker, choices, broken, verdict)
    name = first_name(broken) if broken else ""
    return Followed(policy.name, scope, code, name, told.steps, follower.reads, told.wrong, told.blame)

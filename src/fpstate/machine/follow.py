"""The machine driven along a path of the checker: each use of FP is real code that checks a pattern, and writes one.

The checker's own walk gives each step; the machine does the same event, and its world must be the checker's, word for
word, after every step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from fpstate.check import path as P
from fpstate.check.properties import DEFAULT, bits_of, first_name
from fpstate.check.run import plan_for
from fpstate.check.scope import Scope, build
from fpstate.errors import FpstateError
from fpstate.machine.elf import PAGE, bundled
from fpstate.machine.engine import PC, TPIDR, USER_PSTATE, Registers, Stop
from fpstate.machine.host import Machine
from fpstate.machine.memory import KERNEL_BUFFER, Space
from fpstate.machine.twin import ZEROS, Difference, Twin, Wrong
from fpstate.policies.base import Policy
from fpstate.rows import Rows
from fpstate.traces.trace import Kind
from fpstate.world import order as O
from fpstate.world import step as S
from fpstate.world.events import N_EVENTS
from fpstate.world.state import (
    C_CURRENT,
    C_OFF,
    C_SIZE,
    C_WORD,
    FREE,
    GUEST_TRAP,
    USER_TRAP,
    X_FRAME,
    X_IMAGE,
    X_KERNEL,
    X_MODE,
    X_POINT,
    X_RUNS,
    X_SECOND,
    X_SIZE,
)

GENERATION, LOW, WHOSE, HIGH = 19, 20, 22, 23  # registers of the pattern program: see pattern.S
HASHED: Final = bytes(range(128))


def pattern(whose: int, generation: int) -> bytes:
    """Return what pattern.S leaves in V0-V31, and FPSR and FPCR, as an image."""
    words = [whose << 48 | generation << 16 | n for n in range(32)]
    return b"".join(w.to_bytes(8, "little") + (w ^ (1 << 64) - 1).to_bytes(8, "little") for w in words) + bytes(16)


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
    steps: list[P.Step]
    reads: list[Read]
    wrong: str
    blame: str

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        return asdict(self)


class Follower:
    """The machine's side of a walk: contexts that run the pattern program, and a world that must stay the checker's."""

    def __init__(self, walker: P.Walker, scope: Scope) -> None:
        self.names, self.z = walker.names, walker.z
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
        self.twin = Twin(walker.rows, np.array(kinds, np.uint8), machine.engines, machine.ram, self._initial)
        self.twin.world[:] = walker.world
        self.registers = [Registers(USER_PSTATE) for _ in kinds]
        self.frames: dict[int, tuple[int, ...]] = {}
        for x, registers in enumerate(self.registers):
            registers.values[TPIDR] = x
            self._begin(x)
        self.reads: list[Read] = []
        self.number = 0

    # One move, in the order of `world.order.make_move`.

    def move(self, move: int) -> int:
        """Make one move on the machine; return the verdict."""
        self.number += 1
        twin, z, w = self.twin, self.z, self.twin.world
        kind, c = move >> 12, move >> 8 & 15
        t = int(w[c * C_SIZE + C_CURRENT])
        s = int(O.second_of(w, z, kind, t, move & 255))
        if kind == O.SWITCH:
            return self._switch(c, t, s)
        if kind in (O.USER_FP, O.GUEST_FP):
            return self._use(c, t, s, kind == O.GUEST_FP)
        ta = twin.base + t * X_SIZE
        if kind == O.RESUME:
            point = int(w[ta + X_POINT]) >> 1
            e, s = int(twin.rows.event_of_point[point]), int(w[ta + X_SECOND]) - 1
            verdict, after = twin.segment(N_EVENTS + point, c, t, s)
            w[ta + X_POINT] = after << 1 | (O._PREEMPTIBLE >> e & 1) if after else 0
            if not after:
                w[ta + X_SECOND] = 0
                verdict = max(verdict, self._finish(e, c, t, s))
                O.arrive(w, z, e, t, s)
            return verdict
        if kind == O.SYSCALL:
            w[ta + X_MODE] = O.KERNEL
        elif kind == O.RESET:
            w[twin.base + s * X_SIZE + X_MODE] = O.KERNEL
        elif kind in (O.DOWN, O.UP):
            w[c * C_SIZE + C_OFF] = kind == O.DOWN
            t = s = twin.n
        verdict = self._happen(kind, c, t, s, straight=False)
        if kind in (O.SOFTIRQ, O.PM_ENTER):
            end = O.SOFTIRQ_END if kind == O.SOFTIRQ else O.PM_EXIT
            verdict = max(verdict, self._happen(end, c, t, s, straight=True))
        if t < twin.n and w[ta + X_POINT] == 0:
            O.arrive(w, z, kind, t, s)
            if kind == O.FREE_VCPU:
                self._made_anew(s)
        return verdict

    def _happen(self, e: int, c: int, t: int, s: int, *, straight: bool) -> int:
        twin, w = self.twin, self.twin.world
        twin.note(e, c, t, s)
        verdict = S.OK
        if e == O.NEON_END:
            verdict = self._neon_end(c, t)
        if e in (O.EXEC, O.RESET):
            self.lives[t if e == O.EXEC else s] += 1
        verdict = max(verdict, twin.begin(e, c, t, s))
        found, after = twin.segment(e, c, t, s)
        verdict = max(verdict, found)
        while after:
            if not straight and (O._PREEMPTIBLE | O._SOFTIRQ_ONLY) >> e & 1:
                ta = twin.base + t * X_SIZE
                w[ta + X_POINT], w[ta + X_SECOND] = after << 1 | (O._PREEMPTIBLE >> e & 1), s + 1
                return verdict
            found, after = twin.segment(N_EVENTS + after, c, t, s)
            verdict = max(verdict, found)
        return max(verdict, self._finish(e, c, t, s))

    def _finish(self, e: int, c: int, t: int, s: int) -> int:
        """Do what follows an event's handler: its effect on values, on general registers, and kernel-mode NEON."""
        twin = self.twin
        verdict = twin.end(e, c, t, s)
        if e == O.NEON_BEGIN:
            self._hash(c, "hash_begin", 0, 64)
            twin.kernel_wrote(c, t, softirq=False)
        elif e == O.SOFTIRQ:
            self._hash(c, "hash_begin", 32, 32)
            twin.kernel_wrote(c, t, softirq=True)
        elif e in (O.EXEC, O.RESET):
            self._begin(t if e == O.EXEC else s)
        elif e == O.FORK:
            own = self.registers[s].values[TPIDR]
            self._set(s, self._get(t))
            self.registers[s].values[TPIDR] = own
        elif e == O.SIGNAL:
            self.frames[t] = self._get(t)
            self._frame(t)
        elif e == O.SIGRETURN:
            self._set(t, self.frames[t])
        elif e in (O.PTRACE_WRITE, O.SETREG):
            v0 = twin.latest(s)[:16]
            values = self.registers[s].values
            values[LOW], values[HIGH] = int.from_bytes(v0[:8], "little"), int.from_bytes(v0[8:], "little")
        return verdict

    def _switch(self, c: int, t: int, s: int) -> int:
        twin, w = self.twin, self.twin.world
        ta = twin.base + t * X_SIZE
        mode = int(w[ta + X_MODE])
        verdict = S.OK
        if mode in (O.RUN, O.RUN_NEON):
            verdict = self._happen(O.PUT, c, t, int(w[ta + X_RUNS]) - 1, straight=True)
            w[ta + X_MODE] = O.RUN_OUT if mode == O.RUN else O.RUN_OUT_NEON
        verdict = max(verdict, self._happen(O.SWITCH, c, t, s, straight=True))
        w[c * C_SIZE + C_CURRENT] = s
        if mode == O.DYING:
            O.recycle(w, self.z, t)
            w[ta + X_MODE], w[ta + X_FRAME] = FREE, 0
            self._made_anew(t)
        return verdict

    # Uses of FP.

    def _use(self, c: int, t: int, s: int, guest: bool) -> int:
        twin, w = self.twin, self.twin.world
        trap = GUEST_TRAP if guest else USER_TRAP
        if not w[c * C_SIZE + C_WORD] & trap:
            return self._run_pattern(c, t, s, guest)
        ta = twin.base + t * X_SIZE
        if not guest:
            w[ta + X_MODE] = O.KERNEL
        verdict = self._happen(O.GUEST_TRAPS if guest else O.USER_TRAPS, c, t, s, straight=guest)
        if verdict == S.OK and not w[ta + X_POINT] and w[c * C_SIZE + C_WORD] & trap:
            return S.TRAP_NOT_SERVED
        return verdict

    def _run_pattern(self, c: int, t: int, s: int, guest: bool) -> int:
        """Let a context's own code check its registers and write the next pattern."""
        engine, twin = self.machine.engines[c], self.twin
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
        name, wanted, got = Wrong(t, 0, self.twin.latest(t), self.twin.frames[t], 0).register()
        self._note(self.names[t], f"its signal frame: {name}" if name else "", wanted, got)

    def _note(self, who: str, what: str, wanted: int, got: int) -> None:
        """Keep what a reading found; `what` is "" when all was right."""
        low, high = got & (1 << 64) - 1, got >> 64
        whose = ""
        if low ^ high == (1 << 64) - 1 and low >> 48 < len(self.names):
            whose = f"the pattern of {self.names[low >> 48]}, generation {low >> 16 & 0xFFFF}"
        self.reads.append(Read(self.number, who, what, f"{wanted:#034x}", f"{got:#034x}", whose, not what))

    def _neon_end(self, c: int, t: int) -> int:
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
        return S.OK

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

    def _initial(self, x: int) -> bytes:
        """Return the initial state of a context's present life: a pattern, not zeros, so that a leak is seen."""
        return pattern(x, self.lives[x] << 8)

    def _begin(self, x: int) -> None:
        """Give a context the general registers that go with its initial state."""
        values = self.registers[x].values
        values[GENERATION], values[WHOSE] = self.lives[x] << 8, x
        v0 = self._initial(x)[:16]
        values[LOW], values[HIGH] = int.from_bytes(v0[:8], "little"), int.from_bytes(v0[8:], "little")

    def _made_anew(self, x: int) -> None:
        """Give the record of a context to a new one, as the world has it."""
        twin = self.twin
        self.lives[x] += 1
        twin.ram.write(twin.offsets[twin.base + x * X_SIZE + X_IMAGE], self._initial(x))
        twin.ram.write(twin.offsets[twin.base + x * X_SIZE + X_KERNEL], ZEROS)
        twin.define(x, self._initial(x))
        self._begin(x)


def follow_path(policy: type[Policy], scope: Scope, code: str) -> Followed:
    """Drive a machine along the path `code` names, until it ends or something goes wrong.

    Raise FpstateError for a code that is no path, `twin.Difference` when the machine and the checker part.
    """
    rows = Rows(policy, interruptible=True)
    z, world = build(scope, rows)
    walker = P.Walker(rows, plan_for(scope, rows, fold=False), z, world, scope)
    follower = Follower(walker, scope)
    wanted = bits_of(DEFAULT)
    choices: list[int] = []
    for word in code.split("/") if code else []:
        moves = walker.enabled()
        if not word.isdigit() or int(word) >= len(moves):
            listed = ", ".join(f"{i} {P._label(walker, m)}" for i, m in enumerate(moves))
            given = f"the path's step {len(choices) + 1} is '{word}'"
            raise FpstateError(given, expected=f"one of {listed}", hint="was it made with another policy or scope?")
        move = moves[int(word)]
        after, verdict, broken, _ = walker.attempt(move)
        ours = follower.move(move)
        if ours != verdict:
            raise Difference(f"at step {len(choices) + 1} the checker says {verdict}, the machine {ours}")
        differ = np.flatnonzero(after != follower.twin.world)
        if len(differ):
            raise Difference(
                f"after step {len(choices) + 1} the checker's world differs from the machine's at {differ}"
            )
        walker.go(move, after)
        choices.append(int(word))
        if broken & wanted:
            told = P._told(walker, choices, broken & wanted, verdict)
            return Followed(
                policy.name, scope, code, first_name(told.broken), told.steps, follower.reads, told.wrong, told.blame
            )
    told = P._told(walker, choices, 0, S.OK)
    return Followed(policy.name, scope, code, "", told.steps, follower.reads, "", "")

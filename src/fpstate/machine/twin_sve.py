"""The twin of a world in which tasks use SVE: beside V it carries Z, P and FFR, and the SVE form of each image.

What a label of Z says is held against the parts of Z0-Z31 above 128 bits, and P and FFR. Zeros (owner 0, version 1) say
nothing of P and FFR here: writing a V register zeroes the rest of Z, but not predicates, which the world has together.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError
from fpstate.machine.engine import V_BYTES, Engine, Sve
from fpstate.machine.memory import Ram
from fpstate.machine.twin import NOBODYS, Difference, Twin, Wrong
from fpstate.rows import Rows
from fpstate.world import order as O
from fpstate.world import step as S
from fpstate.world import wide as W
from fpstate.world.events import Event
from fpstate.world.state import C_REGS, C_SIZE, F_SVE, X_IMAGE, X_SIZE, X_VER, Z_WIDE, plane_size

_USER_FP, _GUEST_FP, _USER_SVE = int(Event.USER_FP), int(Event.GUEST_FP), int(Event.USER_SVE)
_STATUS: Final = 16  # bytes behind the registers of an SVE form: FPSR, FPCR, padding


class SveTwin(Twin):
    """A twin with planes for Z and the vector length. All contexts have the machine's vector length."""

    def __init__(self, rows: Rows, kinds: NDArray[np.uint8], engines: list[Engine], ram: Ram) -> None:
        super().__init__(rows, kinds, engines, ram)
        beyond = sorted(rows.policy.features - {"sve"})
        if self.features != F_SVE or beyond:
            raise FpstateError(f"the machine does not have {', '.join(beyond)}", expected="--features sve, or none")
        found = [engine.sve for engine in engines]
        if any(sve is None for sve in found):
            raise FpstateError("the machine has no SVE", expected="a vector length")
        self.sves: list[Sve] = [sve for sve in found if sve is not None]
        self.plane = plane_size(self.cpus, self.n)
        self.bytes = self.sves[0].size
        self.forms = [ram.take(self.bytes + _STATUS) for _ in range(self.n)]
        self.known_z: dict[tuple[int, int], bytes] = {}
        self.other_z: dict[tuple[int, int], list[bytes]] = {}
        self.using = -1  # whose stretch has used registers already
        self.again = False  # the last use was trapped, and is to be tried again
        for x in range(self.n):
            self.known_z[x + 1, 1] = bytes(self.bytes)

    # Contents.

    def _low(self, form: bytes) -> bytes:
        """Return the V image in an SVE form."""
        n = self.sves[0].vector_length
        return b"".join(form[n * i : n * i + 16] for i in range(32)) + form[self.bytes : self.bytes + _STATUS]

    def _high(self, form: bytes) -> bytes:
        """Return what is beyond V in an SVE form: the same with V zeroed."""
        n = self.sves[0].vector_length
        return b"".join(bytes(16) + form[n * i + 16 : n * i + n] for i in range(32)) + form[32 * n : self.bytes]

    def _form(self, v: bytes) -> bytes:
        """Return an SVE form of a V image, the rest zeros."""
        n = self.sves[0].vector_length
        z = b"".join(v[16 * i : 16 * i + 16] + bytes(n - 16) for i in range(32))
        return z + bytes(17 * n // 8) + v[512:V_BYTES]

    def _form_of(self, x: int) -> bytes:
        return self.ram.map[self.forms[x] : self.forms[x] + self.bytes + _STATUS]

    def _registers(self, c: int) -> bytes:
        return self.sves[c].read() + self.engines[c].fp()[512:V_BYTES]

    def _load(self, c: int, form: bytes) -> None:
        self.engines[c].set_fp_registers(self._low(form))
        self.sves[c].write(form)

    # Operations.

    def _carry_out_wide(self, op: int, a: int, labels: list[int], c: int, t: int) -> None:
        x = (a - self.base) // X_SIZE if a >= self.base else t
        engine = self.engines[c]
        if op == S.SAVE:
            engine.save_fp(self.pointers[a])
            self.saves[x] += 1
        elif op == S.LOAD:
            engine.load_fp(self.pointers[a])
            self._load(c, self._form(engine.fp()))
            self.loads[x] += 1
        elif op == S.CLEAR:
            self._load(c, self._form(self.initial(x)))
        elif op == W.SAVE_SVE:
            self.ram.write(self.forms[x], self._registers(c))
            self.saves[x] += 1
        elif op == W.LOAD_SVE:
            self._load(c, self._form_of(x))
            self.loads[x] += 1
        elif op == W.WIDEN:
            self.ram.write(self.forms[x], self._form(self.image(x)))
        elif op == W.NARROW:
            self.ram.write(self.offsets[a], self._low(self._form_of(x)))
        elif op == W.ZERO_SVE:
            self._load(c, self._form(engine.fp()))
        elif op == W.SET_VL:
            self.sves[c].set_length(self.sves[c].vector_length)
        elif op == W.ALLOC_SVE:
            self.ram.write(self.forms[x], bytes(self.bytes + _STATUS))
        elif op == W.FREE_SVE:
            self.ram.write(self.forms[x], self._form(NOBODYS))
        else:
            raise FpstateError(
                f"policy '{self.rows.policy.name}' asks for operation {op}", expected="those of FPSIMD and SVE"
            )
        pairs = list(zip(labels[::2], labels[1::2], strict=True))
        form = self._registers(c)
        self._compare(self._low(form), pairs[0], c * C_SIZE + C_REGS)
        self._compare_z(self._high(form), pairs[1], f"the registers of CPU {c} beyond V")
        if a >= self.base and a in self.pointers:
            self._compare(self.image(x), pairs[2], self.base + x * X_SIZE + X_IMAGE)
        if self.world[self.plane + self.base + x * X_SIZE] & 1:
            form = self._form_of(x)
            if pairs[3] != (0, 0):  # new storage holds zeros, which are nobody's V
                self._compare(self._low(form), pairs[3], self.base + x * X_SIZE + X_IMAGE)
            self._compare_z(self._high(form), pairs[4], f"the SVE form of context {x}")

    def _compare(self, real: bytes, label: tuple[int, int], place: int) -> None:
        if label == (0, W.ZEROS) and not any(real):
            return
        super()._compare(real, label, place)

    def _compare_z(self, real: bytes, label: tuple[int, int], what: str) -> None:
        n = 32 * self.sves[0].vector_length
        if label == (0, 0) or (label == (0, W.ZEROS) and not any(real[:n])):
            return
        if real == self.known_z.get(label) or real in self.other_z.get(label, ()):
            return
        raise Difference(
            f"machine and world differ after event {len(self.log)}: {what} should hold {label} by the world"
        )

    # Uses.

    def use(self, guest: bool, c: int, t: int, s: int) -> int:
        """Let a task or guest begin to use V; return the verdict."""
        return self._use(_GUEST_FP if guest else _USER_FP, c, t, s)

    def use_sve(self, c: int, t: int) -> bool:
        """Let a task begin to use SVE; return whether it goes on at once. If not, `again` says whether it may retry."""
        return self._use(_USER_SVE, c, t, self.n) != S.TRAP_NOT_SERVED and not self.again

    def _use(self, e: int, c: int, t: int, s: int) -> int:
        w, x = self.world, s if e == _GUEST_FP else t
        if self.using == x:
            self.wrote(c, x)  # what it has done since its first use in this stretch
        self.again = False
        self.note(e, c, t, s)
        for _ in range(3):
            trap = int(W.trap_of(w, e, c))
            if not trap:
                break
            verdict = max(self.begin(trap, c, t, s), self.segment(trap, c, t, s)[0])
            verdict = max(verdict, self.end(trap, c, t, s))
            if verdict != S.OK:
                return self._went_wrong(verdict)
            S.count_trap(self.counts, trap)
            self.traps[x] += 1
            if trap == O.SVE_TRAPS:
                self.again = True
                return S.OK
        if W.trap_of(w, e, c):
            return self._went_wrong(S.TRAP_NOT_SERVED)
        form = self._registers(c)
        v, z = self._label(c * C_SIZE + C_REGS), self._label(self.plane + c * C_SIZE + C_REGS)
        self._compare(self._low(form), v, c * C_SIZE + C_REGS)
        self._compare_z(self._high(form), z, f"the registers of CPU {c} beyond V")
        expected, got, high = self.latest(x), self._low(form), self._high(form)
        beyond = (self.known_z.get(self._latest_z(x), high), high) if e == _USER_SVE else (b"", b"")
        verdict = int(W.wide_use(w, e, x, c, self.cpus, self.n, self.features))
        if e == _USER_SVE:
            self.known_z[self._latest_z(x)] = self._high(form)  # until the stretch ends
        if verdict != S.OK:
            self.wrong_uses += 1
            self._went_wrong(verdict)
            differ = got != expected or beyond[0] != beyond[1]
            if differ and x not in self.wrong:
                owner = v[0] if got != expected else z[0]
                self.wrong[x] = Wrong(x, len(self.log) - 1, expected, got, owner, beyond)
        elif got != expected:
            raise Difference(f"the world says that context {x} finds its latest V on CPU {c}, the machine does not")
        self.define(x, got)
        self.using = x
        return verdict

    def _went_wrong(self, verdict: int) -> int:
        self.verdicts.append((len(self.log) - 1, verdict))
        return verdict

    def _latest_z(self, x: int) -> tuple[int, int]:
        return x + 1, int(self.world[self.plane + self.base + x * X_SIZE + X_VER])

    def wrote(self, c: int, x: int) -> None:
        """Take what context `x` has left in the registers as its latest values; writing V zeroes what is beyond it."""
        self.using = -1
        form = self._registers(c)
        self.define(x, self._low(form))
        label, z = self._label(self.plane + c * C_SIZE + C_REGS), self._high(form)
        if label == self._latest_z(x):
            self.known_z[label] = z
        elif label[0]:
            self.other_z.setdefault(label, []).append(z)

    def _places(self) -> list[int]:
        return super()._places() + [self.plane + self.base + x * X_SIZE + Z_WIDE for x in range(self.n)]

    def _forget(self) -> None:
        """Forget values that no place holds any more."""
        super()._forget()
        places = [self.plane + c * C_SIZE + C_REGS for c in range(self.cpus)]
        places += [self.plane + self.base + x * X_SIZE + X_IMAGE for x in range(self.n)]
        kept = {self._label(a) for a in places} | {self._latest_z(x) for x in range(self.n)}
        self.known_z = {label: value for label, value in self.known_z.items() if label in kept}

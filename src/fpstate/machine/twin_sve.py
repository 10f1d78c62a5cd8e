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
from fpstate.machine.twin import LOST, Difference, Twin, Wrong, labels_in, stash_of
from fpstate.paths.order import GUEST_FP, SIGNAL, SIGRETURN_SVE, SVE_TRAPS, USER_FP, USER_SVE
from fpstate.rows.learn import Rows
from fpstate.world.operations import CLEAR, LOAD, OVERWRITE, SAVE, read_place
from fpstate.world.state import (
    IMAGE,
    LATEST,
    NOBODYS,
    REGISTERS,
    STORAGE,
    SVE_IMAGE,
    SVE_STORE,
    VERSION,
    ZEROS,
    Z,
    own,
    owner_of,
)
from fpstate.world.verdicts import OK, TRAP_NOT_SERVED
from fpstate.world.wide import (
    ALLOC_SVE,
    FRAME_SVE,
    FREE_SVE,
    LOAD_CLASS,
    LOAD_SVE,
    NARROW,
    OVERWRITE_SVE,
    SAVE_CLASS,
    SAVE_SVE,
    SET_VL,
    WIDEN,
    ZERO_SVE,
    count_trap,
    trap_of,
    wide_use,
)

_STATUS: Final = 16  # bytes behind the registers of an SVE form: FPSR, FPCR, padding


class SveTwin(Twin):
    """A twin with Z beside V. All contexts have the machine's vector length."""

    def __init__(self, rows: Rows, kinds: NDArray[np.uint8], engines: list[Engine], ram: Ram) -> None:
        super().__init__(rows, kinds, engines, ram)
        found = [engine.sve for engine in engines]
        if any(sve is None for sve in found):
            raise FpstateError("the machine has no SVE", expected="a vector length")
        self.sves: list[Sve] = [sve for sve in found if sve is not None]
        self.bytes = self.sves[0].size
        self.forms = [ram.take(self.bytes + _STATUS) for _ in range(self.n)]
        self.stashes = [bytes(self.bytes)] * len(engines)  # what is beyond V, of each CPU's stash
        self.known_z: dict[int, bytes] = {}
        self.other_z: dict[int, list[bytes]] = {}
        self.using = -1  # whose stretch has used registers already
        self.again = False  # the last use was trapped, and is to be tried again
        for x in range(self.n):
            self.known_z[own(x) + VERSION] = bytes(self.bytes)

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

    def _joined(self, v: bytes, high: bytes) -> bytes:
        """Return the SVE form of a V image and what is beyond V."""
        n = self.sves[0].vector_length
        z = b"".join(v[16 * i : 16 * i + 16] + high[n * i + 16 : n * i + n] for i in range(32))
        return z + high[32 * n : self.bytes] + v[512:V_BYTES]

    def _form_of(self, x: int) -> bytes:
        return self.ram.map[self.forms[x] : self.forms[x] + self.bytes + _STATUS]

    def _registers(self, c: int) -> bytes:
        return self.sves[c].read() + self.engines[c].fp()[512:V_BYTES]

    def _load(self, c: int, form: bytes) -> None:
        self.engines[c].set_fp_registers(self._low(form))
        self.sves[c].write(form)

    # Events.

    def begin(self, e: int, c: int, t: int, s: int) -> int:
        """Do what event `e` does to values before the policy handles it."""
        verdict = super().begin(e, c, t, s)
        if e == SIGNAL:
            self.frames_sve.pop(t, None)
        elif e == SIGRETURN_SVE:
            self.define(t, self.frames[t])
            self.known_z[self._latest_z(t)] = self._high(self.frames_sve[t])
        return verdict

    # Operations.

    def _do_wide(self, op: int, owner: int, x: int, c: int) -> None:
        engine, place = self.engines[c], owner or stash_of(c)
        if op == SAVE:
            engine.save_fp(self.pointers[place])
            self.saves[x] += 1
        elif op == LOAD:
            engine.load_fp(self.pointers[place])
            self._load(c, self._form(engine.fp()))
            self.loads[x] += 1
        elif op == CLEAR:
            self._load(c, self._form(self.initial))
        elif op == SAVE_SVE:
            self.ram.write(self.forms[x], self._registers(c))
            self.saves[x] += 1
        elif op == LOAD_SVE:
            self._load(c, self._form_of(x))
            self.loads[x] += 1
        elif op == WIDEN:
            self.ram.write(self.forms[x], self._form(self.image(x)))
        elif op == NARROW:
            self.ram.write(self.offsets[place], self._low(self._form_of(x)))
        elif op == ZERO_SVE:
            self._load(c, self._form(engine.fp()))
        elif op == SET_VL:
            self.sves[c].set_length(self.sves[c].vector_length)
        elif op == OVERWRITE:
            self.ram.write(self.offsets[place], self.latest(x))
        elif op == OVERWRITE_SVE:
            self.ram.write(self.forms[x], self._joined(self.latest(x), self.known_z[self._latest_z(x)]))
        elif op == FRAME_SVE:
            self.frames_sve[x] = self._form_of(x)[: self.bytes]
        elif op == SAVE_CLASS and not owner:
            self.stashes[c] = self._high(self._registers(c))
        elif op == LOAD_CLASS and not owner:
            self._load(c, self._joined(engine.fp(), self.stashes[c]))
        elif op == ALLOC_SVE:
            self.ram.write(self.forms[x], self._form(LOST))  # zeros beyond V; of V the world says that it is nobody's
        elif op == FREE_SVE:
            self.ram.write(self.forms[x], self._form(LOST))
        else:
            given = f"policy '{self.rows.policy.name}' asks for operation {op}"
            raise FpstateError(given, expected="those of FPSIMD and SVE")
        self._check_wide(owner, x, c)

    def _check_wide(self, owner: int, x: int, c: int) -> None:
        """Hold the registers of CPU `c`, a place and the SVE form of context `x` against what the world says."""
        facts = self.world.context[x]
        self._check_all_registers(c)
        place = owner or stash_of(c)
        at = self.offsets[place]
        self._compare(self.ram.map[at : at + V_BYTES], int(read_place(self.world, owner, c)), self._place_name(place))
        if facts[STORAGE] & SVE_STORE:
            form = self._form_of(x)
            if facts[SVE_IMAGE] != NOBODYS:  # new storage holds zeros, which are nobody's V
                self._compare(self._low(form), int(facts[SVE_IMAGE]), self._place_name(own(x)))
            self._compare_z(self._high(form), int(facts[IMAGE + Z]), f"the SVE form of context {x}")

    def _check_all_registers(self, c: int) -> bytes:
        """Hold V and Z of CPU `c` against what the world says is in them; return them as an SVE form."""
        form, facts = self._registers(c), self.world.cpu[c]
        self._compare(self._low(form), int(facts[REGISTERS]), f"the registers of CPU {c}")
        self._compare_z(self._high(form), int(facts[REGISTERS + Z]), f"the registers of CPU {c} beyond V")
        return form

    def _compare(self, real: bytes, label: int, what: str) -> None:
        if label == ZEROS and not any(real):
            return
        super()._compare(real, label, what)

    def _compare_z(self, real: bytes, label: int, what: str) -> None:
        n = 32 * self.sves[0].vector_length
        if label == NOBODYS or (label == ZEROS and not any(real[:n])):
            return
        if real == self.known_z.get(label) or real in self.other_z.get(label, ()):
            return
        said = f"version {label // VERSION} of owner {owner_of(label)}" if label != ZEROS else "zeros"
        raise Difference(
            f"machine and world differ after event {len(self.log)}: by the world {what} should hold {said}"
        )

    # Uses.

    def use(self, guest: bool, c: int, t: int, s: int) -> int:
        """Let a task or guest begin to use V; return the verdict."""
        return self._use(GUEST_FP if guest else USER_FP, c, t, s)

    def use_sve(self, c: int, t: int) -> bool:
        """Let a task begin to use SVE; return whether it goes on at once. If not, `again` says whether it may retry."""
        return self._use(USER_SVE, c, t, self.n) != TRAP_NOT_SERVED and not self.again

    def _use(self, e: int, c: int, t: int, s: int) -> int:
        w, x = self.world, s if e == GUEST_FP else t
        if self.using == x:
            self.wrote(c, x)  # what it has done since its first use in this stretch
        self.again = False
        self.note(e, c, t, s)
        for _ in range(3):
            trap = trap_of(w, e, c)
            if not trap:
                break
            verdict = max(self.begin(trap, c, t, s), self.segment(trap, c, t, s)[0])
            verdict = max(verdict, self.end(trap, c, t, s))
            self.went(verdict)
            count_trap(self.report, trap)
            self.traps[x] += 1
            if trap == SVE_TRAPS:
                self.again = True
                return OK
        if trap_of(w, e, c):
            return self.went(TRAP_NOT_SERVED)
        return self._read_and_write(e, c, x)

    def _read_and_write(self, e: int, c: int, x: int) -> int:
        """Let context `x` use what is in the registers of CPU `c`, no trap being armed; return the verdict."""
        w = self.world
        v, z = int(w.cpu[c, REGISTERS]), int(w.cpu[c, REGISTERS + Z])
        form = self._check_all_registers(c)
        expected, got, high = self.latest(x), self._low(form), self._high(form)
        beyond = (self.known_z.get(self._latest_z(x), high), high) if e == USER_SVE else (b"", b"")
        verdict = int(wide_use(w, e, x, c))
        if e == USER_SVE:
            self.known_z[self._latest_z(x)] = high  # until the stretch ends
        if verdict != OK:
            self.wrong_uses += 1
            self.went(verdict)
            differ = got != expected or beyond[0] != beyond[1]
            if differ and x not in self.wrong:
                owner = owner_of(v if got != expected else z)
                self.wrong[x] = Wrong(x, len(self.log) - 1, expected, got, owner, beyond)
        elif got != expected:
            raise Difference(f"the world says that context {x} finds its latest V on CPU {c}, the machine does not")
        self.define(x, got)
        self.using = x
        return verdict

    def _latest_z(self, x: int) -> int:
        return int(self.world.context[x, LATEST + Z])

    def wrote(self, c: int, x: int) -> None:
        """Take what context `x` has left in the registers as its latest values; writing V zeroes what is beyond it."""
        self.using = -1
        form = self._registers(c)
        self.define(x, self._low(form))
        label, high = int(self.world.cpu[c, REGISTERS + Z]), self._high(form)
        if label == self._latest_z(x):
            self.known_z[label] = high
        elif owner_of(label):
            self.other_z.setdefault(label, []).append(high)

    def _held(self) -> set[bytes]:
        return super()._held() | {self._low(self._form_of(x)) for x in range(self.n)}

    def _labels(self) -> set[int]:
        return super()._labels() | labels_in(self.world.context[: self.n, SVE_IMAGE])

    def _forget(self) -> None:
        """Forget values that no place holds any more."""
        super()._forget()
        w = self.world
        kept = labels_in(w.cpu[:, REGISTERS + Z]) | labels_in(w.context[: self.n, [IMAGE + Z, LATEST + Z]])
        self.known_z = {label: value for label, value in self.known_z.items() if label in kept}
        self.other_z = {label: values for label, values in self.other_z.items() if label in kept}

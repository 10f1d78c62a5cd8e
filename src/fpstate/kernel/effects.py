"""What a run did: from its accesses to memory to saves, loads and writes of images, and to members read and changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from fpstate.kernel.accesses import COPIED, COPIES, DROPPED, FP, NOTED, ONLY_SETS, PC, Kept, Rows, held, kept
from fpstate.kernel.entities import (
    FPEXC_ENABLED,
    FRAME_AT,
    HANDED_IN,
    HANDED_IN_SIZE,
    HYP_CALL,
    HYP_STACK,
    MOVED,
    OF_SVE,
    REGISTERS,
    STACK_TOP,
    STORAGE_SIZE,
    TASKS,
    Entities,
    Place,
)
from fpstate.kernel.entries import RANDOM
from fpstate.kernel.processor import BUG, GUEST_LIMIT, HOST_TRAPPED, LIMITED, OOPS, OWN_AT, OWN_SIZE, OWN_ZCR, Note, Ran
from fpstate.lab.dump import RAM_SIZE

SAVE, LOAD, WRITE, EDIT, WARN, FAULT, CALLED = "save", "load", "overwrite", "edit", "warn", "oops", "called"
SAVE_SVE, LOAD_SVE, WRITE_SVE, EDIT_SVE = "save_sve", "load_sve", "overwrite_sve", "edit_sve"
WIDEN, NARROW, ALLOC, FREE, FRAME = "widen", "narrow", "alloc_sve", "free_sve", "frame_sve"
ZERO, SPOIL, MIXED, PARTIAL = "zero", "new_place", "mixed", "partial"
"""The image is zeroed; it is written over with what is another's; some is zeroed, and some is new; some of an SVE form
is moved."""
TRAPPED: Final = "trapped"
"""The hypervisor leaves its host, whose next use of FP would trap to it."""
SAVE_SOME, LOAD_SOME = "save_some", "load_some"
"""Some of V is moved to or from the image, in its FPSIMD form."""
ZERO_SVE, SET_VL, FORCE_FPEXC = "zero_sve", "set_vl", "force_fpexc"
SAVE_ZCR, LOAD_ZCR, SAVE_FPEXC, LOAD_FPEXC = "save_part zcr", "load_part zcr", "save_part fpexc", "load_part fpexc"
SAVES, LOADS = (SAVE, SAVE_SVE), (LOAD, LOAD_SVE)
"""Moves between registers and an image, in its FPSIMD form and in its SVE form."""
ALLOCATORS: Final = (
    "__kmalloc", "kmalloc_trace", "kmem_cache_alloc_trace", "__kmalloc_noprof", "__kmalloc_cache_noprof",
)  # fmt: skip
FREES: Final = "kfree"
POINTER: Final = "thread.sve_state"
FLUSHES: Final = "sve_flush_live"
STACKS: Final = (
    *((OWN_AT + at + STACK_TOP - 0x4000, OWN_AT + at + STACK_TOP) for at in TASKS.values()),
    (OWN_AT + HYP_STACK - 0x4000, OWN_AT + HYP_STACK + HYP_CALL),
)
VALUES: Final = (
    "thread.vl", "thread.sve_vl", "arch.sve_max_vl", "kstack_rnd_state", "kstack_offset", "arch.ctxt.sys_regs",
    "kvm_host_data.host_ctxt.sys_regs", "kvm_hyp_ctxt.sys_regs", "arch.mdcr_el2_host", "kvm_host_data.host_debug_state",
)  # fmt: skip
"""Members that hold other registers of a guest or the host (FPEXC32_EL2 among them), lengths, or chance: values."""
GATE: Final = Place("cpu", -8, 8, "user_sve_trap")
"""The CPU's trap of SVE of user mode, as if it were a member."""
COPIERS: Final = ("memcpy", "memmove", "__memcpy", "__memmove", "__pi_memcpy", "__pi_memmove")
"""Functions that copy a whole task at a fork."""
Key = tuple[str, Place]
"""An entity and a member of it."""
Members = dict[Key, tuple[int, int]]
"""Members in order, with where in RAM each begins and ends; GATE is nowhere."""


@dataclass(frozen=True)
class Effect:
    """One thing done: to whose image (`whom`; of CALLED, which function), and by which instruction."""

    what: str
    whom: str
    pc: int


@dataclass
class Effects:
    """All that a run did, in order; what it read before it wrote it; what it wrote, and what that held."""

    done: list[Effect] = field(default_factory=list)
    read: Members = field(default_factory=dict)
    copied: Members = field(default_factory=dict)  # read by a copy of the whole
    wrote: Members = field(default_factory=dict)
    held: list[tuple[int, int]] = field(default_factory=list)  # before and now, by each that it wrote
    by_copy: set[Key] = field(default_factory=set)  # written last by a copy of the whole
    points: list[int] = field(default_factory=list)  # where others may come in: numbers of accesses
    touched: list[tuple[int, Key | None]] = field(default_factory=list)  # by which access; None: an image
    gated: bool = False  # CPTR_EL2 was written

    def changed(self) -> dict[Key, int]:
        """Return what was left changed, with the values now."""
        return {key: now for key, (before, now) in zip(self.wrote, self.held, strict=True) if before != now}


@dataclass(frozen=True)
class _Region:
    """A stretch of memory of ours: whose image (nobody's: what is handed in, and stacks), or STACK, or MEMBERS."""

    start: int  # physical
    end: int
    whose: str


STACK, MEMBERS = "a stack", "members of a task"


class Reader:
    """Reads the runs of one kernel."""

    def __init__(self, entities: Entities, near: dict[int, str]) -> None:
        self.entities = entities
        self._kinds = _Kinds(entities, near)
        self._seen, self._past = np.zeros(RAM_SIZE, np.bool_), np.zeros(RAM_SIZE, np.uint8)  # of which little is used
        self._members_at: dict[tuple[int, int], Members] = {}
        self._freed: dict[str, tuple[int, int]] = {}  # whose storage was freed: effects before, by which instruction
        self._regions = sorted(_regions(entities), key=lambda region: region.start)
        kinds = {STACK: DROPPED, MEMBERS: COPIED}
        self._bounds = np.array([(r.start, r.end, kinds.get(r.whose, 0)) for r in self._regions])

    def effects(self, ran: Ran) -> Effects:
        """Return what a run did. Memory must still be as the run left it."""
        result = Effects(points=ran.points)
        moves = _Moves(result, self.entities)
        self._freed.clear()
        pcs = ran.accesses[:, PC].view(np.uint64)
        notes = [(n, int(pcs[n.before]) if n.before < len(pcs) else ran.pc) for n in ran.notes]
        for a in self._kept(ran):
            while notes and notes[0][0].before <= a.number:
                moves.end()
                self._noted(*notes.pop(0), result)
            known, region = self._kinds[a.pc], self._regions[a.region - 1]
            if not a.region or region.whose == MEMBERS:
                if a.write or not (a.its_own or known & ONLY_SETS):
                    self._member(a, result, copy=bool(known & COPIES))
                if not a.write:
                    moves.source = ""
                if ran.points:
                    result.touched += [(a.number, key) for key in self._members(a.address, a.size)]
            elif region.whose:
                moves.take(a, region.whose, a.address - region.start, fp=bool(known & FP))
                result.touched.append((a.number, None))
            else:
                moves.source = ""
        moves.end()
        for note, pc in notes:
            self._noted(note, pc, result)
        for whose, (before, pc) in self._freed.items():  # and the pointer to it stays
            result.done.insert(before, Effect(FREE, whose, pc))
        moves.settle_writes()
        result.done += [Effect(WARN, "", pc) for pc in ran.warned]
        if ran.end in (OOPS, BUG):
            result.done.append(Effect(FAULT, "", ran.pc))
        self._written(ran.accesses, result)
        return result

    def _kept(self, ran: Ran) -> Iterator[Kept]:
        """Return accesses but those to stacks."""
        pcs = ran.accesses[:, PC].view(np.uint64).tolist()
        known = np.fromiter(map(self._kinds.__getitem__, pcs), np.uint8, len(pcs))
        for note in ran.notes:
            known[note.before : note.before + 1] |= NOTED
        return kept(ran.accesses, known, self._bounds, self._seen)

    def _noted(self, note: Note, pc: int, result: Effects) -> None:
        """Say what a note means."""
        what = note.what
        if what == "read CPTR_EL2":
            result.read.setdefault(("cpu", GATE), (0, 0))
        elif what == "write CPTR_EL2":
            result.gated = True
        elif what == "write ZCR_EL2":
            result.done.append(Effect(SET_VL, self.entities.of_length((note.value & 15) + 1), pc))
        elif what == LIMITED:
            result.done.append(Effect(SET_VL, "", pc))
        elif what == GUEST_LIMIT:
            if self.entities.of_length(note.value + 1) != "vcpu":
                result.done.append(Effect(SET_VL, "", pc))
        elif what == HOST_TRAPPED:
            result.done.append(Effect(TRAPPED, "", pc))
        elif what == "write ZCR_EL12":  # else the longest that it may use, for the host to save it: that is noted, too
            if note.value == OWN_ZCR:
                result.done.append(Effect(LOAD_ZCR, "vcpu", pc))
        elif what == "read ZCR_EL12":
            if self.entities.processor.read(self.entities.zcr_of("vcpu")) == note.value:  # it has been stored
                result.done.append(Effect(SAVE_ZCR, "vcpu", pc))
        elif what == "write FPEXC32_EL2" and note.value == FPEXC_ENABLED:
            result.done.append(Effect(FORCE_FPEXC, "", pc))
        elif what.endswith("FPEXC32_EL2"):
            result.done.append(Effect(LOAD_FPEXC if what.startswith("write") else SAVE_FPEXC, "vcpu", pc))
        elif what == FLUSHES:
            result.done.append(Effect(ZERO_SVE, "", pc))
        elif what == FREES:
            whose = self.entities.storages.get(note.value)
            if whose is not None:
                self._freed[whose] = len(result.done), pc
        elif not what.endswith(("ZCR_EL2", RANDOM, *ALLOCATORS)):
            result.done.append(Effect(CALLED, what, pc))

    def _member(self, a: Kept, result: Effects, *, copy: bool) -> None:
        members = self._members(a.address, a.size)
        if not a.write:
            (result.copied if copy else result.read).update(members)
            return
        first = next(iter(members), None)
        if first is not None and first[1].name == POINTER:
            self._pointed(a, first[0], result)
        result.wrote.update(members)
        if copy:
            result.by_copy.update(members)
        elif result.by_copy:
            result.by_copy.difference_update(members)

    def _pointed(self, a: Kept, task: str, result: Effects) -> None:
        """Say of a write to a task's pointer to its storage whether that takes storage from it, or gives it some."""
        self._freed.pop(task, None)
        for address, what in ((a.before, FREE), (a.value, ALLOC)):
            if a.before != a.value and self.entities.storages.get(address) == task:
                result.done.append(Effect(what, task, a.pc))

    def _members(self, physical: int, size: int) -> Members:
        members = self._members_at.get((physical, size))
        if members is None:
            members = {key: self._stretch(*key) for key in self._touched(physical, size)}
            self._members_at[physical, size] = members
        return members

    def _touched(self, physical: int, size: int) -> list[Key]:
        found = self.entities.entity_at(self.entities.virtual(physical))
        if found is None:
            return [("elsewhere", Place("elsewhere", physical, size, f"{physical:#x}"))]
        members = self.entities.members(*found, size)
        return [(found[0], place) for place in members if not place.name.startswith(VALUES)]

    def _written(self, accesses: Rows, result: Effects) -> None:
        """Fill in what each member held that was written to, before and now."""
        if not result.wrote:
            return
        stretches = np.fromiter(chain.from_iterable(result.wrote.values()), np.int64).reshape(-1, 2)
        result.held = held(self._past, self.entities.processor.bytes, stretches, accesses)

    def _stretch(self, entity: str, place: Place) -> tuple[int, int]:
        """Return where in RAM a member begins and ends."""
        e = self.entities
        at = place.offset if entity == "elsewhere" else e.processor.physical(e.base_of(entity) + place.offset)
        where = e.processor.place(at)
        return where, where + place.size


class _Kinds(dict[int, int]):
    """What there is to know of instructions that access memory, by their addresses; each is looked at once.

    FP, if it loads or stores SIMD registers, or those of SVE (Arm ARM, C4.1.94: bits 27, 25 are 1, 0, and 26 is V;
    C4.1.34: bits 28 to 25 of SVE are 0010); ONLY_SETS, if it changes memory atomically and keeps nothing of it (STSET,
    STCLR, STADD); COPIES, if it is one of those that copy a whole task.
    """

    def __init__(self, entities: Entities, near: dict[int, str]) -> None:
        super().__init__()
        self._read, self._near = entities.processor.read, near

    def __missing__(self, pc: int) -> int:
        word = self._read(pc, 4)
        fp = word & 0x0E000000 == 0x0C000000 or word >> 25 & 15 == 2
        only_sets = word & 0x3F208C00 == 0x38200000 and word & 31 == 31
        copies = self._near[pc].partition("+")[0] in COPIERS
        self[pc] = FP * fp | ONLY_SETS * only_sets | COPIES * copies
        return self[pc]


def _regions(e: Entities) -> Iterator[_Region]:
    """Return the members of tasks, and all of memory that is no member: images, storage, what is handed in, stacks.

    A pointer to storage begins a region, so that what a copy writes to it is not put together with what is before it.
    """
    p = e.processor
    for name in TASKS:
        start = p.physical(e.address[name])
        pointer, end = start + (e.btf.find("task_struct", POINTER) or 0), start + e.sizes["task"]
        yield _Region(start, pointer, MEMBERS)
        yield _Region(pointer, end, MEMBERS)
    for address, name in e.images.items():
        yield _Region(p.physical(address), p.physical(address) + MOVED, name)
    for address, name in e.storages.items():
        yield _Region(p.physical(address), p.physical(address) + STORAGE_SIZE, name + OF_SVE)
    yield _Region(OWN_AT + HANDED_IN, OWN_AT + HANDED_IN + HANDED_IN_SIZE, "")
    yield _Region(OWN_AT + FRAME_AT, OWN_AT + OWN_SIZE, "")
    for low, high in STACKS:
        yield _Region(low, high, STACK)


class _Moves:
    """Accesses to images, put together: a save or load is one of all registers; less than that is said, too."""

    def __init__(self, result: Effects, entities: Entities) -> None:
        self._result, self._entities = result, entities
        self._moving: tuple[str, str] | None = None  # what, and whose image
        self._covered: set[int] = set()
        self._pc = 0
        self.source = ""  # whose image was read last by an instruction that does not move SIMD registers
        self._writes: dict[tuple[str, str], tuple[Effect, set[int]]] = {}  # by such, with the bytes
        self._left: dict[str, dict[int, str]] = {}  # what such a write has left in each byte of V: WRITE, ZERO, SPOIL

    def take(self, a: Kept, whose: str, inside: int, *, fp: bool) -> None:
        """Take in one access to an image, or to the storage of one's SVE form."""
        whom = whose.removesuffix(OF_SVE)
        sve = whom != whose
        if not sve and inside >= REGISTERS:  # FPSR and FPCR, by way of other registers
            if self._moving in [(what, whom) for what in (SAVES if a.write else LOADS)]:
                self._covered |= set(range(inside - MOVED, inside - MOVED + a.size))
        elif fp and sve and self._moving == (SAVE_SVE, whom) and not a.write and inside in self._covered:
            pass  # a predicate that held FFR for its store is put back
        elif fp:
            what = (SAVES if a.write else LOADS)[sve], whom
            if what != self._moving or inside in self._covered:
                self.end()
                self._moving, self._pc = what, a.pc
            self._covered |= set(range(inside, inside + a.size))
        elif a.write:
            self.end()
            self._write(a, whom, inside, sve=sve)
        else:
            self.source = whose

    def _write(self, a: Kept, whom: str, inside: int, *, sve: bool) -> None:
        copies = self.source == (whom if sve else whom + OF_SVE)
        of_sve = WIDEN if copies else WRITE_SVE if a.value else ALLOC
        what = of_sve if sve else NARROW if copies else WRITE
        if (what, whom) not in self._writes:
            self._writes[what, whom] = Effect(what, whom, a.pc), set()
            self._result.done.append(self._writes[what, whom][0])
        wrote, there, change = self._writes[what, whom][1], range(inside, inside + a.size), a.value ^ a.before
        if what != WRITE:
            wrote.update(there)
        elif change:
            wrote.update(at for i, at in enumerate(there) if change >> 8 * i & 255)
        if what == WRITE:
            foreign = self.source.removesuffix(OF_SVE) not in ("", whom)
            left = SPOIL if foreign else WRITE if a.value else ZERO
            self._left.setdefault(whom, {}).update(dict.fromkeys(there, left))

    def end(self) -> None:
        """Let the move that is going on be over."""
        if self._moving is not None:
            what, whom = self._moving
            whole = len(self._covered) >= self._whole(what, whom)
            part = {SAVE: SAVE_SOME, LOAD: LOAD_SOME}.get(what, PARTIAL)
            self._result.done.append(Effect(what if whole else part, whom, self._pc))
        self._moving, self._covered = None, set()

    def _whole(self, what: str, whom: str) -> int:
        """Return how many bytes a move of all registers has, but for FFR."""
        vectors = (REGISTERS + 32) * self._entities.length[whom] if what in (SAVE_SVE, LOAD_SVE) else REGISTERS
        return vectors + MOVED - REGISTERS

    def settle_writes(self) -> None:
        """Say of each image written to whether it is a new one, or one of which some was changed."""
        for (what, whom), (effect, wrote) in self._writes.items():
            kept = what
            if what == WRITE:
                kept = self._wrote(whom, wrote)
            elif what == WRITE_SVE and len(wrote) <= REGISTERS:
                kept = EDIT_SVE
            elif what in (WIDEN, NARROW, ALLOC) and len(wrote) < REGISTERS:
                kept = PARTIAL
            at = self._result.done.index(effect)
            before = [e.what for e in self._result.done[:at] if e.whom == whom]
            if what == WIDEN and WRITE_SVE in before:
                kept = ""  # V is written once more, to what was written whole
            elif what == WIDEN and ALLOC not in before and not self._entities.is_zero(whom, wrote):
                kept = EDIT_SVE
            self._result.done[at : at + 1] = [Effect(kept, whom, effect.pc)] if kept else []
        self._drop_first(WIDEN, WRITE_SVE)
        self._drop_first(ALLOC, WIDEN)

    def _wrote(self, whom: str, wrote: set[int]) -> str:
        """Return what a write of V is, of which some bytes have changed; empty if none have."""
        left = set(self._left[whom].values())
        if not wrote or SPOIL in left:
            return SPOIL if wrote else ""
        if len(left) > 1:
            return MIXED
        return ZERO if left == {ZERO} else WRITE if len(wrote) > REGISTERS // 2 else EDIT

    def _drop_first(self, one: str, two: str) -> None:
        """Say nothing of what was written to an SVE form that is next written over whole; only writes, no storage."""
        done = self._result.done
        for (what, whom), (effect, _) in self._writes.items():
            here = Effect(what, whom, effect.pc)
            if what == one and here in done:
                at = done.index(here)
                if next((e.what for e in done[at + 1 :] if e.whom == whom), "") == two:
                    del done[at]

"""What a run did: from its accesses to memory to saves, loads and writes of images, and to fields read and changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from fpstate.kernel.entities import REGISTERS, TASKS, VCPUS, Entities, Place
from fpstate.kernel.processor import BUG, OOPS, OWN_AT, OWN_SIZE, Access, Ran

SAVE, LOAD, WRITE, EDIT, WARN, FAULT, CALLED = "save", "load", "overwrite", "edit", "warn", "oops", "called"
STACKS: Final = tuple((OWN_AT + at + 0x8000, OWN_AT + at + 0x10000) for at in TASKS.values())


@dataclass(frozen=True)
class Effect:
    """One thing done: to whose image (`whom`; of CALLED, which function), and by which instruction."""

    what: str
    whom: str
    pc: int


@dataclass
class Effects:
    """All that a run did, in order, and what it read before it wrote it, and what it left changed: entity, place."""

    done: list[Effect] = field(default_factory=list)
    read: list[tuple[str, Place]] = field(default_factory=list)
    changed: dict[tuple[str, Place], int] = field(default_factory=dict)
    incomplete: list[Effect] = field(default_factory=list)  # moves of some of the registers


class Reader:
    """Reads runs of one kernel."""

    def __init__(self, entities: Entities) -> None:
        self.entities = entities
        self._words: dict[int, int] = {}

    def effects(self, ran: Ran) -> Effects:
        """Return what a run did."""
        result = Effects()
        moving: tuple[str, str] | None = None  # save or load, whose
        covered: set[int] = set()
        at = 0
        wrote: dict[str, Effect] = {}
        changed_bytes: dict[str, set[int]] = {}
        fresh: set[int] = set()  # physical bytes written by the run so far
        notes = list(ran.after)

        def finish() -> None:
            if moving is not None and len(covered) >= REGISTERS:
                result.done.append(Effect(*moving, at))
            elif moving is not None:
                result.incomplete.append(Effect(*moving, at))

        for number, a in enumerate(ran.accesses):
            while notes and notes[0][1] <= number:
                finish()
                moving = None
                result.done.append(Effect(CALLED, notes.pop(0)[0], a.pc))
            address = self.entities.virtual(a.address)
            image = self.entities.owner_at(address)
            if image is not None:
                whose, inside = image
                if inside >= REGISTERS:
                    continue
                if self._is_fp(a.pc):
                    what = (SAVE if a.write else LOAD, whose)
                    if what != moving or inside in covered:
                        finish()
                        moving, covered, at = what, set(), a.pc
                    covered |= set(range(inside, inside + a.size))
                elif a.write:
                    if whose not in wrote:
                        wrote[whose] = Effect(WRITE, whose, a.pc)
                        result.done.append(wrote[whose])
                    changed_bytes.setdefault(whose, set()).update(_differing(a, inside))
                continue
            self._field(a, address, fresh, result)
        finish()
        result.done += [Effect(CALLED, what, ran.pc) for what, _ in notes]
        for whose, effect in wrote.items():
            index, count = result.done.index(effect), len(changed_bytes[whose])
            kept = [] if not count else [effect if count > REGISTERS // 2 else Effect(EDIT, whose, effect.pc)]
            result.done[index : index + 1] = kept
        result.done += [Effect(WARN, "", pc) for pc in ran.warned]
        if ran.end in (OOPS, BUG):
            result.done.append(Effect(FAULT, "", ran.pc))
        return result

    def _field(self, a: Access, address: int, fresh: set[int], result: Effects) -> None:
        if any(low <= a.address < high for low, high in STACKS):
            return
        found = self.entities.entity_at(address)
        entity, offset = found or ("elsewhere", a.address)
        kind = "task" if entity in TASKS else "vcpu" if entity in VCPUS else entity
        key = entity, Place(kind, offset, a.size)
        bytes_of = range(a.address, a.address + a.size)
        if a.write:
            first = key not in result.changed
            fresh.update(bytes_of)
            if first:
                result.changed[key] = a.before
        elif not fresh.issuperset(bytes_of) and not self._only_sets(a.pc):
            result.read.append(key)

    def _word(self, pc: int) -> int:
        if pc not in self._words:
            self._words[pc] = self.entities.processor.read(pc, 4)
        return self._words[pc]

    def _is_fp(self, pc: int) -> bool:
        """Tell whether an instruction loads or stores SIMD registers (Arm ARM, C4.1.94: bits 27, 25 are 1, 0; 26 V)."""
        word = self._word(pc)
        return word & 0x0A000000 == 0x08000000 and bool(word >> 26 & 1)

    def _only_sets(self, pc: int) -> bool:
        """Tell whether an instruction is an atomic change of memory that keeps nothing of it (STSET, STCLR, STADD)."""
        word = self._word(pc)
        return word & 0x3F208C00 == 0x38200000 and word & 31 == 31


def settled(effects: Effects, entities: Entities) -> dict[tuple[str, Place], int]:
    """Return what a run left changed, with the values now: what it changed and put back is left out."""
    left = {}
    for (entity, place), before in effects.changed.items():
        address = entities.virtual(place.offset) if entity == "elsewhere" else base_of(entities, entity) + place.offset
        now = entities.processor.read(address, place.size)
        if now != before:
            left[entity, place] = now
    return left


def base_of(entities: Entities, entity: str) -> int:
    """Return where the places of an entity are counted from."""
    return entities.cpu if entity == "cpu" else entities.address[entity]


def in_ours(physical: int) -> bool:
    """Tell whether a physical address is in memory of ours."""
    return OWN_AT <= physical < OWN_AT + OWN_SIZE


def _differing(a: Access, inside: int) -> set[int]:
    return {inside + i for i in range(a.size) if (a.value ^ a.before) >> 8 * i & 255}

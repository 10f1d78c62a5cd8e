"""A kernel's bookkeeping as fields of a view: which there are, what they mean, and how they stand in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fpstate.errors import FpstateError
from fpstate.kernel.entities import SECTION, SLOT, TASKS, Place, kind_of
from fpstate.kernel.entries import ENTRIES
from fpstate.kernel.life import GUEST, SECTIONS, Life
from fpstate.kernel.stage import AS_NAMED, Stage
from fpstate.world.events import Event

Record = tuple[tuple[Place, bool, int], ...]
"""What members hold: (member, True, offset in the entity of a context) or (member, False, value)."""


@dataclass(frozen=True)
class Field:
    """One piece of bookkeeping, as kernel code sees it in one of its entities.

    Kinds: an "owner" names a context by the address of its image (`also` are the members that go with it); a "cpu"
    holds a CPU's number; a "bit" is one of a word (`values`: its mask); a "section" is a pointer to what a task's own
    section of kernel NEON is saved to, or NULL; a "number" has the values it was seen to have.
    """

    name: str
    kind: str
    place: Place
    values: tuple[int, ...] = ()
    start: int = 0
    also: tuple[Place, ...] = ()


class Bookkeeping:
    """All fields of a kernel. The entities are put to rest, as before anything has run.

    `records` says what the members of an owner hold when it names a context, by kind: "task", "vcpu" or "kernel".
    `nobody` is what a field of kind "cpu" holds that names no CPU. `changing` are members that are no fields, since
    nothing was seen to read them, but do change: a run that reads one has a view that lacks it. `read` are those that
    some run has read; `of_sections` those that change from the begin of a section to its end only; `of_guests` those
    that change from a guest's entry to its exit only, with what they hold outside.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.nobody = 0
        self.records: dict[str, Record] = {}
        life = Life(stage)
        life.live()
        of_sections = {event for pair in SECTIONS for event in pair} if not stage.preemptible_neon else set()
        changing = {p: s for p, s in life.seen.items() if s.changed_by - of_sections}
        found = {p: tuple(s.values) for p, s in changing.items() if s.read}
        self.changing = {p for p in changing if p not in found}
        self.read = {p for p, s in life.seen.items() if s.read}
        self.of_sections = {p for p, s in life.seen.items() if s.changed_by and p not in changing}
        entered = {p for p, s in changing.items() if p.kind != "elsewhere" and s.changed_by <= GUEST}
        self.of_guests = {p: self._now(p) for p in entered if changing[p].left_by_exit == {self._now(p)}}
        found = {p: values for p, values in found.items() if p not in self.of_guests}
        self.changing -= set(self.of_guests)
        elsewhere = next((p for p in found if p.kind == "elsewhere"), None)
        if elsewhere is not None:
            given = f"the kernel keeps something at {elsewhere.name}, in no task, vCPU or variable of a CPU"
            raise FpstateError(given, expected="members of those", where=stage.processor.where)
        self._rest()
        self.fields = list(self._sorted_out(found))
        self._learn_records()

    def add(self, place: Place) -> None:
        """Take a member as a field after all: a run was seen to read it, and another to change it."""
        self.changing.discard(place)
        self.of_guests.pop(place, None)
        self.fields += self._sorted_out({place: (self._now(place), 0)})

    def _rest(self) -> None:
        """Put the entities to rest: no task's registers are live, and the CPU's are nobody's."""
        stage, e = self.stage, self.stage.entities
        for name in TASKS:
            stage.call("fpsimd_flush_task_state", name)
        at, size = stage.last_state
        stage.processor.write_bytes(e.cpu + at, bytes(size))
        e.fill_images()
        stage.processor.keep()

    def _now(self, place: Place) -> int:
        e = self.stage.entities
        return self.stage.processor.read(e.base_of(place.kind) + place.offset, place.size)

    def _sorted_out(self, found: dict[Place, tuple[int, ...]]) -> Iterator[Field]:
        owners = {
            p for p, values in found.items() if p.kind == "cpu" and any(v in self.stage.entities.images for v in values)
        }
        numbers = self._cpu_numbers({p for p in found if p.kind == "task" and p.size == 4})
        flags = self._flags()
        gone_with = set()
        for place in sorted(owners, key=_order):
            also = tuple(sorted((p for p in found if p not in owners and _variable(p) == _variable(place)), key=_order))
            gone_with |= {place, *also}
            yield Field(place.name, "owner", place, also=also)
        for place in sorted(set(found) - gone_with, key=_order):
            now = self._now(place)
            if place in numbers:
                self.nobody = max(self.nobody, now)
                yield Field(place.name, "cpu", place)
            elif place.name.endswith("flags"):
                moves = [v ^ now for v in found[place]]
                for mask in (1 << bit for bit in range(8 * place.size)):
                    if any(move & mask for move in moves):
                        yield Field(flags.get(mask, f"{place.name}.{mask:#x}"), "bit", place, (mask,), now & mask)
            elif place.kind == "task" and set(found[place]) <= {0, *self._section_buffers()}:
                yield Field(place.name, "section", place)
            else:
                yield Field(place.name, "number", place, tuple(sorted(set(found[place]))), found[place][0])

    def _section_buffers(self) -> set[int]:
        return {self.stage.entities.address[name] + SECTION for name in TASKS}

    def _cpu_numbers(self, candidates: set[Place]) -> set[Place]:
        """Return those that hold the CPU's number after a reload, or a switch in a section, by having both on CPU 3."""
        stage, found = self.stage, set()
        sections = (Event.KERNEL_NEON_BEGIN, Event.THREAD_SWITCH) if stage.preemptible_neon else ()
        for events in ((Event.RET_TO_USER,), sections):
            stage.be_cpu(3)
            for event in events:
                changed = stage.perform(ENTRIES[event], AS_NAMED).changed()
                found |= {p for p in candidates if changed.get(("task", p)) == 3}
            stage.processor.restore()
        return found

    def _flags(self) -> dict[int, str]:
        """Name the bits of a task's flags by what sets them: their numbers differ by version, and are in no type."""
        stage = self.stage
        at = stage.entities.member("task", "thread_info.flags")
        before = stage.processor.read(at)
        stage.processor.write(at, 0)
        stage.call("fpsimd_flush_task_state", "task")
        foreign = stage.processor.read(at)
        stage.perform(ENTRIES[Event.KERNEL_NEON_BEGIN], AS_NAMED)
        section = stage.processor.read(at) & ~foreign & ~before
        stage.processor.restore()
        return {section: "TIF_KERNEL_FPSTATE", foreign: "TIF_FOREIGN_FPSTATE"}

    def _learn_records(self) -> None:
        """Have the CPU's registers owned by a context of each kind, and keep what the members then hold."""
        stage, p = self.stage, self.stage.processor
        for kind, events in (
            ("task", (Event.RET_TO_USER,)),
            ("vcpu", (Event.VCPU_LOAD, Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_EXIT)),
            ("kernel", (Event.KERNEL_NEON_BEGIN, Event.THREAD_SWITCH) if stage.preemptible_neon else ()),
        ):
            for event in events:
                stage.perform(ENTRIES[event], AS_NAMED)
            base = stage.entities.address["vcpu" if kind == "vcpu" else "task"]
            record = []
            for place in (place for f in self.fields if f.kind == "owner" for place in (f.place, *f.also)):
                now = self._now(place)
                inside = base <= now < base + SLOT
                record.append((place, inside, now - base if inside else now))
            if events:
                self.records[kind] = tuple(record)
            p.restore()

    def fields_at(self, entity: str, place: Place) -> Iterable[Field]:
        """Return the fields that a member of an entity is, or is part of."""
        return (f for f in self.fields if f.place.kind == kind_of(entity) and place in (f.place, *f.also))


def _order(place: Place) -> tuple[str, int]:
    return place.kind, place.offset


def _variable(place: Place) -> tuple[str, str]:
    return place.kind, place.name.partition(".")[0]

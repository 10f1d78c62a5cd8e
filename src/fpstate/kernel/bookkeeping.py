"""A kernel's bookkeeping as fields of a view: which there are, what they mean, and how they stand in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fpstate.errors import FpstateError
from fpstate.kernel.effects import GATE
from fpstate.kernel.entities import SECTION, SLOT, TASKS, VCPUS, Place
from fpstate.kernel.entries import AS_NAMED
from fpstate.kernel.life import GUEST, SECTIONS, Life
from fpstate.kernel.stage import Stage
from fpstate.world.events import Event

Record = tuple[tuple[Place, bool, int], ...]
"""What members hold: (member, True, offset in the entity of a context) or (member, False, value)."""


@dataclass(frozen=True)
class Field:
    """One piece of bookkeeping, as kernel code sees it in one of its entities.

    Kinds: an "owner" names a context by the address of its image (`also` are the members that go with it); a "cpu"
    holds a CPU's number; a "bit" is one of a word (`values`: its mask); a "section" is a pointer to what a task's own
    section of kernel NEON is saved to, or NULL; a "storage" is one to the storage of an SVE form, or NULL (of a CPU: to
    that of the context its owner names); a "gate" is a trap of the CPU; a "number" has the values it was seen to have.
    """

    name: str
    kind: str
    place: Place
    values: tuple[int, ...] = ()
    start: int = 0
    also: tuple[Place, ...] = ()


class Bookkeeping:
    """All fields of a kernel. The entities are put to rest, as before anything has run.

    `records` says what the members of an owner hold when it names a context, by its name.
    `nobody` is what a field of kind "cpu" holds that names no CPU. `changing` are members that are no fields, since
    nothing was seen to read them, but do change: a run that reads one has a view that lacks it. `read` are those that
    some run has read; `of_sections` those that change from the begin of a section to its end only; `of_guests` those
    that change from a guest's entry to its exit only, with what they hold outside.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.nobody = 0
        self.records: dict[str, Record] = {}
        self._variants: dict[str, list[dict[Place, tuple[bool, int]]]] = {}
        before = stage.entities.all_of_them()
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
        self._rest(before)
        self._learn_records(found)
        self.fields = list(self._sorted_out(found))
        if not any(f.kind == "owner" for f in self.fields):
            given = "nothing of what the kernel keeps for a CPU names the context whose registers it has"
            raise FpstateError(given, expected="a pointer to its image", where=stage.processor.where)
        if stage.sve_flag is not None:
            place, mask = stage.sve_flag
            self.fields += [Field("user_sve_trap", "gate", GATE, start=1)]
            self.fields += [Field("has_sve", "bit", place, (mask,), mask)]

    def add(self, place: Place) -> None:
        """Take a member as a field after all: a run was seen to read it, and another to change it."""
        self.changing.discard(place)
        self.of_guests.pop(place, None)
        self.fields += self._sorted_out({place: (self._now(place), 0)})

    def _rest(self, before: bytes) -> None:
        """Put the entities to rest, as they were before: no task's registers are live, and the CPU's are nobody's."""
        stage, e = self.stage, self.stage.entities
        stage.processor.write_bytes(stage.processor.base, before)
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
        e, owners = self.stage.entities, self._owners(found)
        numbers = self._cpu_numbers({p for p in found if p.kind == "task" and p.size == 4})
        flags = {("task", mask): name for mask, name in self._flags().items()}
        gone_with = set()
        for place in sorted(owners, key=_order):
            also = tuple(sorted((p for p in found if p not in owners and self._goes_with(p, place)), key=_order))
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
                        yield Field(
                            flags.get((place.kind, mask), f"{place.name}.{mask:#x}"), "bit", place, (mask,), now & mask
                        )
            elif set(found[place]) <= {0, *e.storages}:
                yield Field(place.name, "storage", place)
            elif place.kind == "task" and set(found[place]) <= {0, *self._section_buffers()}:
                yield Field(place.name, "section", place)
            else:
                yield Field(place.name, "number", place, tuple(sorted(set(found[place]))), found[place][0])

    def _owners(self, found: dict[Place, tuple[int, ...]]) -> set[Place]:
        images = self.stage.entities.images
        return {p for p, values in found.items() if p.kind == "cpu" and any(v in images for v in values)}

    def _goes_with(self, place: Place, owner: Place) -> bool:
        """Tell whether what a member holds follows from whom an owner names, in all that was seen."""
        if _variable(place) != _variable(owner):
            return False
        return all(len({seen.get(place) for seen in variants}) == 1 for variants in self._variants.values())

    def _section_buffers(self) -> set[int]:
        return {self.stage.entities.address[name] + SECTION for name in TASKS}

    def _cpu_numbers(self, candidates: set[Place]) -> set[Place]:
        """Return those that hold the CPU's number after a reload, or a switch in a section, by having both on CPU 3."""
        stage, found = self.stage, set()
        sections = (Event.KERNEL_NEON_BEGIN, Event.THREAD_SWITCH) if stage.preemptible_neon else ()
        for events in ((Event.RET_TO_USER,), sections):
            stage.be_cpu(3)
            for event in events:
                changed = stage.happen(event, AS_NAMED).changed()
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
        stage.happen(Event.KERNEL_NEON_BEGIN, AS_NAMED)
        section = stage.processor.read(at) & ~foreign & ~before
        sve = 0
        if stage.has_sve:
            stage.happen(Event.SVE_TRAP, AS_NAMED)
            sve = stage.processor.read(at) & ~foreign & ~section & ~before
        stage.processor.restore()
        return {sve: "TIF_SVE", section: "TIF_KERNEL_FPSTATE", foreign: "TIF_FOREIGN_FPSTATE"}

    def _learn_records(self, found: dict[Place, tuple[int, ...]]) -> None:
        """Have the CPU's registers owned by each context, in each way there is, and keep what the members then hold."""
        stage, e = self.stage, self.stage.entities
        owners = self._owners(found)
        places = sorted((p for p in found if any(_variable(p) == _variable(o) for o in owners)), key=_order)
        for name in TASKS:
            roles = AS_NAMED | {"task": name, "next": "next" if name == "task" else "task"}
            live = (Event.RET_TO_USER,)
            self._note(name, roles, live, places)
            if stage.has_sve:
                self._note(name, roles, (Event.SVE_TRAP, *live), places)
            if stage.preemptible_neon:
                self._note(f"{name}.kernel", roles, (Event.KERNEL_NEON_BEGIN, Event.THREAD_SWITCH), places)
        run = (Event.VCPU_LOAD, Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_EXIT)
        for name in VCPUS:
            self._note(name, AS_NAMED | {"vcpu": name}, run, places)
            if stage.sve_flag is not None:
                place, mask = stage.sve_flag
                at = e.base_of(name) + place.offset
                stage.processor.write(at, stage.processor.read(at, place.size) & ~mask, place.size)
                self._note(name, AS_NAMED | {"vcpu": name}, run, places)
        for place in places:
            seen_too = (seen[place] for variants in self._variants.values() for seen in variants)
            found[place] = tuple(dict.fromkeys((*found[place], *(now for inside, now in seen_too if not inside))))
        nobody = dict.fromkeys((p for p in places if p in owners), (False, 0))
        known = {name: variants[0] for name, variants in self._variants.items()}
        same = [p for p in places if p in owners or any(self._goes_with(p, o) for o in owners)]
        self.records = {name: tuple((p, *seen[p]) for p in same) for name, seen in known.items()}
        self.records[""] = tuple((p, *at) for p, at in nobody.items())

    def _note(self, name: str, roles: dict[str, str], events: tuple[Event, ...], places: list[Place]) -> None:
        """Note what members hold after events that make a context the owner of the CPU's registers."""
        stage = self.stage
        for event in events:
            stage.happen(event, roles)
        base = stage.entities.address[name.partition(".")[0]]
        seen = {}
        for place in places:
            now = self._now(place)
            inside = base <= now < base + SLOT
            seen[place] = inside, now - base if inside else now
        self._variants.setdefault(name, []).append(seen)
        stage.processor.restore()

    def was_seen(self, owner: str, values: dict[Place, int]) -> bool:
        """Tell whether members were seen to hold such values beside the name of an owner; of pointers: any, or NULL."""
        return any(
            all(seen[p][1] == value if not seen[p][0] else bool(value) for p, value in values.items() if p in seen)
            for seen in self._variants.get(owner, ())
        )


def _order(place: Place) -> tuple[str, int]:
    return place.kind, place.offset


def _variable(place: Place) -> tuple[str, str]:
    return place.kind, place.name.partition(".")[0]

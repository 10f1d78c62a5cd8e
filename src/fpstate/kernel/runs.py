"""What a kernel's code does on a view, by running it: fields are put into its memory, and what it did is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fpstate.kernel.bookkeeping import Bookkeeping, Field
from fpstate.kernel.effects import (
    CALLED,
    EDIT,
    EDIT_SVE,
    FAULT,
    GATE,
    LOAD_ZCR,
    LOADS,
    MIXED,
    PARTIAL,
    SAVE_ZCR,
    SAVES,
    SET_VL,
    SPOIL,
    TRAPPED,
    WRITE,
    WRITE_SVE,
    ZERO,
    Effect,
    Effects,
    Key,
)
from fpstate.kernel.entities import SECTION, TASKS, VCPUS, Place, kind_of
from fpstate.kernel.entries import AS_NAMED, RUN, WHOLE_RETURN
from fpstate.kernel.processor import Saved
from fpstate.kernel.stage import Halt, Stage
from fpstate.kernel.steps import (
    ELSEWHERE,
    FAULT_OF_SECTION,
    POINT,
    THIS_CPU,
    Asked,
    Choose,
    Declared,
    Say,
    Step,
    Unclear,
    Value,
)
from fpstate.rows.session import Refused
from fpstate.world.events import PARTICIPANTS, PREEMPTIBLE, SOFTIRQ_ONLY, Event

SAVERS: Final = ("fpsimd_save", "fpsimd_save_user_state")
"""The function in which saves of user state are seen; the second is the first's name since v6.8."""
OUT_OF_VIEW: Final = ("other", "other_vcpu", "other.kernel")
"""Who a pointer to somebody not in view may name: what the kernel does must not hang on which."""


INSIDE: Final = (Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP, Event.GUEST_EXIT)
"""Events before which the guest runs: the CPU's traps are its own."""
ALL_UNTRAPPED: Final = {"guest_fp_trap": False, "guest_sve_trap": False}
OF_IMAGES: Final = (WRITE, EDIT, WRITE_SVE, EDIT_SVE, ZERO, SPOIL, PARTIAL, MIXED)
"""What is written to images, or moved, and is no move of all registers."""
After = dict[tuple[str, str], Value]
"""What a run left in the fields it wrote, by role and field."""


class NewField(Exception):
    """A run has read a member that no view holds so far, and that changes: all has to be asked anew with it."""


class Unsaid(Exception):
    """A run has done what there is no word for; that matters only if its view comes about."""


@dataclass(frozen=True)
class View:
    """What has been asked for, by role and field, at an event; `before` is all before its last point, and that."""

    before: Asked
    event: Event
    entity_of: dict[str, str]
    chosen: dict[tuple[str, str], Value]

    def role_of(self, entity: str) -> str | None:
        """Return the role of an entity; None if it is not in view."""
        return next((role for role, name in self.entity_of.items() if name == entity), None)


@dataclass(frozen=True)
class Way:
    """One of the ways to run an entry: who is out of view, where the guest stands, unseen bits flipped, to a point."""

    other: str
    guest: Saved | None
    flip: bool = False
    point: int = 0


@dataclass
class Answer:
    """What a run did, and what it left in the fields it wrote; `trapped`: which uses of its guest would trap."""

    way: Way
    effects: Effects
    after: After
    trapped: dict[str, bool]
    halt: Halt | None  # where it stands, if it does not go on to the end

    def same_as(self, them: Answer) -> bool:
        """Tell whether two runs did the same, be it to different entities out of view."""
        return (self.done(), self.after, self.trapped) == (them.done(), them.after, them.trapped)

    def done(self) -> list[tuple[str, str]]:
        """Return what was done and to whom."""
        return [(e.what, self.whom(e.whom)) for e in self.effects.done]

    def whom(self, name: str) -> str:
        """Return a context's name as it looks from the view."""
        return ELSEWHERE if name == self.way.other else name


@dataclass
class Runs:
    """The code of one kernel, ready to be run."""

    stage: Stage
    books: Bookkeeping = field(init=False)
    _answered: dict[tuple[Any, ...], list[Answer]] = field(default_factory=dict)  # by event and what does not stand
    # as it starts
    _halts: dict[Asked, dict[str, Halt]] = field(default_factory=dict)  # by who is meant by somebody out of view
    _guests: list[Saved] = field(init=False)  # that stand to enter their guest, trapped and not

    def __post_init__(self) -> None:
        self.books = Bookkeeping(self.stage)
        self._called = self._system_call()
        self._length_at_put = self.stage.has_sve and self._saves_length_at_put()
        self._guests = list(self._entered())
        self.renew()

    def _entered(self) -> Iterator[Saved]:
        stage = self.stage
        stage.happen(Event.VCPU_LOAD, AS_NAMED)
        for event in (Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_EXIT, Event.GUEST_ENTER):
            stage.happen(event, AS_NAMED)
            if event in (Event.GUEST_ENTER, Event.GUEST_FP_TRAP) and stage.guest is not None:
                yield stage.guest
        stage.processor.restore()

    def _saves_length_at_put(self) -> bool:
        """Tell whether a guest's own vector length stays where it is, in ZCR_EL12, until its vCPU is put."""
        stage = self.stage
        for event in (Event.VCPU_LOAD, Event.GUEST_ENTER, Event.GUEST_FP_TRAP):
            stage.happen(event, AS_NAMED)
        exits, puts = (stage.happen(event, AS_NAMED) for event in (Event.GUEST_EXIT, Event.VCPU_PUT))
        stage.processor.restore()
        return [any(e.what == SAVE_ZCR for e in effects.done) for effects in (exits, puts)] == [False, True]

    def _system_call(self) -> Saved | None:
        """Return where a system call stands from which a task returns to user mode."""
        if self.stage.whole_return:
            self.stage.happen(Event.SYSCALL, AS_NAMED)
            self.stage.processor.restore()
        return self.stage.system_call

    def renew(self) -> None:
        """Take in fields that were found since; runs on views without them count no more."""
        self._answered.clear()
        self._halts.clear()
        self._at: dict[Place, list[Field]] = {}  # fields that a member is, or is part of
        self._of: dict[str, list[Field]] = {"cpu": [], "task": [], "vcpu": []}
        for f in self.books.fields:
            self._of[f.place.kind].append(f)
            for place in (f.place, *f.also):
                self._at.setdefault(place, []).append(f)
        self._by_name = {f.name: f for f in self.books.fields}
        self._names = {f.name: self._values(f) for f in self.books.fields if f.kind == "number"}
        self._start = {f.name: self._stands(f) for f in self.books.fields}

    def _values(self, f: Field) -> dict[int, str]:
        names = self.stage.btf.enumerators(f.place.type)
        return {v: names.get(v, f"_{v:#x}") for v in f.values}

    def _stands(self, f: Field) -> Value:
        """Return what a field starts as."""
        if f.kind == "number":
            return self._names[f.name][f.start]
        return "" if f.kind in ("owner", "cpu") else bool(f.start)

    def declared(self) -> list[Declared]:
        """Return all fields as a policy declares them."""
        return [
            Declared(f.name, f.kind, f.place.kind, self._start[f.name], tuple(self._names.get(f.name, {}).values()))
            for f in self.books.fields
        ]

    def knows(self, whom: str) -> bool:
        """Tell whether there is an image of that name."""
        return whom in self.stage.entities.image_of

    # A step.

    def step(self, asked: Asked) -> Step:
        """Return what the code does at an event next, by what was asked for. Raise NewField, or Refused."""
        event = Event[asked[0]]
        words = ("cpu", *PARTICIPANTS[event])
        roles = dict(zip(("cpu", "task", "second"), words, strict=False))
        last = len(asked) - asked[::-1].index(POINT) if POINT in asked else 1
        view = View(asked[:last], event, roles, {(role, name): value for role, name, value in asked[last:]})
        if last > 1 and view.before not in self._halts:
            self.step(view.before[:-1])  # comes to its point
        key = view.before, frozenset(item for item in view.chosen.items() if item[1] != self._start[item[0][1]])
        if key not in self._answered:
            self._answered[key] = self._answers(view)
        answers = self._answered[key]
        flipped: After | None = None
        if self._sets_unseen_bits(view, answers[0].effects):
            flipped = self._run(view, replace(answers[0].way, flip=True)).after
        wanted = self._lacking(view, answers, flipped)
        if wanted is None and answers[0].halt is not None:
            self._halts[*asked, POINT] = {a.way.other: a.halt for a in answers if a.halt is not None}
        try:
            return wanted or self._said(view, answers, flipped)
        except Unsaid as why:
            return Unclear(str(why))

    def _answers(self, view: View) -> list[Answer]:
        """Run an entry in all the ways that the view does not tell apart, to its first point or its end."""
        others = [n for n in OUT_OF_VIEW if self.knows(n)] if ELSEWHERE in self._owners(view) else ["other"]
        ways = [Way(other, guest) for other in others for guest in self._stands_in(view.event)]
        whole = [self._run(view, way) for way in ways]
        point = self._first_point(view, whole[0].effects)
        return [self._run(view, replace(way, point=point)) for way in ways] if point else whole

    def _first_point(self, view: View, effects: Effects) -> int:
        """Return the number, from 1, of the first point at which others could change what the code does; 0 for none.

        It has moved registers, or come by a field, before it and again after it. What comes after one on the whole way
        back to user mode is that way again: the kernel looks anew whether there is anything to do.
        """
        if view.event not in PREEMPTIBLE | SOFTIRQ_ONLY or self.stage.entries[view.event].guest == "return":
            return 0
        used = [number for number, key in effects.touched if key is None or key[1] in self._at]
        points = enumerate(effects.points, 1)
        return next((n for n, at in points if used and used[0] < at <= used[-1]), 0)

    def _owners(self, view: View) -> list[Value]:
        return [value for (_, name), value in view.chosen.items() if self._by_name[name].kind == "owner"]

    def _stands_in(self, event: Event) -> list[Saved] | list[None]:
        """Return the runs from which an event goes on; at a trap the guest was trapped."""
        at = self.stage.entries[event].guest
        if at == "return":
            return [self._called] if self._called is not None else []
        return self._guests[:1] if at == "trap" else self._guests if at == "exit" else [None]

    def _run(self, view: View, way: Way) -> Answer:
        stage, entry, other = self.stage, self.stage.entries[view.event], way.other
        since = None
        if view.before[1:]:
            halts = self._halts[view.before]
            since = halts.get(other, halts["other"])
            stage.processor.go_back(since.saved)
        else:
            if way.guest is not None:
                stage.processor.go_back(way.guest)
            stage.prepare(entry, AS_NAMED)
        for role, f in self._fields_of(view):
            self._put(view, role, f, other, flip=way.flip)
        if stage.has_sve and since is None and view.event not in INSIDE:
            self._put_length(view, other)
        effects = stage.perform(entry, AS_NAMED, way.guest, since=since, point=way.point)
        after = {
            (role, f.name): self._get(view.entity_of[role], f, other)
            for role, f in self._fields_of(view)
            if (view.entity_of[role], f.place) in effects.wrote
            or (f.kind == "gate" and effects.gated and entry.guest in ("", "exit", "return"))
        }
        trapped = stage.guest_traps() if entry.guest in ("enter", "trap") else {}
        stage.processor.restore()
        return Answer(way, effects, after, trapped, stage.halt)

    def _fields_of(self, view: View) -> list[tuple[str, Field]]:
        """Return all fields in view, with their roles."""
        return [(role, f) for role, entity in view.entity_of.items() for f in self._of[kind_of(entity)]]

    # Fields in memory.

    def _put(self, view: View, role: str, f: Field, other: str, *, flip: bool) -> None:
        """Put the value of a field into the kernel's memory; one not asked for yet stands as it starts, or flipped."""
        e, p, entity = self.stage.entities, self.stage.processor, view.entity_of[role]
        at = e.base_of(entity) + f.place.offset
        value = view.chosen.get((role, f.name), self._start[f.name])
        if f.kind == "gate":
            if view.event not in INSIDE:
                p.set_user_sve_trap(bool(value))
        elif f.kind == "owner":
            whom = other if value == ELSEWHERE else str(value)
            for place, inside, number in self.books.records[whom]:
                base = e.address[whom.partition(".")[0]] if inside else 0
                p.write(e.base_of(entity) + place.offset, base + number, place.size)
        elif f.kind == "cpu":
            p.write(at, {"": self.books.nobody, THIS_CPU: 0}.get(str(value), 1), f.place.size)
        elif f.kind == "bit":
            mask = f.values[0]
            held = bool(value) ^ (flip and (role, f.name) not in view.chosen)
            p.write(at, p.read(at, f.place.size) & ~mask | mask * held, f.place.size)
        elif f.kind == "section":
            p.write(at, e.address[entity] + SECTION if value else 0, f.place.size)
        elif f.kind == "storage":
            whom = entity if entity in e.storage else self._owner(view, other).partition(".")[0] or "task"
            p.write(at, e.storage[whom] if value else 0, f.place.size)
        else:
            number = next(n for n, name in self._names[f.name].items() if name == value)
            p.write(at, number, f.place.size)

    def _owner(self, view: View, other: str) -> str:
        """Return whose the CPU's registers are by its record, as the view has it."""
        f = next(f for f in self.books.fields if f.kind == "owner")
        value = str(view.chosen.get(("cpu", f.name), self._start[f.name]))
        return other if value == ELSEWHERE else value

    def _put_length(self, view: View, other: str) -> None:
        """Put that vector length in force which goes with the registers: the CPU's own is not in view."""
        e = self.stage.entities
        self.stage.processor.set_length(e.length[self._owner(view, other) or "task"])

    def _get(self, entity: str, f: Field, other: str) -> Value:
        """Return what a field holds after a run."""
        e, p = self.stage.entities, self.stage.processor
        if f.kind == "gate":
            return p.user_sve_trap
        number = p.read(e.base_of(entity) + f.place.offset, f.place.size)
        if f.kind == "bit":
            return bool(number & f.values[0])
        if f.kind == "section":
            if number not in (0, e.address[entity] + SECTION):
                raise _strange(f, f"{number:#x}, which is not its own section's")
            return bool(number)
        if f.kind == "storage":
            return bool(number)
        if f.kind == "cpu":
            return {self.books.nobody: "", 0: THIS_CPU, 1: ELSEWHERE}.get(number, "")
        if f.kind == "number":
            if number not in f.values:
                raise _strange(f, f"{number:#x}")
            return self._names[f.name][number]
        if not number:
            return ""
        whom = e.images.get(number)
        if whom is None:
            raise _strange(f, f"{number:#x}, which is nobody's image")
        for place, inside, expected in self.books.records[whom]:
            base = e.address[whom.partition(".")[0]] if inside else 0
            if p.read(e.base_of(entity) + place.offset, place.size) != base + expected:
                raise _strange(f, f"{whom}'s, but {place.name} is not")
        return ELSEWHERE if whom == other else whom

    # What more has to be asked for.

    def _lacking(self, view: View, answers: list[Answer], flipped: After | None) -> Choose | None:
        """Return the first field that a run has read, or copied to a child, and that was not asked for, if any."""
        for answer in answers:
            for key in answer.effects.read:
                if (key[1] != GATE or view.event not in INSIDE) and (wanted := self._read(view, key)):
                    return wanted
            if not any(effect.what == FAULT for effect in answer.effects.done):
                for (_, place), now in answer.effects.changed().items():
                    self._note_change(place, now, view.event)
            for entity, place in answer.effects.copied:
                if entity != "task" or place not in self._at or ("next", place) not in answer.effects.wrote:
                    continue
                for f in self._at[place]:
                    if ("task", f.name) not in view.chosen and _is_copied(f, answer, flipped):
                        return Choose("task", f.name)
        return None

    def _read(self, view: View, key: Key) -> Choose | None:
        entity, place = key
        self.books.read.add(place)
        if place in self.books.changing:
            self.books.add(place)
            raise NewField(place.name)
        for f in self._at.get(place, ()):
            role = view.role_of(entity)
            if role is None:
                if entity in (*TASKS, *VCPUS):
                    raise Refused(f"reads {place.name} of somebody not in view")
            elif (role, f.name) not in view.chosen:
                return Choose(role, f.name)
        return None

    def _note_change(self, place: Place, now: int, event: Event) -> None:
        """Note that a run has left a member changed; if it is no field and some run has read it, it has to be one."""
        books = self.books
        inside = event in (Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP)
        known = place in books.of_guests and (inside or now == books.of_guests[place])
        known = known or place in books.of_sections or place in self._at
        if place.kind == "elsewhere" or known or place in books.changing:
            return
        books.changing.add(place)
        if place in books.read:
            books.add(place)
            raise NewField(place.name)

    def _sets_unseen_bits(self, view: View, effects: Effects) -> bool:
        """Tell whether a run changed a word of flags of which the view has not all."""
        return any(
            f.kind == "bit" and (role, f.name) not in view.chosen and (view.entity_of[role], f.place) in effects.wrote
            for role, f in self._fields_of(view)
        )

    # What was done.

    def _said(self, view: View, answers: list[Answer], flipped: After | None) -> Step:
        """Return what runs of a whole view did; it must not hang on who is out of view, but for a fault."""
        answer = answers[0]
        does = list(self._done(view, answer.effects.done, answer))
        for another in answers[1:]:
            if another.same_as(answer):
                continue
            done = another.done()
            of_section = another.way.other.endswith(".kernel")
            if of_section and not self._is_known(view, another.way.other):
                done = [
                    (FAULT, "")
                ]  # the state of a section was never seen with such members: where it is, that is wrong
            if not of_section or (FAULT, "") not in done or done[:-1] != answer.done()[: len(done) - 1]:
                return Unclear("does what hangs on more than the view: on who is meant by somebody not in view")
            before = len(list(self._done(view, answer.effects.done[: len(done) - 1], answer)))
            does.insert(before, (FAULT_OF_SECTION, ELSEWHERE, ""))
        entry, near = self.stage.entries[view.event], self.stage.symbols.near
        first = next((e for e in answer.effects.done if e.what != CALLED), None)
        goes_on = WHOLE_RETURN if entry.guest == "return" else RUN.names[0]  # in what was called before
        name = self.stage.name_of(entry.calls) or goes_on
        return Say(
            f"{name}, at {near(first.pc)}" if first else name,
            tuple(does),
            tuple((*key, value) for key, value in answer.after.items() if self._is_written(view, key, value, flipped)),
            tuple(answer.trapped.items()),
            more=answer.halt is not None,
        )

    def _is_known(self, view: View, owner: str) -> bool:
        """Tell whether an owner was seen beside what the view has in the other members of the CPU's record."""
        values = {}
        for f in self.books.fields:
            value = view.chosen.get(("cpu", f.name))
            if f.kind == "storage" and value is not None:
                values[f.place] = int(bool(value))
            elif f.kind == "number" and value is not None:
                values[f.place] = next(n for n, name in self._names[f.name].items() if name == value)
        return self.books.was_seen(owner, values)

    def _done(self, view: View, effects: list[Effect], answer: Answer) -> Iterator[tuple[str, str, str]]:
        inside = ""
        if self._length_at_put and view.event == Event.GUEST_EXIT and self._leaves_length(view, answer):
            yield SAVE_ZCR, "vcpu", ""  # it is not in force any more; that of ZCR_EL2 is
            yield SET_VL, "vcpu", ""
        if self._length_at_put and answer.trapped == ALL_UNTRAPPED and view.event == Event.GUEST_ENTER:
            yield LOAD_ZCR, "vcpu", ""
        for effect in effects:
            if effect.what == CALLED:
                inside = SAVERS[0] if effect.whom in SAVERS else effect.whom
                if effect.whom not in SAVERS:
                    yield CALLED, effect.whom, ""
            elif effect.what == SAVE_ZCR and self._length_at_put:
                pass  # said when the guest was left
            elif effect.what == SET_VL and not effect.whom:
                raise Refused("puts a vector length in force that is nobody's")
            elif effect.what == TRAPPED:
                raise Unsaid("leaves the host behind a trap of the hypervisor")
            elif effect.what in OF_IMAGES and effect.whom not in self.stage.entries[view.event].others:
                yield self._written(view.event, effect), answer.whom(effect.whom), ""
            elif effect.what in (*SAVES, *LOADS) or effect.whom not in self.stage.entries[view.event].others:
                saves = effect.what in SAVES and inside == SAVERS[0]
                yield effect.what, answer.whom(effect.whom), SAVERS[0] if saves else ""

    def _written(self, event: Event, effect: Effect) -> str:
        """Return what a write to an image is at an event: a new value, if the event gives one, and that is written."""
        gives = self.stage.entries[event].gives == effect.whom
        zeros = event == Event.EXEC
        near = self.stage.symbols.near(effect.pc)
        if effect.what in (PARTIAL, MIXED):
            raise Unsaid(f"moves part of the registers of {effect.whom}, at {near}")
        if effect.what in (WRITE_SVE, EDIT_SVE):
            if not gives:
                raise Unsaid(f"writes to the SVE form of {effect.whom}, which gets no new value, at {near}")
            return effect.what
        if not gives or effect.what == SPOIL or (effect.what == ZERO) != zeros:
            return SPOIL
        return WRITE if zeros else effect.what

    def _leaves_length(self, view: View, answer: Answer) -> bool:
        """Tell whether a guest that has SVE is left with its registers in the CPU."""
        owners = (f.name for f in self.books.fields if f.kind == "owner")
        has_sve = view.chosen.get((view.role_of("vcpu") or "", "has_sve"))
        return bool(has_sve) and any(answer.after.get(("cpu", o)) == "vcpu" for o in owners)

    def _is_written(self, view: View, key: tuple[str, str], value: Value, flipped: After | None) -> bool:
        """Tell whether a field was written, and not only the word that it is a bit of."""
        if self._by_name[key[1]].kind != "bit":
            return True
        return value != view.chosen[key] if key in view.chosen else flipped is None or flipped[key] == value


def _is_copied(f: Field, answer: Answer, flipped: After | None) -> bool:
    """Tell whether a child's field is, after a fork, what was copied from its parent."""
    if f.kind == "bit":
        key = "second", f.name
        return flipped is not None and flipped[key] != answer.after[key]
    return ("next", f.place) in answer.effects.by_copy


def _strange(f: Field, value: str) -> Refused:
    return Refused(f"sets {f.name} to {value}, which was not seen before")

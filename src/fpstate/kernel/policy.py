"""A kernel as a policy: each handler puts its view into the kernel's fields, runs its code, and says what it did."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, cast

from fpstate.errors import FpstateError
from fpstate.kernel.bookkeeping import VALUES, Bookkeeping, Field
from fpstate.kernel.effects import CALLED, EDIT, FAULT, LOAD, SAVE, WARN, WRITE, Effects, Key
from fpstate.kernel.entities import SECTION, TASKS, VCPUS, Place, kind_of
from fpstate.kernel.entries import ENTRIES, OF_THE_WORLD, Entry
from fpstate.kernel.processor import Saved
from fpstate.kernel.stage import AS_NAMED, Stage
from fpstate.policies.base import Context, Policy
from fpstate.rows.decisions import all_decisions
from fpstate.rows.learn import Rows
from fpstate.rows.session import Refused, Undecided
from fpstate.world.events import PARTICIPANTS, Event
from fpstate.world.operations import OOPS

SAVERS = ("fpsimd_save", "fpsimd_save_user_state")
"""The function in which saves of user state are seen; the second is the first's name since v6.8."""
OUT_OF_VIEW = ("other", "other_vcpu", "other.kernel")
"""Who a pointer to somebody not in view may name: what the kernel does must not hang on which."""


class View:
    """One run's view: what its handler has asked the engine for, by role and field, and how that stands in memory."""

    def __init__(self, kernel: KernelCode, event: Event, entities: tuple[Any, ...]) -> None:
        self.kernel, self.event = kernel, event
        self.cpu = entities[0]
        self.by_role = dict(zip(("cpu", "task", "second"), entities, strict=False))
        words = ("cpu", *PARTICIPANTS[event])
        self.entity_of = {role: words[i] for i, role in enumerate(self.by_role)}
        self.role_of = {entity: role for role, entity in self.entity_of.items()}
        self.chosen: dict[tuple[str, str], Any] = {}

    def fields(self) -> list[tuple[str, Field]]:
        """Return all fields in view, with their roles."""
        every = self.kernel.fields
        return [(role, f) for role, entity in self.entity_of.items() for f in every if f.place.kind == kind_of(entity)]

    def contexts(self) -> dict[str, Any]:
        """Return the contexts in view by the names that images have."""
        found = {self.entity_of[role]: entity for role, entity in self.by_role.items() if role != "cpu"}
        return found | {f"{name}.kernel": entity.kernel for name, entity in found.items() if name in TASKS}

    def owners(self) -> list[Any]:
        """Return what the owners asked for so far hold."""
        fields = self.kernel.by_name
        return [value for (_, name), value in self.chosen.items() if fields[name].kind == "owner"]

    def choose(self, role: str, f: Field) -> None:
        """Ask the engine what a field holds."""
        self.chosen[role, f.name] = getattr(self.by_role[role], f.name)

    def plain(self, value: Any) -> Any:
        """Return a value as one that means the same in every view of the event."""
        return value if isinstance(value, bool | Enum) else "this" if value is self.cpu else self.name_of(value, "?")

    def name_of(self, value: Any, elsewhere: str) -> str:
        """Return which image an owner's value names; "" for none."""
        if value is None:
            return ""
        for role, entity in self.by_role.items():
            if value is entity:
                return self.entity_of[role]
            if self.entity_of[role] in TASKS and value is entity.kernel:
                name = f"{self.entity_of[role]}.kernel"
                return name if self.kernel.knows(name) else elsewhere
        return elsewhere


class KernelCode:
    """A kernel made ready to be asked."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.books = Bookkeeping(stage)
        self.enums: dict[str, Any] = {}
        self.by_name: dict[str, Field] = {}
        self._answered: dict[tuple[Any, ...], list[Answer]] = {}  # by event and what was asked for
        self.guests = self._guests()
        self.renew()

    @property
    def fields(self) -> list[Field]:
        """All fields of the kernel."""
        return self.books.fields

    def renew(self) -> None:
        """Take in fields that were found since; runs on views without them count no more."""
        self._answered.clear()
        self.by_name = {f.name: f for f in self.fields}
        self.enums = {f.name: self.enums.get(f.name) or self._values(f) for f in self.fields if f.kind == "number"}

    def _values(self, f: Field) -> Any:
        names = self.stage.btf.enumerators(f.place.type)
        return Enum(f.name.rpartition(".")[2], {names.get(v, f"_{v:#x}"): v for v in f.values})

    def _guests(self) -> list[Saved]:
        """Return runs that stand to enter their guest, trapped and not, from which others can go on."""
        stage, kept = self.stage, []
        stage.perform(ENTRIES[Event.VCPU_LOAD], AS_NAMED)
        for event in (Event.GUEST_ENTER, Event.GUEST_FP_TRAP, Event.GUEST_EXIT, Event.GUEST_ENTER):
            stage.perform(ENTRIES[event], AS_NAMED)
            if event in (Event.GUEST_ENTER, Event.GUEST_FP_TRAP) and stage.guest is not None:
                kept.append(stage.guest)
        stage.processor.restore()
        return kept

    # A handler.

    def handle(self, event: Event, entities: tuple[Any, ...]) -> None:
        """Do at an event what the kernel does on this view."""
        view = View(self, event, entities)
        entry = ENTRIES[event]
        if entry.only_if and not getattr(view.by_role["task"], entry.only_if):
            return
        if entry.only_if:
            view.choose("task", self.by_name[entry.only_if])
        while True:
            asked = event, *((role, name, view.plain(value)) for (role, name), value in view.chosen.items())
            if asked not in self._answered:
                self._answered[asked] = self._answers(view, entry)
            answers = self._answered[asked]
            if self._all_chosen(view, answers):
                break
        self._say(view, answers[0], self._faults_if_kernel(answers))

    def _faults_if_kernel(self, answers: list[Answer]) -> int | None:
        """Return after how many effects the kernel faults if who is not in view is kernel-mode state, or None.

        Raise Undecided if there is another difference between the ways that the view does not tell apart.
        """
        first, at = answers[0], None
        for answer in answers[1:]:
            if answer.same_as(first):
                continue
            done, fault = answer.done(), ("oops", "")
            if not answer.other.endswith(".kernel") or fault not in done or done[:-1] != first.done()[: len(done) - 1]:
                raise Undecided("does what hangs on more than the view: on who is meant by somebody not in view")
            at = len(done) - 1
        return at

    def _answers(self, view: View, entry: Entry) -> list[Answer]:
        """Run an entry in all the ways that the view does not tell apart."""
        named = [view.name_of(value, "?") for value in view.owners()]
        others = [n for n in OUT_OF_VIEW if self.knows(n)] if "?" in named else ["other"]
        guests: list[Saved | None] = list(self.guests) if entry.guest in ("trap", "exit") else [None]
        if entry.guest == "trap":
            guests = guests[:1]  # it was trapped
        answers = [self._run(view, entry, other, guest, flip=False) for other in others for guest in guests]
        if self._sets_unseen_bits(view, answers[0].effects):
            answers[0].flipped = self._run(view, entry, others[0], guests[0], flip=True).after
        return answers

    def _run(self, view: View, entry: Entry, other: str, guest: Saved | None, *, flip: bool) -> Answer:
        stage = self.stage
        if guest is not None:
            stage.processor.go_back(guest)
        stage.prepare(entry, AS_NAMED)
        for role, f in view.fields():
            self._put(view, role, f, other, flip=flip)
        effects = stage.perform(entry, AS_NAMED, guest)
        after = {(role, f.name): self._get(view.entity_of[role], f, effects, other) for role, f in view.fields()}
        answer = Answer(effects, after, other, stage.guest_trapped() if entry.guest in ("enter", "trap") else None)
        stage.processor.restore()
        return answer

    def knows(self, whom: str) -> bool:
        """Tell whether there is an image of that name."""
        return whom in self.stage.entities.image_of

    def _put(self, view: View, role: str, f: Field, other: str, *, flip: bool) -> None:
        """Put the value of a field into the kernel's memory; one not asked for yet stands as it starts, or flipped."""
        e, p, entity = self.stage.entities, self.stage.processor, view.entity_of[role]
        at = e.base_of(entity) + f.place.offset
        value = view.chosen.get((role, f.name), _UNKNOWN)
        if f.kind == "owner":
            whom = "" if value is _UNKNOWN else view.name_of(value, other)
            for place, inside, number in self._record(whom):
                base = e.address[whom.partition(".")[0]] if inside else 0
                p.write(e.base_of(entity) + place.offset, base + number, place.size)
        elif f.kind == "cpu":
            here = value is not _UNKNOWN and value is view.cpu
            number = self.books.nobody if value is _UNKNOWN or value is None else 0 if here else 1
            p.write(at, number, f.place.size)
        elif f.kind == "bit":
            mask = f.values[0]
            held = bool(f.start) ^ flip if value is _UNKNOWN else value
            p.write(at, p.read(at, f.place.size) & ~mask | mask * held, f.place.size)
        elif f.kind == "section":
            p.write(at, e.address[entity] + SECTION if value is True else 0, f.place.size)
        else:
            p.write(at, f.start if value is _UNKNOWN else value.value, f.place.size)

    def _record(self, whom: str) -> Any:
        """Return what the members of an owner hold when it names `whom`."""
        if not whom:
            return [(place, False, 0) for place, _, _ in self.books.records["task"]]
        kind = "kernel" if whom.endswith(".kernel") else "vcpu" if whom in VCPUS else "task"
        return self.books.records[kind]

    def _get(self, entity: str, f: Field, effects: Effects, other: str) -> Any:
        """Return what a field holds after a run, as View and engine have it; _UNKNOWN if the run did not write it."""
        e, p = self.stage.entities, self.stage.processor
        if (entity, f.place) not in effects.wrote:
            return _UNKNOWN
        number = p.read(e.base_of(entity) + f.place.offset, f.place.size)
        if f.kind == "bit":
            return bool(number & f.values[0])
        if f.kind == "section":
            if number not in (0, e.address[entity] + SECTION):
                raise self._strange(f, f"{number:#x}, which is not its own section's")
            return bool(number)
        if f.kind == "cpu":
            return {0: "this", 1: "another"}.get(number, "") if number != self.books.nobody else ""
        if f.kind == "number":
            if number not in f.values:
                raise self._strange(f, f"{number:#x}")
            return self.enums[f.name](number)
        if not number:
            return ""
        whom = e.images.get(number)
        if whom is None:
            raise self._strange(f, f"{number:#x}, which is nobody's image")
        for place, inside, expected in self._record(whom):
            base = e.address[whom.partition(".")[0]] if inside else 0
            if p.read(e.base_of(entity) + place.offset, place.size) != base + expected:
                raise self._strange(f, f"{whom}'s, but {place.name} is not")
        return _ELSEWHERE if whom == other else whom

    def _strange(self, f: Field, value: str) -> Refused:
        return Refused(f"sets {f.name} to {value}, which was not seen before")

    def _all_chosen(self, view: View, answers: list[Answer]) -> bool:
        """Ask the engine for the first field that a run has read and that was not asked for; return if none was."""
        for answer in answers:
            for key in answer.effects.read:
                if self._lacking(view, key):
                    return False
            if not any(effect.what == FAULT for effect in answer.effects.done):
                for (_, place), now in answer.effects.changed().items():
                    self._note_change(place, now, view.event)
            for entity, place in answer.effects.copied:
                if entity != "task" or ("next", place) not in answer.effects.wrote:
                    continue
                for f in self.books.fields_at(entity, place):
                    if ("task", f.name) not in view.chosen and self._copied(f, answer):
                        view.choose("task", f)
                        return False
        return True

    def _lacking(self, view: View, key: Key) -> bool:
        entity, place = key
        self.books.read.add(place)
        if place in self.books.changing:
            self.books.add(place)
            raise NewField(place.name)
        for f in self.books.fields_at(entity, place):
            role = view.role_of.get(entity)
            if role is None:
                if entity in (*TASKS, *VCPUS):
                    raise Refused(f"reads {place.name} of somebody not in view")
                continue
            if (role, f.name) not in view.chosen:
                view.choose(role, f)
                return True
        return False

    def _note_change(self, place: Place, now: int, event: Event) -> None:
        """Note that a run has left a member changed; if it is no field and some run has read it, it has to be one."""
        books = self.books
        inside = event in (Event.GUEST_ENTER, Event.GUEST_FP_TRAP)
        known = place in books.of_guests and (inside or now == books.of_guests[place])
        known = known or place in books.of_sections or any(place in (f.place, *f.also) for f in books.fields)
        if place.kind == "elsewhere" or known or place in books.changing or place.name.startswith(VALUES):
            return
        books.changing.add(place)
        if place in books.read:
            books.add(place)
            raise NewField(place.name)

    def _copied(self, f: Field, answer: Answer) -> bool:
        """Tell whether a child's field is, after a fork, what was copied from its parent."""
        if f.kind == "bit":
            key = "second", f.name
            return answer.flipped is not None and answer.flipped[key] != answer.after[key]
        return ("next", f.place) in answer.effects.by_copy

    def _sets_unseen_bits(self, view: View, effects: Effects) -> bool:
        """Tell whether a run changed a word of flags of which the view has not all."""
        return any(
            f.kind == "bit" and (role, f.name) not in view.chosen and (view.entity_of[role], f.place) in effects.wrote
            for role, f in view.fields()
        )

    # What it says.

    def _say(self, view: View, answer: Answer, faults: int | None) -> None:
        """Ask for what was done; `faults`: after how many effects the kernel faults if a section's state is meant."""
        cpu, near = view.cpu, self.stage.symbols.near
        elsewhere = next((value for value in view.owners() if view.name_of(value, "?") == "?"), None)
        whom = view.contexts()
        decision = cpu._session.decision
        decided = next((e for e in answer.effects.done if e.what != CALLED), None)
        names = ENTRIES[view.event].calls[-1].names if ENTRIES[view.event].calls else ("__kvm_vcpu_run",)
        decision.where = f"{names[0]}, at {near(decided.pc)}" if decided else names[0]
        inside = ""
        copies = ENTRIES[view.event].others
        for number, effect in enumerate(answer.effects.done):
            if number == faults:
                cpu._session.operation(OOPS, cpu._session.target("oops", elsewhere))
            if effect.what == CALLED:
                inside = "fpsimd_save" if effect.whom in SAVERS else effect.whom
                if effect.whom not in SAVERS:
                    cpu.called(effect.whom)
                    cpu.returned()
            elif effect.what == WARN:
                cpu.warn()
            elif effect.what == FAULT:
                cpu.save(None)
            elif effect.what in (SAVE, LOAD) or effect.whom not in copies:
                target = elsewhere if effect.whom == answer.other else whom[effect.whom]
                self._ask(cpu, effect.what, target, inside)
        if faults == len(answer.effects.done):
            cpu._session.operation(OOPS, cpu._session.target("oops", elsewhere))
        for (role, name), value in answer.after.items():
            self._write(view, role, name, value, answer, elsewhere)
        if answer.trapped is not None:
            cpu.guest_fp_trap = answer.trapped

    def _ask(self, cpu: Any, what: str, target: Any, inside: str) -> None:
        in_saver = what == SAVE and inside == "fpsimd_save"
        if in_saver:
            cpu._session.inside.append("fpsimd_save")
        {SAVE: cpu.save, LOAD: cpu.load, WRITE: cpu.overwrite, EDIT: cpu.edit}[what](target)
        if in_saver:
            cpu._session.inside.pop()

    def _write(self, view: View, role: str, name: str, value: Any, answer: Answer, elsewhere: Any) -> None:
        if value is _UNKNOWN:
            return
        f, entity = self.by_name[name], view.by_role[role]
        known = view.chosen.get((role, name), _UNKNOWN)
        if f.kind == "bit":
            if known is _UNKNOWN and answer.flipped is not None and answer.flipped[role, name] != value:
                return  # it stays what it was
            if known is not _UNKNOWN and known == value:
                return
            setattr(entity, name, value)
        elif f.kind == "cpu":
            parent = view.chosen.get(("task", name))
            setattr(entity, name, {"this": view.cpu, "": None}[value] if value != "another" else parent)
        elif f.kind in ("number", "section"):
            setattr(entity, name, value)
        else:
            whom = view.contexts() | {"": None}
            setattr(entity, name, elsewhere if value is _ELSEWHERE else whom[value])


class NewField(Exception):
    """A run has read a member that no view holds so far, and that changes: the policy has to be made anew with it."""


class Answer:
    """What one run did, and what it left in the fields it wrote; `trapped`: whether the guest would trap, if it ran."""

    def __init__(self, effects: Effects, after: dict[tuple[str, str], Any], other: str, trapped: bool | None) -> None:
        self.effects, self.after, self.other, self.trapped = effects, after, other, trapped
        self.flipped: dict[tuple[str, str], Any] | None = None

    def same_as(self, them: Answer) -> bool:
        """Tell whether two runs did the same, be it to different entities out of view."""
        return self._key() == them._key()

    def _key(self) -> tuple[Any, ...]:
        return self.done(), self.after, self.trapped

    def done(self) -> list[tuple[str, str]]:
        """Return what was done and to whom, who is not in view being "?"."""
        return [(e.what, "?" if e.whom == self.other else e.whom) for e in self.effects.done]


class _Mark:
    pass


_UNKNOWN, _ELSEWHERE = _Mark(), _Mark()


def kernel_policy(stage: Stage, name: str, source: str) -> type[Policy]:
    """Return the policy that is a kernel's own code. Raise FpstateError if it lacks a function that an event needs."""
    lacking = [event.name.lower() for event, entry in ENTRIES.items() if not stage.has(entry)]
    if lacking:
        given = f"the kernel has no code by a name known here for {', '.join(lacking)}"
        raise FpstateError(given, expected=f"functions {', '.join(stage.missing())}", where=stage.processor.where)
    return policy_of(KernelCode(stage), name, source)


def policy_of(code: KernelCode, name: str, source: str) -> type[Policy]:
    """Return the policy of a kernel that is ready to be asked; each of its rows has been asked for once."""
    while True:
        policy = _made(code, name, source)
        try:
            for _ in all_decisions(Rows(policy)):
                pass
        except FpstateError as error:
            if not isinstance(error.__cause__, NewField):
                raise
            code.renew()
        else:
            return policy


def _made(code: KernelCode, name: str, source: str) -> type[Policy]:
    members: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"The code of {source} itself, run on each view.",
        "name": name,
        "source": source,
        "supports": frozenset({"nvhe"}),
        "preemptible_neon": code.stage.preemptible_neon,
        "Cpu": _entity("Cpu", (Policy.Cpu,), code, "cpu"),
        "Task": _entity("Task", (Policy.Task,), code, "task"),
        "Vcpu": _entity("Vcpu", (Policy.Vcpu,), code, "vcpu"),
    }
    members |= {event.name.lower(): _handler(code, event) for event in ENTRIES}
    members |= {event.name.lower(): _of_the_world(what) for event, what in OF_THE_WORLD.items()}
    return cast("type[Policy]", type("KernelPolicy", (Policy,), members))


NOTES = {"owner": "Context | None", "cpu": "Cpu | None", "bit": "bool", "section": "bool", "number": "Enum"}
"""How fields of each kind are declared."""


def _entity(name: str, bases: tuple[type, ...], code: KernelCode, kind: str) -> type:
    notes: dict[str, Any] = {}
    starts: dict[str, Any] = {}
    for f in code.fields:
        if f.place.kind == kind:
            notes[f.name] = NOTES[f.kind]
            start = {"bit": bool, "section": bool, "number": code.enums.get(f.name)}.get(f.kind)
            starts[f.name] = start(f.start) if start else None
    return type(name, bases, {"__annotations__": notes, "__module__": __name__, **starts})


def _handler(code: KernelCode, event: Event) -> Callable[..., None]:
    def handler(_: Policy, *entities: Any) -> None:
        code.handle(event, entities)

    return handler


def _of_the_world(what: str) -> Callable[..., None]:
    def handler(_: Policy, cpu: Any, __: Any, vcpu: Context) -> None:
        getattr(cpu, what)(vcpu)

    return handler

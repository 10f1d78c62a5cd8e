"""A kernel as a policy: each handler asks the engine for what the kernel's code reads, and says what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, cast

from fpstate.errors import FpstateError
from fpstate.kernel.entities import TASKS
from fpstate.kernel.entries import ENTRIES, SVE_ENTRIES
from fpstate.kernel.kept import Kept
from fpstate.kernel.runs import NewField, Runs
from fpstate.kernel.stage import Stage
from fpstate.kernel.steps import ELSEWHERE, POINT, Asked, Choose, Speaker, Step, Unclear, name_of
from fpstate.policies.base import Policy, with_features
from fpstate.policies.host_deferred import DeferredHost
from fpstate.rows.decisions import all_decisions
from fpstate.rows.learn import Rows
from fpstate.rows.session import Undecided
from fpstate.world.events import PARTICIPANTS, Event

NOTES = {
    "owner": "Context | None",
    "cpu": "Cpu | None",
    "bit": "bool",
    "section": "bool",
    "storage": "bool",
    "number": "Enum",
}
"""How fields of each kind are declared."""


OF_THE_WORLD: Final = ("vcpu_setreg", "vcpu_reset")
"""Events whose code is not run: user space writes a vCPU's registers (set_core_reg, set_sve_reg), or they are reset."""
HANDLER_SECONDS: Final = 600.0
"""The first that asks for what is not known yet waits for the code: a dump is read, and lived on."""


class KernelCode:
    """What is known of a kernel: its fields, and the steps of its code; more of them by running it, on demand."""

    def __init__(self, kept: Kept, runs: Callable[[], Runs]) -> None:
        self.kept = kept
        self._make_runs = runs
        self._runs: Runs | None = None
        self._declare()

    @property
    def runs(self) -> Runs:
        """The code, ready to be run."""
        if self._runs is None:
            self._runs = self._make_runs()
        return self._runs

    def _declare(self) -> None:
        self.kinds = {f.name: f.kind for f in self.kept.fields}
        numbers = (f for f in self.kept.fields if f.kind == "number")
        self.enums: dict[str, Any] = {f.name: Enum(f.name.rpartition(".")[2], list(f.names)) for f in numbers}

    def renew(self) -> None:
        """Take in fields that were found since."""
        self.runs.renew()
        self.kept.fields = self.runs.declared()
        self.kept.steps.clear()
        self._declare()

    def step(self, asked: Asked) -> Step:
        """Return what the code does next."""
        if asked not in self.kept.steps:
            self.kept.steps[asked] = self.runs.step(asked)
        return self.kept.steps[asked]

    def handle(self, event: Event, given: tuple[Any, ...]) -> Iterator[None]:
        """Do at an event what the kernel does on this view; yield at each point where others may come in."""
        entities = dict(zip(("cpu", "task", "second"), given, strict=False))
        contexts = dict(zip(PARTICIPANTS[event], given[1:], strict=False))
        if self.kept.preemptible_neon:
            contexts |= {f"{name}.kernel": entity.kernel for name, entity in contexts.items() if name in TASKS}
        asked: Asked = (event.name,)
        first = "" if self.kept.whole_return or event not in ENTRIES else ENTRIES[event].only_if
        if first:
            if not getattr(entities["task"], first):
                return
            asked = (*asked, ("task", first, True))
        while True:
            elsewhere = None
            while isinstance(step := self.step(asked), Choose):
                found = getattr(entities[step.role], step.field)
                value = name_of(found, entities["cpu"], contexts)
                if value == ELSEWHERE and self.kinds[step.field] == "owner" and elsewhere is None:
                    elsewhere = found
                asked = (*asked, (step.role, step.field, value))
            if isinstance(step, Unclear):
                raise Undecided(step.why)
            Speaker(entities, contexts, elsewhere, self.enums).say(step, self.kinds)
            if not step.more:
                return
            yield
            asked = (*asked, POINT)


def code_of(stage: Stage) -> KernelCode:
    """Return a kernel's code, of which nothing is known but its fields."""
    runs = Runs(stage)
    kept = Kept(runs.declared(), {}, stage.preemptible, stage.preemptible_neon)
    kept.preempt_rt = stage.preempt_rt
    kept.sve, kept.aarch32, kept.whole_return = stage.has_sve, stage.guests_of_32_bits, stage.whole_return
    return KernelCode(kept, lambda: runs)


def kernel_policy(stage: Stage, name: str, source: str) -> tuple[type[Policy], Kept]:
    """Return the policy that a kernel's own code is, and all that there is to know of it.

    Raise FpstateError if it lacks a function that an event needs.
    """
    lacking = [event.name.lower() for event, entry in stage.entries.items() if not stage.has(entry)]
    if lacking:
        given = f"the kernel has no code by a name known here for {', '.join(lacking)}"
        raise FpstateError(given, expected=f"functions {', '.join(stage.missing())}", where=stage.processor.where)
    code = code_of(stage)
    return policy_of(code, name, source), code.kept


def policy_of(code: KernelCode, name: str, source: str) -> type[Policy]:
    """Return the policy of a kernel that is ready to be run; each of its rows has been asked for once."""
    while True:
        policy = made(code, name, source)
        try:
            for _ in all_decisions(Rows(with_features(policy, policy.supports - {"nvhe"}))):
                pass
        except FpstateError as error:
            if not isinstance(error.__cause__, NewField):
                raise
            code.renew()
        else:
            return policy


def made(code: KernelCode, name: str, source: str) -> type[Policy]:
    """Return the policy of a kernel whose steps are known."""
    members: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"The code of {source} itself, run on each view.",
        "name": name,
        "source": source,
        "supports": _supported(code.kept),
        "handler_seconds": HANDLER_SECONDS,
        "softirqs": not code.kept.preempt_rt,
        "preemptible": code.kept.preemptible,
        "preemptible_neon": code.kept.preemptible_neon,
        "Cpu": _entity("Cpu", (Policy.Cpu,), code, "cpu"),
        "Task": _entity("Task", (Policy.Task,), code, "task"),
        "Vcpu": _entity("Vcpu", (Policy.Vcpu,), code, "vcpu"),
    }
    entries = ENTRIES | SVE_ENTRIES if code.kept.sve else ENTRIES
    members |= {event.name.lower(): _handler(code, event) for event in entries}
    members |= {name: getattr(DeferredHost, name) for name in OF_THE_WORLD}
    return cast("type[Policy]", type("KernelPolicy", (Policy,), members))


def _supported(kept: Kept) -> frozenset[str]:
    """Return the features of worlds that a kernel's code was asked in; below the hypervisor is for its name to say."""
    guests = {"aarch32"} if kept.aarch32 else {"guest-sve"} if kept.sve else set()
    return frozenset({"nvhe"} | guests | ({"sve"} if kept.sve else set()))


def _entity(name: str, bases: tuple[type, ...], code: KernelCode, kind: str) -> type:
    fields = [f for f in code.kept.fields if f.of == kind and not hasattr(bases[0], f.name)]
    starts = {f.name: code.enums[f.name][str(f.start)] if f.kind == "number" else f.start or None for f in fields}
    starts |= {f.name: f.start for f in fields if isinstance(f.start, bool)}
    notes = {f.name: NOTES[f.kind] for f in fields}
    return type(name, bases, {"__annotations__": notes, "__module__": __name__, **starts})


def _handler(code: KernelCode, event: Event) -> Callable[..., Iterator[None]]:
    def handler(_: Policy, *entities: Any) -> Iterator[None]:
        return code.handle(event, entities)

    return handler

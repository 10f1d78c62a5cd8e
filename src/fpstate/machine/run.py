"""One run from end to end: programs, policy and machine in; what each program computed, and at what cost, out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fpstate.errors import FpstateError
from fpstate.machine.elf import Program, bundled, bundled_names
from fpstate.machine.host import Host, Machine, Runner, Settings, Task, Vcpu
from fpstate.machine.record import as_trace
from fpstate.machine.story import story
from fpstate.paths.tell import Step
from fpstate.policies.base import Policy, with_features
from fpstate.policies.eager import Eager
from fpstate.policies.linux_6_14 import Linux614
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Trace
from fpstate.world.operations import (
    N_GUEST_TRAP,
    N_LOAD_HOST,
    N_LOAD_KERNEL,
    N_LOAD_SVE,
    N_SAVE_HOST,
    N_SAVE_KERNEL,
    N_SAVE_SVE,
    N_SVE_TRAP,
    N_USER_TRAP,
)
from fpstate.world.state import SOFTIRQS, context_of
from fpstate.world.verdicts import IN_WORDS

LIMIT = 1_000_000_000
"""Instructions a program may take when it runs alone."""

LIMITS = {"cpus": (1, 16), "tasks": (0, 256), "vcpus": (0, 256), "slice": (100, 1_000_000_000)}


@dataclass(frozen=True)
class Alone:
    """What a program did when it had the machine for itself."""

    output: bytes
    code: int | None
    killed: str
    instructions: int

    def same(self, runner: Runner) -> bool:
        """Tell whether a program has done the same, bit for bit."""
        return (bytes(runner.output), runner.code, bool(runner.killed)) == (self.output, self.code, bool(self.killed))


@dataclass(frozen=True)
class FirstWrong:
    """The first wrong value a program read: which register, what it should have held, what it did, and whose it was."""

    register: str
    expected: str  # hexadecimal
    got: str
    owner: str
    event: int  # row of the trace
    cpu: int


@dataclass(frozen=True)
class Outcome:
    """One program after a run. `ok`: its output is that of its run alone, and no value it read was wrong."""

    name: str
    kind: str  # "task", "guest" or "vmm"
    program: str
    ok: bool
    identical: bool
    result: str
    expected: str
    stopped: str  # why it could not go on, or ""
    saves: int
    loads: int
    traps: int
    instructions: int
    first_wrong: FirstWrong | None = None
    path: list[Step] = field(default_factory=list)
    blame: str = ""


@dataclass(frozen=True)
class Result:
    """A run: what came of each program, and the totals."""

    policy: str
    settings: Settings
    programs: list[Outcome]
    saves: int
    loads: int
    traps: int
    instructions: int
    events: int
    exits: int  # of guests
    wrong: int  # how many uses of FP read a wrong value, by the world
    verdicts: dict[str, int]  # everything that went wrong, by what it was
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing went wrong."""
        return not self.verdicts and all(p.ok for p in self.programs)

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        return {"ok": self.ok} | asdict(self) | {"instructions_per_second": round(self.instructions / self.seconds)}


class Laboratory:
    """A machine to run programs on, many times; what a program does alone is kept."""

    def __init__(self, cpus: int = 2, *, megabytes: int = 64, vector_length: int = 0) -> None:
        """Make a machine, with SVE if it has a vector length. Raise FpstateError when its engine is not installed."""
        self.machine = Machine(cpus, megabytes, vector_length)
        self.reference = with_features(Linux614, ["sve"]) if vector_length else Eager
        self._alone: dict[tuple[Program, bool], tuple[Alone, Alone | None]] = {}

    def alone(self, program: Program, *, guest: bool) -> tuple[Alone, Alone | None]:
        """Return what a program does alone on one CPU, as a task or as a guest with its VMM beside it."""
        key = program, guest
        if key not in self._alone:
            host = Host(Rows(self.reference), Settings(cpus=1, slice=1_000_000, softirq=0.0), self.machine)
            task = host.add_vm(program, LIMIT) if guest else host.add_task(program, LIMIT)
            host.run()
            runners: list[Runner | None] = [task.vcpu, task] if guest else [task, None]
            first, second = (
                None if r is None else Alone(bytes(r.output), r.code, r.killed, r.instructions) for r in runners
            )
            assert first is not None
            self._alone[key] = first, second
        return self._alone[key]

    def host(self, rows: Rows, settings: Settings, tasks: Sequence[Program], guests: Sequence[Program]) -> Host:
        """Return a machine with programs ready to run; one is stopped when it takes far longer than alone."""
        limits = [
            [2 * self.alone(p, guest=g)[0].instructions + 1_000_000 for p in ps]
            for g, ps in ((False, tasks), (True, guests))
        ]
        host = Host(rows, settings, self.machine)
        for program, limit in zip(tasks, limits[0], strict=True):
            host.add_task(program, limit)
        for program, limit in zip(guests, limits[1], strict=True):
            host.add_vm(program, limit)
        return host

    def run(
        self, rows: Rows, settings: Settings, tasks: Sequence[Program], guests: Sequence[Program], *, paths: bool = True
    ) -> tuple[Result, Host]:
        """Run programs as tasks and as guests under a policy's rows; `paths`: also tell how wrong values came about.

        Raise `twin.Difference` when machine and world disagree.
        """
        host = self.host(rows, settings, tasks, guests)
        began = time.perf_counter()
        host.run()
        seconds = time.perf_counter() - began
        return self._result(host, seconds, paths), host

    def _result(self, host: Host, seconds: float, paths: bool) -> Result:
        twin = host.twin
        outcomes = []
        for task in host.tasks:
            if task.vcpu is None:
                outcomes.append(self._outcome(host, task, "task", self.alone(task.program, guest=False)[0], paths))
            else:
                guest, vmm = self.alone(task.vcpu.program, guest=True)
                assert vmm is not None
                outcomes.append(self._outcome(host, task.vcpu, "guest", guest, paths))
                outcomes.append(self._outcome(host, task, "vmm", vmm, paths))
        c = twin.report.counts
        verdicts: dict[str, int] = {}
        for _, verdict in twin.verdicts:
            what = IN_WORDS[verdict]
            verdicts[what] = verdicts.get(what, 0) + 1
        return Result(
            host.rows.policy.name,
            host.settings,
            sorted(outcomes, key=lambda o: ("task", "guest", "vmm").index(o.kind)),
            saves=int(c[N_SAVE_HOST : N_SAVE_KERNEL + 1].sum() + c[N_SAVE_SVE]),
            loads=int(c[N_LOAD_HOST : N_LOAD_KERNEL + 1].sum() + c[N_LOAD_SVE]),
            traps=int(c[N_USER_TRAP : N_GUEST_TRAP + 1].sum() + c[N_SVE_TRAP]),
            instructions=sum(r.instructions for r in (*host.tasks, *host.vcpus)),
            events=len(twin.log),
            exits=host.exits,
            wrong=twin.wrong_uses,
            verdicts=verdicts,
            seconds=seconds,
        )

    def _outcome(self, host: Host, runner: Task | Vcpu, kind: str, alone: Alone, paths: bool) -> Outcome:
        twin, x = host.twin, runner.context
        wrong = twin.wrong.get(x)
        first: FirstWrong | None = None
        path: list[Step] = []
        blame = ""
        if wrong is not None:
            name, expected, got = wrong.register()
            owner = _owner(host, wrong.owner)
            first = FirstWrong(name, f"{expected:#x}", f"{got:#x}", owner, wrong.at, twin.log[wrong.at][1])
            if paths:
                path, blame = story(host, wrong)
        identical = alone.same(runner)
        return Outcome(
            host.names[x], kind, runner.program.name, identical and wrong is None, identical, _text(runner.output),
            _text(alone.output), runner.killed, twin.saves[x], twin.loads[x], twin.traps[x], runner.instructions, first,
            path, blame,
        )  # fmt: skip


def _owner(host: Host, owner: int) -> str:
    """Return whose value an owner number stands for."""
    if owner <= SOFTIRQS:
        return "softirq" if owner else "nobody"
    name = host.names[context_of(owner)]
    return f"kernel({name})" if owner & 1 else name


def _text(output: bytes | bytearray) -> str:
    return output.decode("utf-8", "replace").rstrip("\n")


def deal(programs: Sequence[Program], count: int) -> list[Program]:
    """Return `count` programs, dealt in turn."""
    if count and not programs:
        raise FpstateError(f"{count} programs are to run, but none is named", expected="a program")
    return [programs[i % len(programs)] for i in range(count)]


def handles_guests(policy: type[Policy]) -> bool:
    """Tell whether a policy has handlers for vCPUs."""
    return any(hasattr(policy, handler) for handler in ("run_enter", "vcpu_load", "guest_enter"))


def all_bundled() -> list[Program]:
    """Return the bundled programs."""
    return [bundled(name) for name in bundled_names()]


def check_limits(**given: int) -> None:
    """Raise FpstateError when a number is out of the range of this machine."""
    for name, value in given.items():
        low, high = LIMITS[name]
        if not low <= value <= high:
            raise FpstateError(f"a machine with --{name} {value} is impossible", expected=f"{low:,} to {high:,}")


def run(
    policy: type[Policy],
    *,
    tasks: Sequence[Program],
    guests: Sequence[Program],
    settings: Settings,
    vector_length: int = 0,
) -> tuple[Result, Trace]:
    """Run programs under a policy, on CPUs with SVE if there is a vector length; return the result and the trace."""
    check_limits(cpus=settings.cpus, slice=settings.slice, tasks=len(tasks), vcpus=len(guests))
    megabytes = 32 + len(tasks) // 2 + len(guests)
    megabytes += 16 * len(set(tasks))
    laboratory = Laboratory(settings.cpus, megabytes=megabytes, vector_length=vector_length)
    result, host = laboratory.run(Rows(policy), settings, tasks, guests)
    return result, as_trace(host)

"""One run from end to end: programs, policy and machine in; what each program computed, and at what cost, out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fpstate.errors import FpstateError
from fpstate.machine.elf import Program, bundled, bundled_names
from fpstate.machine.host import Host, Machine, Runner, Settings, Task, Vcpu
from fpstate.machine.story import story
from fpstate.machine.tape import Tape, Told
from fpstate.paths.tell import Step
from fpstate.policies.base import Policy, with_features
from fpstate.policies.eager import Eager
from fpstate.policies.linux_6_14 import Linux614
from fpstate.rows.learn import Rows
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
"""Instructions a program may take when it runs alone, unless the run has a bound of its own."""

LIMITS = {
    "cpus": (1, 16),
    "tasks": (0, 256),
    "vcpus": (0, 256),
    "slice": (100, 1_000_000_000),
    "instructions": (1, 10**15),
    "seconds": (0.001, 10**7),
}
VECTOR_LENGTH = 32
"""Bytes of an SVE register on a machine that has SVE only because a program uses it."""


class Lacks(Exception):
    """A program uses what the machine does not have, alone as well."""

    def __init__(self, program: Program, feature: str, *, guest: bool, why: str) -> None:
        super().__init__(why)
        self.program, self.feature, self.guest, self.why = program, feature, guest, why


@dataclass(frozen=True)
class Alone:
    """What a program did when it had the machine for itself."""

    output: bytes
    code: int | None
    killed: str
    instructions: int
    told: Told
    lacks: str

    @classmethod
    def of(cls, r: Runner) -> Alone:
        """Return what a program has done."""
        return cls(bytes(r.output), r.code, r.killed, r.instructions, r.tape.told(), r.lacks)

    @property
    def running(self) -> bool:
        """Whether it was still running at its limit."""
        return self.code is None and not self.killed

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
    """One program after a run. `ok`: its output is that of its run alone, and no value it read was wrong.

    One that is `running` when the run ends is held against its run alone of as many instructions.
    """

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
    running: bool
    first_wrong: FirstWrong | None = None
    path: list[Step] = field(default_factory=list)
    blame: str = ""


@dataclass(frozen=True)
class Result:
    """A run: what came of each program, and the totals."""

    policy: str
    settings: Settings
    vector_length: int  # bytes; 0: no SVE
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

    @property
    def running(self) -> int:
        """How many programs were still running when the run ended."""
        return sum(p.running for p in self.programs)

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        return (
            {"ok": self.ok, "running": self.running}
            | asdict(self)
            | {"instructions_per_second": round(self.instructions / self.seconds)}
        )


class Laboratory:
    """A machine to run programs on, many times; what a program does alone is kept."""

    def __init__(self, cpus: int = 2, *, megabytes: int = 64, vector_length: int = 0) -> None:
        """Make a machine, with SVE if it has a vector length. Raise FpstateError when its engine is not installed."""
        self.machine = Machine(cpus, megabytes, vector_length)
        self.reference = with_features(Linux614, ["sve"]) if vector_length else Eager
        self._alone: dict[tuple[Program, bool], tuple[Alone, Alone | None]] = {}

    def alone(self, program: Program, *, guest: bool) -> tuple[Alone, Alone | None]:
        """Return what a program does alone on one CPU, as a task or as a guest with its VMM beside it.

        Raise FpstateError if it does not end, `Lacks` if it uses what this machine does not have.
        """
        key = program, guest
        if key not in self._alone:
            found = self._again(program, guest, (LIMIT, LIMIT), Told())
            if found[0].lacks:
                raise Lacks(program, found[0].lacks, guest=guest, why=found[0].killed)
            if found[0].running:
                given = f"'{program.name}' has not ended after {LIMIT:,} instructions alone"
                raise FpstateError(given, expected="a program that ends, or --instructions N, or --seconds S")
            self._alone[key] = found
        return self._alone[key]

    def _again(self, program: Program, guest: bool, limits: tuple[int, int], told: Told) -> tuple[Alone, Alone | None]:
        """Run a program alone, told what is on a tape; `limits` are its own and, if it is a guest, its VMM's."""
        host = Host(Rows(self.reference), Settings(cpus=1, slice=1_000_000, softirq=0.0), self.machine)
        if not guest:
            task = host.add_task(program, limits[0], Tape(told))
            host.run()
            return Alone.of(task), None
        task = host.add_vm(program, limits[0], Tape(told))
        task.limit = limits[1]
        host.run()
        assert task.vcpu is not None
        return Alone.of(task.vcpu), Alone.of(task)

    def _beside(self, host: Host, task: Task) -> tuple[Alone, Alone | None]:
        """Return what a task, or a guest and its VMM, do alone that are told the same.

        One that still ran at the bound of the run gets as many instructions, any other more, so that it ends.
        """
        runners: list[Runner] = [task] if task.vcpu is None else [task.vcpu, task]
        first, told = runners[0], runners[0].tape.told()
        bounded = host.settings.bounded
        if not bounded and told == Told():
            return self.alone(first.program, guest=task.vcpu is not None)
        limits = [
            r.instructions if bounded and not r.ended else 2 * r.instructions + 1_000_000 for r in (first, runners[-1])
        ]
        return self._again(first.program, task.vcpu is not None, (limits[0], limits[1]), told)

    def host(self, rows: Rows, settings: Settings, tasks: Sequence[Program], guests: Sequence[Program]) -> Host:
        """Return a machine with programs ready to run; without a bound, each stops that takes far longer than alone."""
        limits = [
            [LIMITS["instructions"][1] if settings.bounded else self._far(p, guest=g) for p in ps]
            for g, ps in ((False, tasks), (True, guests))
        ]
        host = Host(rows, settings, self.machine)
        for program, limit in zip(tasks, limits[0], strict=True):
            host.add_task(program, limit)
        for program, limit in zip(guests, limits[1], strict=True):
            host.add_vm(program, limit)
        return host

    def _far(self, program: Program, *, guest: bool) -> int:
        return 2 * self.alone(program, guest=guest)[0].instructions + 1_000_000

    def run(
        self, rows: Rows, settings: Settings, tasks: Sequence[Program], guests: Sequence[Program], *, paths: bool = True
    ) -> tuple[Result, Host]:
        """Run programs as tasks and as guests under a policy's rows; `paths`: also tell how wrong values came about.

        Raise `twin.Difference` when machine and world disagree, `Lacks` when a program uses what the machine lacks.
        """
        host = self.host(rows, settings, tasks, guests)
        began = time.perf_counter()
        host.run()
        if host.lacking is not None:
            self._lacking(host, host.lacking)
            host = self.host(rows, settings, tasks, guests)  # only a wrong value led it there: that is a finding
            host.refuse_lacking = False
            began = time.perf_counter()
            host.run()
        seconds = time.perf_counter() - began
        return self._result(host, seconds, paths), host

    def _lacking(self, host: Host, runner: Runner) -> None:
        """Raise Lacks if a program that has come upon an instruction the machine lacks does so alone, too."""
        task = next(t for t in host.tasks if runner in (t, t.vcpu))
        guest = runner is task.vcpu
        alone, vmm = self._beside(host, task)
        found = alone if guest or vmm is None else vmm
        if found.lacks:
            raise Lacks(runner.program, found.lacks, guest=guest, why=runner.killed)

    def _result(self, host: Host, seconds: float, paths: bool) -> Result:
        twin = host.twin
        outcomes = []
        for task in host.tasks:
            alone, vmm = self._beside(host, task)
            if task.vcpu is None or vmm is None:
                outcomes.append(self._outcome(host, task, "task", alone, paths))
            else:
                outcomes.append(self._outcome(host, task.vcpu, "guest", alone, paths))
                outcomes.append(self._outcome(host, task, "vmm", vmm, paths))
        c = twin.report.counts
        verdicts: dict[str, int] = {}
        for _, verdict in twin.verdicts:
            what = IN_WORDS[verdict]
            verdicts[what] = verdicts.get(what, 0) + 1
        return Result(
            host.rows.policy.name,
            host.settings,
            0 if (sve := self.machine.engines[0].sve) is None else sve.vector_length,
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
        stopped = runner.killed
        if not runner.ended and not alone.running:
            stopped = f"still runs after {runner.instructions:,} instructions"
        return Outcome(
            host.names[x], kind, runner.program.name, identical and wrong is None, identical, _text(runner.output),
            _text(alone.output), stopped, twin.saves[x], twin.loads[x], twin.traps[x], runner.instructions,
            not runner.ended, first, path, blame,
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


def check_limits(**given: float) -> None:
    """Raise FpstateError when a number is out of the range of this machine."""
    for name, value in given.items():
        low, high = LIMITS[name]
        if not low <= value <= high:
            what = "a run" if name in ("instructions", "seconds") else "a machine"
            raise FpstateError(f"{what} with --{name} {value} is impossible", expected=f"{low:,} to {high:,}")


Choose = Callable[[frozenset[Program]], tuple[Sequence[Program], Sequence[Program]]]
"""What runs as tasks and as guests, given the programs that cannot be guests because they use SVE."""


def run(policy: type[Policy], choose: Choose, settings: Settings, vector_length: int = 0) -> tuple[Result, Host]:
    """Run programs under a policy, on CPUs with SVE if there is a vector length or a task uses it."""
    no_guests: frozenset[Program] = frozenset()
    while True:
        tasks, guests = choose(no_guests)
        try:
            return _run_as_it_is(policy, tasks, guests, settings, vector_length)
        except Lacks as lack:
            if lack.feature == "SVE" and lack.guest:
                no_guests |= {lack.program}
            elif lack.feature == "SVE" and not vector_length:
                vector_length = VECTOR_LENGTH
                if "sve" not in policy.supports:
                    given = f"'{lack.program.name}' uses SVE, which policy '{policy.name}' does not support"
                    raise FpstateError(given, expected="a policy that does, or another program") from None
            else:
                raise FpstateError(f"'{lack.program.name}' {lack.why}", expected="another program") from None


def _run_as_it_is(
    policy: type[Policy], tasks: Sequence[Program], guests: Sequence[Program], settings: Settings, vector_length: int
) -> tuple[Result, Host]:
    check_limits(cpus=settings.cpus, slice=settings.slice, tasks=len(tasks), vcpus=len(guests))
    megabytes = 32 + len(tasks) // 2 + len(guests)
    megabytes += 16 * len(set(tasks))
    laboratory = Laboratory(settings.cpus, megabytes=megabytes, vector_length=vector_length)
    rows = Rows(with_features(policy, ["sve"]) if vector_length else policy)
    return laboratory.run(rows, settings, tasks, guests)

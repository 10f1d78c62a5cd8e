"""A dumped kernel made ready: its entities at rest, and its functions called as an event would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fpstate.errors import FpstateError
from fpstate.kernel.btf import Btf
from fpstate.kernel.effects import Effects, Reader
from fpstate.kernel.entities import HYP_STACK, SECTION, TASKS, Entities
from fpstate.kernel.entries import (
    ARM_EXCEPTION_IRQ,
    ARM_EXCEPTION_TRAP,
    ENTRIES,
    FP_ACCESS,
    GUEST_RUNS,
    NOTED,
    Call,
    Entry,
)
from fpstate.kernel.processor import HALTED, RETURNED, STOPPED, Processor, Ran, Saved
from fpstate.lab.dump import Dump
from fpstate.lab.kernel import Symbols
from fpstate.world.events import Event

AS_NAMED = {"task": "task", "next": "next", "vcpu": "vcpu"}
"""Roles in which each entity stands for itself."""
CPUS = 4
"""How many numbers the CPU may have."""
SOFTIRQ: int = 0x100  # preempt_count while a softirq is served (include/linux/preempt.h)


@dataclass(frozen=True)
class Halt:
    """Where a run was halted, in which of the calls of its entry."""

    saved: Saved
    call: int


class Stage:
    """The kernel of a dump. Roles (`task`, `next`, `vcpu`) say which entity stands for whom in a call."""

    def __init__(self, dump: Dump, changes: Mapping[int, int] | None = None) -> None:
        """Make a dump ready, with instructions changed: by address, the word that stands there instead."""
        self.symbols = dump.symbols
        self.processor = Processor(dump)
        self.btf = Btf(dump.kernel.image, dump.kernel.source)
        self.entities = Entities(dump, self.btf, self.processor)
        self.processor.change(changes or {})
        self.reader = Reader(self.entities, _Near(dump.symbols))
        self.preemptible = dump.kernel.preemptible
        self.preemptible_neon = self.entities.kernel_image is not None
        self.guest: Saved | None = None  # where the last run stands to enter its guest
        self.halt: Halt | None = None  # where the last run stands, if it was halted
        vhe = self.processor.vhe
        runs = self._address(GUEST_RUNS[:1] if vhe else GUEST_RUNS[1:])
        if runs is None:
            raise FpstateError(f"the kernel has no {GUEST_RUNS[0]}", expected="KVM built in", where=dump.kernel.source)
        self.processor.stop_at(runs if vhe else self.processor.hypervisor(runs))
        for name in NOTED:
            if (at := dump.symbols.address(name)) is not None:
                self.processor.note_at(at, name)
        if not vhe:
            self._share_hyp_data()

    @property
    def last_state(self) -> tuple[int, int]:
        """Where, among the variables of a CPU, the record of whose its registers are begins, and its size."""
        return next((at, size) for name, at, size, _ in self.btf.per_cpu if name == "fpsimd_last_state")

    def call(self, name: str, *arguments: str) -> None:
        """Have the task call a function of the kernel, on entities."""
        self._call(Call((name,), arguments), {n: n for n in self.entities.address})

    def be_cpu(self, number: int) -> None:
        """Let the CPU have another number; what else it has stays."""
        variable = self.btf.variable("cpu_number")
        if variable is not None:
            self.processor.write(self.entities.cpu + variable[0], number, 4)
        if self.btf.find("task_struct", "thread_info.cpu") is not None:
            for task in TASKS:
                self.processor.write(self.entities.member(task, "thread_info.cpu"), number, 4)

    def missing(self) -> list[str]:
        """Return the functions that the kernel lacks, of those that events need."""
        calls = [call for entry in ENTRIES.values() for call in (*entry.calls, *entry.before)]
        return sorted({" or ".join(c.names) for c in calls if not c.optional and self._function(c) is None})

    def has(self, entry: Entry) -> bool:
        """Tell whether the kernel has all functions of an entry."""
        calls = (*entry.calls, *entry.before)
        return all(call.optional or self._function(call) is not None for call in calls)

    def prepare(self, entry: Entry, roles: dict[str, str]) -> None:
        """Do what comes before the view of an entry is put in."""
        self._hold(entry, roles, 1)
        for call in entry.before:
            self._call(call, roles)
        self._hold(entry, roles, -1)

    def perform(
        self,
        entry: Entry,
        roles: dict[str, str],
        guest: Saved | None = None,
        *,
        since: Halt | None = None,
        point: int = 0,
    ) -> Effects:
        """Do what the kernel does at an entry, in memory as it is; `guest` is where its run stands (None: the last).

        It begins where it was halted before, if `since` is given, and halts at its point of that number, from 1.
        """
        whole, self.halt = Ran(), None
        guest = guest or self.guest
        if since is None:
            self._hold(entry, roles, 1)
        count = self.entities.member(roles["task"], "thread_info.preempt_count")
        self.processor.watch_for_points(count, int(entry.preempt_off), point)
        if entry.guest in ("trap", "exit"):
            assert guest is not None
            trap = entry.guest == "trap"
            answer, syndrome = (ARM_EXCEPTION_TRAP, FP_ACCESS) if trap else (ARM_EXCEPTION_IRQ, 0)
            _join(whole, self.processor.resume(guest, answer, syndrome))
        first = 0
        if since is not None:
            _join(whole, self.processor.go_on(since.saved))
            first = since.call + 1
            self.halt = self._halted(whole, since.call)
        for number, call in enumerate(entry.calls[first:], first):
            if whole.end == RETURNED and not (call.optional and self._function(call) is None):
                _join(whole, self._call(call, roles))
                self.halt = self._halted(whole, number)
        for role in entry.others:
            if roles.get(role) in TASKS and whole.end == RETURNED:
                self.entities.give_stack(roles[role])
        if whole.end == STOPPED:
            self.guest = self.processor.saved()
        effects = self.reader.effects(whole)
        if whole.end != HALTED:
            self._hold(entry, roles, -1)
        return effects

    def _halted(self, ran: Ran, call: int) -> Halt | None:
        """Return where a run stands, if it was halted in a call of its entry."""
        return Halt(self.processor.saved(), call) if ran.end == HALTED else None

    def _hold(self, entry: Entry, roles: dict[str, str], sign: int) -> None:
        """Count what an entry runs in: a softirq, or a section that is not preempted."""
        held = SOFTIRQ * entry.softirq + entry.preempt_off
        if held:
            at = self.entities.member(roles["task"], "thread_info.preempt_count")
            self.processor.write(at, self.processor.read(at, 4) + sign * held, 4)

    def guest_trapped(self) -> bool:
        """Tell whether the guest would trap at its next use."""
        return self.processor.guest_fp_trap

    def _share_hyp_data(self) -> None:
        """Find the hypervisor's data of this CPU, and let it have the same whatever number the CPU has."""
        p, roles = self.processor, AS_NAMED
        for call in ENTRIES[Event.VCPU_LOAD].calls:
            self._call(call, roles)
        for call in ENTRIES[Event.GUEST_ENTER].calls:
            ran = self._call(call, roles)
        self.entities.find_hyp_data(ran)
        p.restore()
        bases = self.symbols.address("__kvm_nvhe_kvm_arm_hyp_percpu_base")
        if bases is not None:
            for number in range(1, CPUS):
                p.write(bases + 8 * number, p.read(bases))
            p.keep()

    def _call(self, call: Call, roles: dict[str, str]) -> Ran:
        function = self._function(call)
        if function is None:
            given = f"the kernel has no function {' or '.join(call.names)}"
            raise FpstateError(given, expected="an arm64 Linux with KVM built in", where=self.processor.where)
        arguments = tuple(self._argument(a, roles) for a in call.arguments)
        current = roles["task"]
        stack, task = self.entities.stack(current), self.entities.address[current]
        p = self.processor
        if call.hypervisor and not p.vhe:
            for number, value in enumerate(arguments, 1):  # x0 says what is called
                p.write(p.base + HYP_STACK + self.btf.member("kvm_cpu_context", "regs") + 8 * number, value)
            top = p.hypervisor(p.base + HYP_STACK)
            return p.call(p.hypervisor(function), (top,), task, top, irqs_off=True)
        return p.call(function, arguments, task, stack, call.irqs_off)

    def _argument(self, argument: str | int, roles: dict[str, str]) -> int:
        if isinstance(argument, int):
            return argument
        if argument == "section":
            return self.entities.address[roles["task"]] + SECTION
        return self.entities.buffer if argument == "buffer" else self.entities.address[roles[argument]]

    def _function(self, call: Call) -> int | None:
        return self._address((call.hypervisor,) if call.hypervisor and not self.processor.vhe else call.names)

    def _address(self, names: tuple[str, ...]) -> int | None:
        return next((at for name in names if (at := self.symbols.address(name)) is not None), None)


class _Near(dict[int, str]):
    """Addresses as NAME+0xOFFSET, looked up once."""

    def __init__(self, symbols: Symbols) -> None:
        super().__init__()
        self._symbols = symbols

    def __missing__(self, address: int) -> str:
        self[address] = self._symbols.near(address)
        return self[address]


def _join(whole: Ran, part: Ran) -> None:
    """Append what a run did to what was done before it."""
    whole.after += [(what, at + len(whole.accesses)) for what, at in part.after]
    whole.points += [at + len(whole.accesses) for at in part.points]
    whole.accesses += part.accesses
    whole.warned += part.warned
    whole.end, whole.pc = part.end, part.pc
